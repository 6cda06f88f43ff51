// SPDX-License-Identifier: MIT
//
// Additions, products, tables and copies, element by element.
#include <fmt/format.h>

#include <algorithm>

#include "arch/numerics.h"
#include "compiler/emit/lower.h"
#include "compiler/emit/slots.h"
#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

using Dim = ElementLayer::Dim;

// Drops dimensions of 1, nests by the output's strides and merges neighbours
// that every operand keeps together.
std::vector<Dim> coalesce(std::vector<Dim> dims) {
  std::erase_if(dims, [](const Dim& d) { return d.extent == 1; });
  std::stable_sort(dims.begin(), dims.end(),
                   [](const Dim& x, const Dim& y) { return x.out > y.out; });
  std::vector<Dim> out;
  for (const Dim& dim : dims) {
    if (!out.empty()) {
      Dim& outer = out.back();
      if (outer.out == dim.out * dim.extent && outer.a == dim.a * dim.extent &&
          outer.b == dim.b * dim.extent) {
        outer = {outer.extent * dim.extent, dim.a, dim.b, dim.out};
        continue;
      }
    }
    out.push_back(dim);
  }
  return out;
}

}  // namespace

bool lower_elements(ElementLayer layer, const npu_target& target, Constants& constants,
                    Emitter& emitter, std::string& error) {
  const bool two = layer.add != nullptr || layer.mul != nullptr;
  const bool copy = !two && layer.lut == nullptr;
  std::vector<Dim> dims = coalesce(layer.dims);
  while (dims.size() < 3) dims.insert(dims.begin(), Dim{1, 0, 0, 0});

  // The three innermost are a tile's rows, columns and channels.
  std::vector<OuterDim> outer;
  for (size_t i = 0; i + 3 < dims.size(); ++i) {
    outer.push_back({dims[i].extent, dims[i].a, dims[i].b, dims[i].out, 0});
  }
  const Dim* inner = dims.data() + (dims.size() - 3);
  for (int i = 0; i < 3; ++i) {
    layer.a.stride[i] = inner[i].a;
    layer.b.stride[i] = inner[i].b;
    layer.out.stride[i] = inner[i].out;
  }

  const uint32_t tables = layer.lut != nullptr ? 256 : 0;
  const int64_t places = 2 * (1 + (two ? 1 : 0) + (copy ? 0 : 1));
  const int64_t room =
      (int64_t{target.sram_bytes} - tables) / places / kSlotAlignment * kSlotAlignment;
  if (room < kSlotAlignment) {
    error = fmt::format("a tile needs {} bytes of SRAM", places * kSlotAlignment + tables);
    return false;
  }
  // At least four tiles where there is work for them.
  const int64_t total = inner[0].extent * inner[1].extent * inner[2].extent;
  const int64_t cap = std::min(room, std::max<int64_t>(4096, ceil_div(total, 4)));
  const auto even = [](int64_t extent, int64_t most) {
    most = std::clamp<int64_t>(most, 1, 65535);
    return ceil_div(extent, ceil_div(extent, most));
  };
  const int64_t tc = even(inner[2].extent, cap);
  const int64_t tw = even(inner[1].extent, cap / tc);
  const int64_t th = even(inner[0].extent, cap / (tc * tw));

  const uint32_t slot = slot_size(th * tw * tc);
  const uint32_t table = emitter.take_sram(tables + static_cast<uint32_t>(places) * slot);
  SlotPool first(table + tables, slot, 2);
  SlotPool second(table + tables + 2 * slot, slot, 2);
  SlotPool result(table + tables + (two ? 4 : 2) * slot, slot, 2);
  uint64_t table_offset = 0;
  if (layer.lut != nullptr) {
    table_offset = constants.add({layer.lut->table.begin(), layer.lut->table.end()});
  }
  uint32_t generation = emitter.generation() - 1;
  for_each_outer(outer, [&](int64_t, const OuterDim& shift) {
    for (int64_t h = 0; h < inner[0].extent; h += th) {
      for (int64_t w = 0; w < inner[1].extent; w += tw) {
        for (int64_t c = 0; c < inner[2].extent; c += tc) {
          emitter.checkpoint();
          if (layer.lut != nullptr && emitter.generation() != generation) {
            emitter.emit(linear_load(NPU_REGION_CONSTANTS, table_offset, 256, table));
          }
          generation = emitter.generation();
          const Extent begin{h, w, c};
          const Extent size{std::min(th, inner[0].extent - h), std::min(tw, inner[1].extent - w),
                            std::min(tc, inner[2].extent - c)};
          const uint32_t a = first.next();
          emitter.emit(box_transfer(NPU_OP_LOAD, shifted(layer.a, shift.input), begin, size, a));
          uint32_t out = a;
          if (!copy) {
            out = result.next();
            npu_command_vec vec = {};
            vec.in_h = vec.out_h = static_cast<uint16_t>(size[0]);
            vec.in_w = vec.out_w = static_cast<uint16_t>(size[1]);
            vec.channels = static_cast<uint16_t>(size[2]);
            const uint32_t row = uint32_t{vec.in_w} * vec.channels;
            vec.a = {a, row, vec.channels, 0, 0};
            vec.out = {out, row, vec.channels, 0, 0};
            vec.types = NPU_TYPES(command_type(layer.a_type), two ? command_type(layer.b_type) : 0,
                                  command_type(layer.out_type), 0);
            if (two) {
              const uint32_t b = second.next();
              emitter.emit(
                  box_transfer(NPU_OP_LOAD, shifted(layer.b, shift.weights), begin, size, b));
              vec.b = {b, row, vec.channels, 0, 0};
            }
            if (layer.add != nullptr) {
              vec.function = NPU_VEC_ADD;
              vec.p0_f32 = arch::f32_bits(layer.add->arithmetic.ra);
              vec.p1_f32 = arch::f32_bits(layer.add->arithmetic.rb);
              vec.p2_f32 = arch::f32_bits(layer.add->arithmetic.fix);
              vec.low = static_cast<int16_t>(layer.add->arithmetic.clamp.low);
              vec.high = static_cast<int16_t>(layer.add->arithmetic.clamp.high);
            } else if (layer.mul != nullptr) {
              vec.function = NPU_VEC_MUL;
              vec.p0_f32 = arch::f32_bits(layer.mul->scale);
              vec.a_zero = static_cast<int16_t>(layer.mul->a_zero);
              vec.b_zero = static_cast<int16_t>(layer.mul->b_zero);
              vec.out_zero = static_cast<int16_t>(layer.mul->out_zero);
              vec.low = static_cast<int16_t>(layer.mul->clamp.low);
              vec.high = static_cast<int16_t>(layer.mul->clamp.high);
            } else {
              vec.function = NPU_VEC_LUT;
              vec.table = table;
            }
            emitter.emit(vec);
          }
          emitter.emit(
              box_transfer(NPU_OP_STORE, shifted(layer.out, shift.output), begin, size, out));
        }
      }
    }
  });
  return true;
}

}  // namespace npu::compiler
