// SPDX-License-Identifier: MIT
//
// Additions, products, tables and copies, element by element; softmax and layer
// normalization, row of channels by row.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "arch/numerics.h"
#include "arch/timing.h"
#include "compiler/emit/lower.h"
#include "compiler/emit/slots.h"
#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

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

// What the layer's commands look things up in.
std::vector<uint8_t> table_of(const ElementLayer& layer) {
  if (layer.lut != nullptr) return {layer.lut->table.begin(), layer.lut->table.end()};
  std::vector<float> words;
  if (layer.softmax != nullptr)
    words.assign(layer.softmax->table.begin(), layer.softmax->table.end());
  if (layer.layer_norm != nullptr) {
    words = layer.layer_norm->gamma;
    words.insert(words.end(), layer.layer_norm->beta.begin(), layer.layer_norm->beta.end());
  }
  std::vector<uint8_t> out(words.size() * sizeof(float));
  if (!out.empty()) std::memcpy(out.data(), words.data(), out.size());
  return out;
}

uint32_t table_bytes(const ElementLayer& layer) {
  if (layer.lut != nullptr) return 256;
  if (layer.softmax != nullptr) return NPU_SOFTMAX_ENTRIES * sizeof(float);
  return layer.layer_norm == nullptr
             ? 0
             : static_cast<uint32_t>(2 * layer.layer_norm->gamma.size() * sizeof(float));
}

// The command without its places.
npu_command_vec command_of(const ElementLayer& layer, const Extent& size) {
  npu_command_vec vec = {};
  vec.in_h = vec.out_h = static_cast<uint16_t>(size[0]);
  vec.in_w = vec.out_w = static_cast<uint16_t>(size[1]);
  vec.channels = static_cast<uint16_t>(size[2]);
  vec.types = NPU_TYPES(command_type(layer.a_type), layer.two() ? command_type(layer.b_type) : 0,
                        command_type(layer.out_type), 0);
  const auto bounds = [&vec](const Clamp& clamp) {
    vec.low = static_cast<int16_t>(clamp.low);
    vec.high = static_cast<int16_t>(clamp.high);
  };
  if (layer.add != nullptr) {
    vec.function = NPU_VEC_ADD;
    vec.p0_f32 = arch::f32_bits(layer.add->arithmetic.ra);
    vec.p1_f32 = arch::f32_bits(layer.add->arithmetic.rb);
    vec.p2_f32 = arch::f32_bits(layer.add->arithmetic.fix);
    bounds(layer.add->arithmetic.clamp);
  } else if (layer.mul != nullptr) {
    vec.function = NPU_VEC_MUL;
    vec.p0_f32 = arch::f32_bits(layer.mul->scale);
    vec.a_zero = static_cast<int16_t>(layer.mul->a_zero);
    vec.b_zero = static_cast<int16_t>(layer.mul->b_zero);
    vec.out_zero = static_cast<int16_t>(layer.mul->out_zero);
    bounds(layer.mul->clamp);
  } else if (layer.softmax != nullptr) {
    vec.function = NPU_VEC_SOFTMAX;
    vec.flags = NPU_VEC_SOFTMAX_FP32;
    vec.p0_f32 = arch::f32_bits(layer.softmax->multiplier);
    vec.out_zero = static_cast<int16_t>(layer.softmax->out_zero);
    bounds(layer.softmax->clamp);
  } else if (layer.layer_norm != nullptr) {
    vec.function = NPU_VEC_LAYER_NORM;
    vec.p0_f32 = arch::f32_bits(layer.layer_norm->in_scale);
    vec.p1_f32 = arch::f32_bits(layer.layer_norm->out_scale);
    vec.epsilon_f32 = arch::f32_bits(layer.layer_norm->epsilon);
    vec.out_zero = static_cast<int16_t>(layer.layer_norm->out_zero);
    bounds(layer.layer_norm->clamp);
  } else {
    vec.function = NPU_VEC_LUT;
  }
  return vec;
}

uint64_t cycles_of(const ElementLayer& layer, const Extent& size, const npu_target& target) {
  npu_command_vec vec = command_of(layer, size);
  vec.header.opcode = NPU_OP_VEC;
  vec.header.engine = NPU_ENGINE_VEC;
  vec.header.records = 1;
  arch::Command command;
  std::memset(command.records, 0, sizeof(command.records));
  std::memcpy(command.records, &vec, sizeof(vec));
  return arch::vec_stage_cycles(command, target);
}

class ElementLowering final : public UndividedLowering {
 public:
  ElementLowering(const ElementLayer& layer, const VecPlan& plan, const WorkMemory& memory,
                  Constants& constants, Emitter& emitter)
      : layer_(layer),
        plan_(plan),
        emitter_(emitter),
        table_(memory.constants),
        a_(memory.data, plan.a_bytes, plan.slots),
        b_(a_.end(), plan.b_bytes, plan.slots),
        out_(b_.end(), plan.out_bytes, plan.slots) {
    if (plan.table_bytes > 0) table_offset_ = constants.add(table_of(layer));
  }

  void emit_rows(int64_t, int64_t) override {
    // All dimensions but the three innermost repeat the layer.
    std::vector<OuterDim> outer;
    for (size_t i = 0; i + 3 < layer_.dims.size(); ++i) {
      const Dim& dim = layer_.dims[i];
      outer.push_back({dim.extent, dim.a, dim.b, dim.out, 0});
    }
    for_each_outer(outer, [&](int64_t, const OuterDim& shift) {
      const int64_t extent[3] = {layer_.inner(0).extent, layer_.inner(1).extent,
                                 layer_.inner(2).extent};
      for (int64_t h = 0; h < extent[0]; h += plan_.tile_h) {
        for (int64_t w = 0; w < extent[1]; w += plan_.tile_w) {
          for (int64_t c = 0; c < extent[2]; c += plan_.tile_c) {
            tile(shift, {h, w, c},
                 {std::min(plan_.tile_h, extent[0] - h), std::min(plan_.tile_w, extent[1] - w),
                  std::min(plan_.tile_c, extent[2] - c)});
          }
        }
      }
    });
  }

 private:
  // The operand's piece where it lies, or brought to a slot.
  npu_sram_tensor read(const Operand& operand, SlotPool& slots, const Extent& at,
                       const Extent& size) {
    if (operand.direct()) return sram_view(operand, at);
    const npu_sram_tensor tensor = dense(slots.next(), size);
    emitter_.emit(fetch(operand, at, size, tensor.address));
    return tensor;
  }

  static npu_sram_tensor dense(uint32_t address, const Extent& size) {
    return {address, static_cast<uint32_t>(size[1] * size[2]), static_cast<uint32_t>(size[2]), 0,
            0};
  }

  void tile(const OuterDim& shift, const Extent& at, const Extent& size) {
    emitter_.checkpoint();
    if (plan_.table_bytes > 0 && generation_ != emitter_.generation()) {
      emitter_.emit(linear_load(NPU_REGION_CONSTANTS, table_offset_, plan_.table_bytes, table_));
    }
    generation_ = emitter_.generation();
    const Operand a = shifted(layer_.a, shift.input), out = shifted(layer_.out, shift.output);
    if (layer_.copy()) {
      copy(a, out, at, size);
      return;
    }
    npu_command_vec vec = command_of(layer_, size);
    if (plan_.table_bytes > 0) vec.table = table_;
    vec.a = read(a, a_, at, size);
    if (layer_.two()) vec.b = read(shifted(layer_.b, shift.weights), b_, at, size);
    vec.out = out.direct() ? sram_view(out, at) : dense(out_.next(), size);
    emitter_.emit(vec);
    if (!out.direct()) emitter_.emit(put(out, at, size, vec.out.address));
  }

  // One transfer where one side lies on chip, two through a slot otherwise.
  void copy(const Operand& from, const Operand& to, const Extent& at, const Extent& size) {
    if (to.direct()) {
      const npu_sram_tensor place = sram_view(to, at);
      Operand piece = to;
      piece.offset = place.address;
      if (!from.on_chip()) {
        Operand source = from;
        for (size_t i = 0; i < 3; ++i)
          source.offset += static_cast<uint64_t>(at[i] * from.stride[i]);
        emitter_.emit(move_rows(NPU_OP_LOAD, source, piece, {0, 0, 0}, size));
        return;
      }
    }
    const uint32_t slot = a_.next();
    emitter_.emit(fetch(from, at, size, slot));
    emitter_.emit(put(to, at, size, slot));
  }

  const ElementLayer layer_;
  const VecPlan plan_;
  Emitter& emitter_;
  const uint32_t table_;
  SlotPool a_, b_, out_;
  uint64_t table_offset_ = 0;
  uint32_t generation_ = ~0u;
};

}  // namespace

void finish_dims(ElementLayer& layer) {
  const Dim row = layer.by_rows() ? layer.dims.back() : Dim{};
  if (layer.by_rows()) layer.dims.pop_back();
  layer.dims = coalesce(std::move(layer.dims));
  if (layer.by_rows()) layer.dims.push_back(row);
  while (layer.dims.size() < 3) layer.dims.insert(layer.dims.begin(), Dim{1, 0, 0, 0});
  for (int i = 0; i < 3; ++i) {
    layer.a.stride[i] = layer.inner(i).a;
    layer.b.stride[i] = layer.inner(i).b;
    layer.out.stride[i] = layer.inner(i).out;
  }
}

namespace {

constexpr int64_t kMaxField = 65535;

// Least cycles of a command of a layer by rows, beside which its overhead does not count.
constexpr uint64_t kRowCommandCycles = 1024;

// Rows of one command. There should be many, so that the array can make what the next rows need,
// or use what the last ones gave, but no more than wait in the engine's FIFO at once: commands of
// other engines that stand behind those are not seen.
int64_t rows_at_once(const ElementLayer& layer, int64_t room, const npu_target& target) {
  const int64_t channels = layer.inner(2).extent;
  const int64_t rows = layer.inner(0).extent * layer.inner(1).extent;
  const uint64_t one = std::max<uint64_t>(1, cycles_of(layer, {1, 1, channels}, target));
  int64_t most = std::max(ceil_div(rows, target.fifo_depth),
                          static_cast<int64_t>((kRowCommandCycles + one - 1) / one));
  // As many rows as there are lanes share one reading of gamma and beta.
  const auto lanes = static_cast<int64_t>(target.mac_outputs);
  if (layer.layer_norm != nullptr) most = ceil_div(most, lanes) * lanes;
  return std::max<int64_t>(1, std::min(most, room / channels));
}

}  // namespace

std::optional<VecPlan> plan_elements(const ElementLayer& layer, const npu_target& target,
                                     uint32_t sram_bytes, std::string& error) {
  VecPlan plan;
  plan.table_bytes = table_bytes(layer);
  const bool a = layer.copy() || !layer.a.direct();
  const bool b = layer.two() && !layer.b.direct();
  const bool out = !layer.copy() && !layer.out.direct();
  const int64_t least =
      slot_size(layer.by_rows() ? layer.inner(2).extent : int64_t{kSlotAlignment});
  if (layer.by_rows() && layer.inner(2).extent > kMaxField) {
    error =
        fmt::format("a row has {} elements, a command takes {}", layer.inner(2).extent, kMaxField);
    return std::nullopt;
  }
  // Two places of each, so that moving overlaps with computing; one where a row is long.
  int64_t places = 0, room = 0;
  for (const uint32_t slots : {2u, 1u}) {
    plan.slots = slots;
    places = slots * (int{a} + int{b} + int{out});
    room = int64_t{sram_bytes} - slot_size(plan.table_bytes);
    if (places > 0) room = room / places / kSlotAlignment * kSlotAlignment;
    if (room >= (places > 0 ? least : 0)) break;
  }
  if (room < (places > 0 ? least : 0)) {
    error = fmt::format("its smallest tile needs {} bytes of SRAM",
                        places * least + slot_size(plan.table_bytes));
    return std::nullopt;
  }
  // At least four tiles where there is work for them, one where nothing is moved.
  int64_t repeats = 1;
  for (size_t i = 0; i + 3 < layer.dims.size(); ++i) repeats *= layer.dims[i].extent;
  const int64_t total = layer.inner(0).extent * layer.inner(1).extent * layer.inner(2).extent;
  int64_t cap = places == 0 ? total : std::min(room, std::max<int64_t>(4096, ceil_div(total, 4)));
  if (layer.by_rows())
    cap = layer.inner(2).extent * rows_at_once(layer, places == 0 ? total : room, target);
  const auto even = [](int64_t extent, int64_t most) {
    most = std::clamp<int64_t>(most, 1, kMaxField);
    return ceil_div(extent, ceil_div(extent, most));
  };
  plan.tile_c = even(layer.inner(2).extent, cap);
  plan.tile_w = even(layer.inner(1).extent, cap / plan.tile_c);
  plan.tile_h = even(layer.inner(0).extent, cap / (plan.tile_c * plan.tile_w));
  const uint32_t slot = slot_size(plan.tile_h * plan.tile_w * plan.tile_c);
  plan.a_bytes = a ? slot : 0;
  plan.b_bytes = b ? slot : 0;
  plan.out_bytes = out ? slot : 0;
  if (layer.by_rows()) {
    const uint64_t rows = static_cast<uint64_t>(total * repeats / layer.inner(2).extent);
    plan.estimate.engine = rows * cycles_of(layer, {1, 1, layer.inner(2).extent}, target);
  } else if (!layer.copy()) {
    plan.estimate.engine = static_cast<uint64_t>(total * repeats / target.mac_outputs);
  }
  for (const Operand* operand : {&layer.a, &layer.b, &layer.out}) {
    if (operand->on_chip() || (operand == &layer.b && !layer.two())) continue;
    plan.estimate.memory +=
        channel_cycles(static_cast<uint64_t>(total * repeats), operand->region, target);
  }
  plan.estimate.serial = target.card_latency_cycles;
  return plan;
}

std::unique_ptr<LayerLowering> element_lowering(const ElementLayer& layer, const VecPlan& plan,
                                                const WorkMemory& memory, Constants& constants,
                                                Emitter& emitter) {
  return std::make_unique<ElementLowering>(layer, plan, memory, constants, emitter);
}

}  // namespace npu::compiler
