// SPDX-License-Identifier: MIT
//
// Resizes on the vector unit, tile by tile with the input rows and columns that each tile's
// entries name.
#include <algorithm>
#include <cstring>

#include "arch/numerics.h"
#include "compiler/emit/image_tiles.h"
#include "compiler/emit/lower.h"
#include "compiler/emit/slots.h"
#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

// The most that `size` neighbouring entries reach, wherever they begin: any window of that length
// is the end of one block of entries and the beginning of the next.
int64_t longest_reach(const std::vector<ResizeEntry>& entries, int64_t size) {
  const auto count = static_cast<int64_t>(entries.size());
  size = std::min(size, count);
  using Span = std::pair<int64_t, int64_t>;
  const auto joined = [](const Span& a, const Span& b) {
    return Span{std::min(a.first, b.first), std::max(a.second, b.second)};
  };
  std::vector<Span> from_left(entries.size()), from_right(entries.size());
  for (int64_t i = 0; i < count; ++i) {
    const Span own = reach(entries, i, 1);
    const auto at = static_cast<size_t>(i);
    from_left[at] = i % size == 0 ? own : joined(from_left[at - 1], own);
  }
  for (int64_t i = count; i-- > 0;) {
    const Span own = reach(entries, i, 1);
    const auto at = static_cast<size_t>(i);
    from_right[at] = i + 1 == count || (i + 1) % size == 0 ? own : joined(from_right[at + 1], own);
  }
  int64_t most = 0;
  for (int64_t i = 0; i + size <= count; ++i) {
    const Span span =
        joined(from_right[static_cast<size_t>(i)], from_left[static_cast<size_t>(i + size - 1)]);
    most = std::max(most, span.second - span.first);
  }
  return most;
}

npu_sram_tensor dense(uint32_t address, int64_t columns, int64_t channels) {
  return {address, static_cast<uint32_t>(columns * channels), static_cast<uint32_t>(channels), 0,
          0};
}

void append(std::vector<uint8_t>& table, const std::vector<ResizeEntry>& entries, int64_t first,
            int64_t count, int64_t base) {
  for (int64_t i = first; i < first + count; ++i) {
    const ResizeEntry& entry = entries[static_cast<size_t>(i)];
    const npu_resize_entry stored = {static_cast<uint16_t>(entry.first - base),
                                     static_cast<uint16_t>(entry.second - base),
                                     arch::f32_bits(entry.weight)};
    const size_t at = table.size();
    table.resize(at + sizeof(stored));
    std::memcpy(table.data() + at, &stored, sizeof(stored));
  }
}

class ResizeLowering final : public UndividedLowering {
 public:
  ResizeLowering(const ResizeLayer& layer, const VecPlan& plan, const WorkMemory& memory,
                 Constants& constants, Emitter& emitter)
      : layer_(layer),
        plan_(plan),
        constants_(constants),
        emitter_(emitter),
        tables_(memory.constants, plan.table_bytes / plan.slots, plan.slots),
        inputs_(memory.data, plan.a_bytes, plan.slots),
        outputs_(inputs_.end(), plan.out_bytes, plan.slots) {}

  void emit_rows(int64_t begin, int64_t end) override {
    for (int64_t h = begin; h < end; h += plan_.tile_h) {
      for (int64_t w = 0; w < layer_.out_w(); w += plan_.tile_w) {
        const Extent size{std::min(plan_.tile_h, end - h),
                          std::min(plan_.tile_w, layer_.out_w() - w), 0};
        const Piece piece = make_piece(h, w, size);
        for_each_outer(layer_.outer, [&](int64_t, const OuterDim& shift) {
          for (int64_t c = 0; c < layer_.channels; c += plan_.tile_c) {
            tile(piece, shift, {h, w, c},
                 {size[0], size[1], std::min(plan_.tile_c, layer_.channels - c)});
          }
        });
      }
    }
  }

 private:
  // What all tiles of the same rows and columns have in common.
  struct Piece {
    std::pair<int64_t, int64_t> rows, columns;  // of the input
    uint64_t table_offset = 0;                  // in the constants
    uint32_t table_bytes = 0;
  };

  Piece make_piece(int64_t h, int64_t w, const Extent& size) {
    Piece out;
    out.rows = reach(layer_.op->rows, h, size[0]);
    out.columns = reach(layer_.op->columns, w, size[1]);
    std::vector<uint8_t> table;
    append(table, layer_.op->rows, h, size[0], out.rows.first);
    append(table, layer_.op->columns, w, size[1], out.columns.first);
    out.table_bytes = static_cast<uint32_t>(table.size());
    out.table_offset = constants_.add(table);
    return out;
  }

  void tile(const Piece& piece, const OuterDim& shift, const Extent& at, const Extent& size) {
    emitter_.checkpoint();
    const ResizeOp& op = *layer_.op;
    npu_command_vec vec = {};
    vec.function = NPU_VEC_RESIZE;
    vec.types = NPU_TYPES(command_type(layer_.input_type), 0, command_type(layer_.output_type), 0);
    if (op.interpolation != Interpolation::kNearest) vec.flags |= NPU_VEC_RESIZE_LINEAR;
    if (op.interpolation == Interpolation::kTruncated) vec.flags |= NPU_VEC_RESIZE_TRUNCATE;
    if (op.interpolation == Interpolation::kLinear) {
      vec.p0_f32 = arch::f32_bits(op.scale);
      vec.a_zero = static_cast<int16_t>(op.in_zero);
      vec.out_zero = static_cast<int16_t>(op.out_zero);
      vec.low = static_cast<int16_t>(op.clamp.low);
      vec.high = static_cast<int16_t>(op.clamp.high);
    }
    const SlotPool::Place table = tables_.acquire({at[0], at[1], 0, 0}, emitter_.generation());
    if (!table.present) {
      emitter_.emit(
          linear_load(NPU_REGION_CONSTANTS, piece.table_offset, piece.table_bytes, table.address));
    }
    vec.table = table.address;
    const Extent begin{piece.rows.first, piece.columns.first, at[2]};
    const Extent need{piece.rows.second - begin[0], piece.columns.second - begin[1], size[2]};
    vec.in_h = static_cast<uint16_t>(need[0]);
    vec.in_w = static_cast<uint16_t>(need[1]);
    vec.channels = static_cast<uint16_t>(size[2]);
    vec.out_h = static_cast<uint16_t>(size[0]);
    vec.out_w = static_cast<uint16_t>(size[1]);
    const Operand input = shifted(layer_.input, shift.input);
    if (input.direct()) {
      vec.a = sram_view(input, begin);
    } else {
      vec.a = dense(inputs_.next(), need[1], need[2]);
      emitter_.emit(fetch(input, begin, need, vec.a.address));
    }
    const Operand output = shifted(layer_.output, shift.output);
    vec.out = output.direct() ? sram_view(output, at) : dense(outputs_.next(), size[1], size[2]);
    emitter_.emit(vec);
    if (!output.direct()) emitter_.emit(put(output, at, size, vec.out.address));
  }

  const ResizeLayer layer_;
  const VecPlan plan_;
  Constants& constants_;
  Emitter& emitter_;
  SlotPool tables_, inputs_, outputs_;
};

}  // namespace

std::pair<int64_t, int64_t> reach(const std::vector<ResizeEntry>& entries, int64_t first,
                                  int64_t count) {
  std::pair<int64_t, int64_t> out{INT64_MAX, 0};
  for (int64_t i = first; i < first + count; ++i) {
    const ResizeEntry& entry = entries[static_cast<size_t>(i)];
    out.first = std::min({out.first, entry.first, entry.second});
    out.second = std::max({out.second, entry.first + 1, entry.second + 1});
  }
  return out;
}

std::optional<VecPlan> plan_resize(const ResizeLayer& layer, const npu_target& target,
                                   uint32_t sram_bytes, std::string& error) {
  const ResizeOp& op = *layer.op;
  const int64_t neighbours = op.interpolation == Interpolation::kNearest ? 1 : 4;
  return plan_image({.out = {layer.out_h, layer.out_w(), layer.channels},
                     .input = layer.input,
                     .output = layer.output,
                     .outer = layer.outer,
                     .operations = static_cast<uint64_t>(layer.out_h * layer.out_w() *
                                                         layer.channels * neighbours),
                     .entry_bytes = sizeof(npu_resize_entry),
                     .reach =
                         [&](int axis, int64_t count) {
                           return longest_reach(axis == 0 ? op.rows : op.columns, count);
                         }},
                    target, sram_bytes, error);
}

std::unique_ptr<LayerLowering> resize_lowering(const ResizeLayer& layer, const VecPlan& plan,
                                               const WorkMemory& memory, Constants& constants,
                                               Emitter& emitter) {
  return std::make_unique<ResizeLowering>(layer, plan, memory, constants, emitter);
}

}  // namespace npu::compiler
