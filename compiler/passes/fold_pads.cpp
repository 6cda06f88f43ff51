// SPDX-License-Identifier: MIT
#include "compiler/passes/fold_pads.h"

#include <algorithm>
#include <optional>

namespace npu::compiler {
namespace {

constexpr int64_t kMostPad = 255;  // a field of a command

// A Pad that frames space only, with one byte.
struct Frame {
  ValueId inner = kNoValue;
  ValueId output = kNoValue;
  int byte = 0;  // its stored value
  int64_t before[2] = {0, 0}, after[2] = {0, 0};
};

std::optional<Frame> frame_of(const Graph& graph, const Op& op) {
  const auto* pad = op.as<PadOp>();
  if (pad == nullptr) return std::nullopt;
  const Value& in = graph.value(op.inputs[0]);
  const Shape& out = graph.value(op.output).shape;
  const std::vector<uint8_t>& fill = graph.value(op.inputs[1]).constant;
  const size_t rank = out.size();
  if ((rank != 3 && rank != 4) || fill.empty() ||
      std::any_of(fill.begin(), fill.end(), [&](uint8_t byte) { return byte != fill[0]; })) {
    return std::nullopt;
  }
  Frame frame;
  frame.inner = op.inputs[0];
  frame.output = op.output;
  frame.byte = byte_value(in.type, fill[0]);
  for (size_t i = 0; i < rank; ++i) {
    if (i < 2) {
      if (out[i] != in.shape[i]) return std::nullopt;
      continue;
    }
    const size_t d = i + 4 - rank - 2;
    frame.before[d] = pad->before[i];
    frame.after[d] = out[i] - in.shape[i] - pad->before[i];
  }
  return frame;
}

// The window with the frame as part of its padding; nullopt if a command cannot say so.
std::optional<Window> widened(const Window& window, const Frame& frame) {
  Window out = window;
  for (int d = 0; d < 2; ++d) {
    out.pad_before[d] += frame.before[d];
    out.pad_after[d] += frame.after[d];
    if (out.pad_before[d] > kMostPad || out.pad_after[d] > kMostPad) return std::nullopt;
  }
  return out;
}

// Extents of an image, vertical first.
void extents(const Shape& shape, int64_t (&out)[2]) {
  out[0] = shape.size() == 4 ? shape[2] : 1;
  out[1] = shape.back();
}

class Folder {
 public:
  explicit Folder(Graph& graph) : graph_(graph) {}

  void run() {
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      const std::optional<Frame> frame = frame_of(graph_, graph_.ops[i]);
      if (!frame) continue;
      for (Op& user : graph_.ops) {
        if (user.inputs[0] != frame->output || !take(user, *frame)) continue;
        user.inputs[0] = frame->inner;
        graph_.absorb(graph_.ops[i].source, user.source);
      }
    }
    const std::vector<uint32_t> uses = graph_.use_counts();
    std::erase_if(graph_.ops,
                  [&](const Op& op) { return op.as<PadOp>() != nullptr && uses[op.output] == 0; });
  }

 private:
  bool take(Op& op, const Frame& frame) {
    if (MacOp* mac = op.as<MacOp>()) {
      const std::optional<Window> window = widened(mac->window, frame);
      if (mac->matmul || !window || frame.byte != mac->input_zero) return false;
      mac->window = *window;
      return true;
    }
    PoolOp* pool = op.as<PoolOp>();
    return pool != nullptr && take_pool(op, *pool, frame);
  }

  bool take_pool(const Op& op, PoolOp& pool, const Frame& frame) {
    const std::optional<Window> window = widened(pool.window, frame);
    if (!window) return false;
    int64_t inner[2], framed[2], out[2];
    extents(graph_.value(frame.inner).shape, inner);
    extents(graph_.value(frame.output).shape, framed);
    extents(graph_.value(op.output).shape, out);
    bool whole = true;  // windows inside the frame
    for (int d = 0; d < 2; ++d) {
      const int64_t last = (out[d] - 1) * window->stride[d];
      // Every window must hold an element of the image.
      if (window->pad_before[d] >= window->kernel[d] || last >= inner[d] + window->pad_before[d])
        return false;
      whole = whole && pool.window.pad_before[d] == 0 && last + window->kernel[d] <= framed[d];
    }
    PoolArithmetic& arithmetic = pool.arithmetic;
    if (arithmetic.kind == PoolKind::kMax) {
      // What no element is below makes no difference.
      if (frame.byte != byte_low(graph_.value(frame.inner).type)) return false;
    } else {
      if (frame.byte != arithmetic.in_zero || (!arithmetic.count_pads && !whole)) return false;
      arithmetic.count_pads = true;
    }
    pool.window = *window;
    return true;
  }

  Graph& graph_;
};

}  // namespace

void fold_pads(Graph& graph) {
  Folder(graph).run();
}

}  // namespace npu::compiler
