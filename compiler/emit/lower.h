// SPDX-License-Identifier: MIT
//
// Layers -> commands.
#ifndef NPU_COMPILER_EMIT_LOWER_H_
#define NPU_COMPILER_EMIT_LOWER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compiler/emit/constants.h"
#include "compiler/emit/emitter.h"
#include "compiler/emit/transfer.h"
#include "compiler/ir/graph.h"
#include "compiler/schedule/mac_plan.h"
#include "npu/target.h"

namespace npu::compiler {

// Where a layer's working memory lies in SRAM.
struct WorkMemory {
  uint32_t constants = 0;  // tables, weights, parameters
  uint32_t data = 0;       // pieces of activations
  bool operator==(const WorkMemory&) const = default;
};

// Emits the commands of one layer, all rows at once or stripe by stripe; keeps
// what it has in SRAM from one call to the next.
class LayerLowering {
 public:
  virtual ~LayerLowering() = default;
  // Divides the work on rows [begin, end) of the output into pieces; how many there are. Emits
  // nothing.
  virtual size_t pieces(int64_t begin, int64_t end) = 0;
  // Emits one of them. Each once, in order.
  virtual void emit_piece(size_t index) = 0;
  void rows(int64_t begin, int64_t end) {
    const size_t count = pieces(begin, end);
    for (size_t i = 0; i < count; ++i) emit_piece(i);
  }

  // Emits the next loads that depend on no other layer, about `cycles` of them, as long as they
  // have a place: the first weights.
  virtual void prefetch(uint64_t) {}
  // On one core of several that make rows or images of one layer: what one of them loads of the
  // weights, if those are constants, goes to all `cores`. They emit their pieces in turns.
  virtual void share_weights(LayerLowering&, unsigned) {}
};

// A layer that is emitted in one go.
class UndividedLowering : public LayerLowering {
 public:
  size_t pieces(int64_t begin, int64_t end) final {
    begin_ = begin;
    end_ = end;
    return 1;
  }
  void emit_piece(size_t) final { emit_rows(begin_, end_); }

 protected:
  virtual void emit_rows(int64_t begin, int64_t end) = 0;

 private:
  int64_t begin_ = 0, end_ = 0;
};

std::unique_ptr<LayerLowering> mac_lowering(const MacLayer& layer, const MacPlan& plan,
                                            const WorkMemory& memory, const npu_target& target,
                                            Constants& constants, Emitter& emitter);

// A pool over rows and columns of [rows, columns, channels].
struct PoolLayer {
  PoolOp op;
  ByteType input_type = ByteType::kUint8, output_type = ByteType::kUint8;
  int64_t in_h = 1, in_w = 1, channels = 1, out_h = 1, out_w = 1;
  Operand input, output;
  std::vector<OuterDim> outer;
  int64_t stripe_rows = 0;  // as in MacLayer
};

// Tiles of a layer of the vector unit, or of a copy.
struct VecPlan {
  int64_t tile_h = 1, tile_w = 1, tile_c = 1;
  uint32_t slots = 1;                                // of each operand that has any
  uint32_t a_bytes = 0, b_bytes = 0, out_bytes = 0;  // of a slot
  uint32_t table_bytes = 0;
  Estimate estimate;

  uint32_t constant_bytes() const { return table_bytes; }
  uint32_t data_bytes() const { return slots * (a_bytes + b_bytes + out_bytes); }
  uint32_t sram_bytes() const { return slot_size(constant_bytes()) + slot_size(data_bytes()); }
  bool operator==(const VecPlan&) const = default;
};

// The best tiles within `sram_bytes`; nullopt and the need in `error` if there are none.
std::optional<VecPlan> plan_pool(const PoolLayer& layer, const npu_target& target,
                                 uint32_t sram_bytes, std::string& error);
std::unique_ptr<LayerLowering> pool_lowering(const PoolLayer& layer, const VecPlan& plan,
                                             const WorkMemory& memory, Emitter& emitter);

struct GlobalLayer {
  GlobalAverageOp op;
  ByteType input_type = ByteType::kUint8, output_type = ByteType::kUint8;
  int64_t in_h = 1, in_w = 1, channels = 1;
  Operand input, output;
  std::vector<OuterDim> outer;
};
// nullopt if one channel of the image does not fit.
std::optional<VecPlan> plan_global(const GlobalLayer& layer, const npu_target& target,
                                   uint32_t sram_bytes);
std::unique_ptr<LayerLowering> global_lowering(const GlobalLayer& layer, const VecPlan& plan,
                                               const WorkMemory& memory, Emitter& emitter);
// The same as a depthwise convolution with weights of 1, whose sum can be split.
MacOp global_as_depthwise(const GlobalLayer& layer);

// A resize of rows and columns of [rows, columns, channels].
struct ResizeLayer {
  const ResizeOp* op = nullptr;
  ByteType input_type = ByteType::kUint8, output_type = ByteType::kUint8;
  int64_t in_h = 1, in_w = 1, channels = 1;
  int64_t out_h = 1;  // of op->rows: fewer while a part of them is planned
  Operand input, output;
  std::vector<OuterDim> outer;

  int64_t out_w() const { return static_cast<int64_t>(op->columns.size()); }
};
// Input rows or columns [begin, end) that `count` entries from `first` name.
std::pair<int64_t, int64_t> reach(const std::vector<ResizeEntry>& entries, int64_t first,
                                  int64_t count);
std::optional<VecPlan> plan_resize(const ResizeLayer& layer, const npu_target& target,
                                   uint32_t sram_bytes, std::string& error);
std::unique_ptr<LayerLowering> resize_lowering(const ResizeLayer& layer, const VecPlan& plan,
                                               const WorkMemory& memory, Constants& constants,
                                               Emitter& emitter);

// Element by element over at most two operands, or row of channels by row.
struct ElementLayer {
  const AddOp* add = nullptr;
  const MulOp* mul = nullptr;
  const LutOp* lut = nullptr;
  const SoftmaxOp* softmax = nullptr;
  const LayerNormOp* layer_norm = nullptr;  // none of all these: a copy
  ByteType a_type = ByteType::kUint8, b_type = ByteType::kUint8, out_type = ByteType::kUint8;
  // Iteration space, outermost first, with each operand's stride (0: broadcast). The three
  // innermost are rows, columns and channels; make_element_layers() merges what can be.
  struct Dim {
    int64_t extent;
    int64_t a, b, out;
  };
  std::vector<Dim> dims;
  Operand a, b, out;  // strides are those of the three innermost dims

  bool two() const { return add != nullptr || mul != nullptr; }
  // Needs whole rows of channels, which are the innermost dimension then.
  bool by_rows() const { return softmax != nullptr || layer_norm != nullptr; }
  bool copy() const { return !two() && lut == nullptr && !by_rows(); }
  const Dim& inner(int i) const { return dims[dims.size() - 3 + static_cast<size_t>(i)]; }
};
// Merges neighbouring dimensions and fills in the operands' strides.
void finish_dims(ElementLayer& layer);
std::optional<VecPlan> plan_elements(const ElementLayer& layer, const npu_target& target,
                                     uint32_t sram_bytes, std::string& error);
std::unique_ptr<LayerLowering> element_lowering(const ElementLayer& layer, const VecPlan& plan,
                                                const WorkMemory& memory, Constants& constants,
                                                Emitter& emitter);

// Calls `body` with the offsets of every repetition of `outer`, in order.
template <typename Body>
void for_each_outer(const std::vector<OuterDim>& outer, Body&& body) {
  std::vector<int64_t> index(outer.size(), 0);
  for (;;) {
    OuterDim sum;
    sum.extent = 0;
    int64_t number = 0;
    for (size_t i = 0; i < outer.size(); ++i) {
      number = number * outer[i].extent + index[i];
      sum.input += index[i] * outer[i].input;
      sum.weights += index[i] * outer[i].weights;
      sum.output += index[i] * outer[i].output;
      sum.residual += index[i] * outer[i].residual;
    }
    body(number, sum);
    size_t d = outer.size();
    while (d-- > 0) {
      if (++index[d] < outer[d].extent) break;
      index[d] = 0;
    }
    if (d == static_cast<size_t>(-1)) return;
  }
}

inline Operand shifted(Operand operand, int64_t offset) {
  operand.offset += static_cast<uint64_t>(offset);
  return operand;
}

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_LOWER_H_
