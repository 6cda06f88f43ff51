// SPDX-License-Identifier: MIT
#include "compiler/passes/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

constexpr uint64_t kAlignment = 64;  // a DMA granule of every preset
// Strides of commands have 32 bits.
constexpr uint64_t kMostTensorBytes = UINT32_MAX;

uint64_t align_up(uint64_t value) {
  return (value + kAlignment - 1) / kAlignment * kAlignment;
}

// Dense strides with the axes nested in `order`, outermost first.
std::vector<int64_t> dense(const Shape& shape, const std::vector<size_t>& order) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride *= shape[order[i]];
  }
  return strides;
}

std::vector<size_t> linear_order(const Shape& shape) {
  std::vector<size_t> order(shape.size());
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// [n, c, ...] with the channels innermost.
std::vector<size_t> channels_last_order(const Shape& shape) {
  std::vector<size_t> order{0};
  for (size_t i = 2; i < shape.size(); ++i) order.push_back(i);
  order.push_back(1);
  return order;
}

class Planner {
 public:
  Planner(Graph& graph, Diagnostics& diagnostics) : graph_(graph), diagnostics_(diagnostics) {}

  std::optional<MemoryPlan> run() {
    if (!check_sizes()) return std::nullopt;
    separate_outputs();
    original_values_ = graph_.values.size();
    find_producers();
    find_parts();
    // A round that finds a value that should rather be written in another order notes it and
    // is repeated; only then is it known which copies remain necessary.
    for (int round = 0;; ++round) {
      if (round == kMaxRounds) {
        for (ValueId id = 0; id < order_.size(); ++id)
          if (order_[id].empty()) order_[id] = linear_order(graph_.value(id).shape);
      }
      if (round > kMaxRounds + 1) break;
      start_round();
      for (size_t i = 0; i < graph_.ops.size(); ++i) place(i);
      if (again_) continue;
      merge_copies();
      lifetimes();
      pack_scratch(plan_);
      return std::move(plan_);
    }
    diagnostics_.internal("the memory planner came to no end");
    return std::nullopt;
  }

 private:
  static constexpr int kMaxRounds = 40;

  bool check_sizes() {
    for (const Value& value : graph_.values) {
      if (static_cast<uint64_t>(elements(value.shape)) <= kMostTensorBytes) continue;
      diagnostics_.add({.status = Status::kResources,
                        .node = {},
                        .op = {},
                        .rule = "a tensor has less than 4 GiB",
                        .value = fmt::format("{} {}", value.name, to_text(value.shape)),
                        .suggestion = "Choose a smaller input or batch"});
      return false;
    }
    return true;
  }

  void find_producers() {
    producer_.assign(graph_.values.size(), -1);
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      producer_[graph_.ops[i].output] = static_cast<int>(i);
    }
  }

  // Values that can be written where a Concat puts them: made by an operator for it, joined once,
  // and not read over the bus where the result is a graph output.
  void find_parts() {
    joined_into_.assign(original_values_, -1);
    std::vector<uint32_t> joins(original_values_, 0);
    for (const Op& op : graph_.ops)
      if (op.as<ConcatOp>() != nullptr)
        for (const ValueId id : op.inputs) ++joins[id];
    const std::vector<uint32_t> uses = graph_.use_counts();
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      const Op& op = graph_.ops[i];
      if (op.as<ConcatOp>() == nullptr) continue;
      const bool is_output = output_of_[op.output] >= 0;
      for (const ValueId id : op.inputs) {
        const Op* writer = producer(id);
        if (writer != nullptr && !writer->is_view() && writer->as<ConcatOp>() == nullptr &&
            writer->as<PadOp>() == nullptr && output_of_[id] < 0 && joins[id] == 1 &&
            (!is_output || uses[id] == 1))
          joined_into_[id] = static_cast<int>(i);
      }
    }
  }

  // A command does not read between the bytes that it writes.
  bool may_join(const Op& writer, const Op& concat) const {
    const int storage = plan_.values[concat.output].storage;
    return order_[writer.output].empty() &&
           (storage < 0 || std::ranges::none_of(writer.operands(), [&](ValueId id) {
              return plan_.values[id].storage == storage;
            }));
  }

  // The part's place in the Concat's result, which gets its storage with the first of them.
  Placement place_part(const Op& writer, const Op& concat) {
    Placement& whole = plan_.values[concat.output];
    if (whole.storage < 0) {
      const std::vector<size_t>& wanted = order_[concat.output];
      place_new(concat.output, wanted.empty() ? preferred_order(writer) : wanted);
    }
    const auto axis = static_cast<size_t>(concat.as<ConcatOp>()->axis);
    Placement out = whole;
    for (const ValueId id : concat.inputs) {
      if (id == writer.output) break;
      out.offset += graph_.value(id).shape[axis] * out.strides[axis];
    }
    return out;
  }

  // A storage of its own, or a graph output's.
  void place_new(ValueId id, const std::vector<size_t>& order) {
    const int output = output_of_[id];
    const uint8_t region = output < 0
                               ? NPU_REGION_SCRATCH
                               : static_cast<uint8_t>(NPU_REGION_TENSORS + graph_.inputs.size() +
                                                      static_cast<size_t>(output));
    const Shape& shape = graph_.value(id).shape;
    const int storage = add_storage(region, static_cast<uint64_t>(elements(shape)));
    plan_.values[id] = {storage, 0, dense(shape, order)};
  }

  void start_round() {
    again_ = false;
    copies_.clear();
    graph_.values.resize(original_values_);
    plan_ = {};
    place_edges();
  }

  const Op* producer(ValueId id) const {
    const int index = id < producer_.size() ? producer_[id] : -1;
    return index < 0 ? nullptr : &graph_.ops[static_cast<size_t>(index)];
  }

  // The value whose producer can write the bytes of `id` in place, and in `order` how that must
  // nest its axes for `id` to be row-major.
  ValueId row_major_root(ValueId id, std::vector<size_t>& order) const {
    order = linear_order(graph_.value(id).shape);
    for (const Op* op = producer(id); op != nullptr; op = producer(id)) {
      if (const auto* transpose = op->as<TransposeOp>()) {
        for (size_t& axis : order) axis = static_cast<size_t>(transpose->permutation[axis]);
      } else if (op->as<ReshapeOp>() != nullptr && std::ranges::is_sorted(order)) {
        order = linear_order(graph_.value(op->inputs[0]).shape);
      } else {
        break;
      }
      id = op->inputs[0];
    }
    return id;
  }

  Op make_copy(ValueId id, uint32_t source) {
    Value copy = graph_.value(id);
    copy.constant.clear();
    Op op;
    op.source = source;
    op.inputs = {id};
    op.output = graph_.add_value(std::move(copy));
    op.detail = CopyOp{};
    return op;
  }

  // Gives each graph output a value of its own that some operator writes.
  void separate_outputs() {
    order_.assign(graph_.values.size(), {});
    output_of_.assign(graph_.values.size(), -1);
    find_producers();
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      std::vector<size_t> order;
      ValueId root = row_major_root(graph_.outputs[i], order);
      const Op* op = producer(root);
      const bool writable = op != nullptr && !op->is_view();
      if (!writable || output_of_[root] >= 0) {
        Op copy = make_copy(graph_.outputs[i], op != nullptr ? op->source : 0);
        root = copy.output;
        order = linear_order(graph_.value(root).shape);
        graph_.ops.push_back(std::move(copy));
        graph_.outputs[i] = root;
        order_.resize(graph_.values.size());
        output_of_.resize(graph_.values.size(), -1);
      }
      output_of_[root] = static_cast<int>(i);
      order_[root] = std::move(order);
    }
  }

  // Puts the copies of the last round before their users.
  void merge_copies() {
    if (copies_.empty()) return;
    std::vector<Op> merged;
    merged.reserve(graph_.ops.size() + copies_.size());
    size_t next = 0;
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      if (next < copies_.size() && copies_[next].first == i) {
        graph_.ops[i].inputs[0] = copies_[next].second.output;
        merged.push_back(std::move(copies_[next].second));
        ++next;
      }
      merged.push_back(std::move(graph_.ops[i]));
    }
    graph_.ops = std::move(merged);
  }

  int add_storage(uint8_t region, uint64_t bytes) {
    Storage storage;
    storage.region = region;
    storage.bytes = bytes;
    plan_.storages.push_back(storage);
    return static_cast<int>(plan_.storages.size()) - 1;
  }

  void place_edges() {
    plan_.values.assign(graph_.values.size(), {});
    for (size_t i = 0; i < graph_.inputs.size(); ++i) {
      const ValueId id = graph_.inputs[i];
      if (id == kNoValue) continue;
      const Shape& shape = graph_.value(id).shape;
      const int storage = add_storage(static_cast<uint8_t>(NPU_REGION_TENSORS + i),
                                      static_cast<uint64_t>(elements(shape)));
      plan_.values[id] = {storage, 0, row_major(shape)};
    }
    std::vector<bool> used(graph_.values.size(), false);
    for (const Op& op : graph_.ops) {
      for (const ValueId id : op.operands()) used[id] = true;
    }
    for (ValueId id = 0; id < graph_.values.size(); ++id) {
      const Value& value = graph_.value(id);
      if (value.constant.empty() || !used[id]) continue;
      const int storage = add_storage(NPU_REGION_CONSTANTS, value.constant.size());
      plan_.storages.back().offset = plan_.constants.size();
      plan_.constants.insert(plan_.constants.end(), value.constant.begin(), value.constant.end());
      plan_.constants.resize(align_up(plan_.constants.size()));
      plan_.values[id] = {storage, 0, row_major(value.shape)};
    }
  }

  // Order of the axes of what `op` makes.
  std::vector<size_t> preferred_order(const Op& op) const {
    const Shape& shape = graph_.value(op.output).shape;
    if (!order_[op.output].empty()) return order_[op.output];
    if (const MacOp* mac = op.as<MacOp>()) {
      return mac->matmul ? linear_order(shape) : channels_last_order(shape);
    }
    const bool image = shape.size() == 3 || shape.size() == 4;
    if (op.as<PoolOp>() != nullptr || op.as<ResizeOp>() != nullptr ||
        (op.as<GlobalAverageOp>() != nullptr && image)) {
      return channels_last_order(shape);
    }
    // As the first operand of the same rank that has no broadcast axis.
    for (const ValueId id : op.inputs) {
      const Shape& in = graph_.value(id).shape;
      const bool part = op.as<ConcatOp>() != nullptr || op.as<PadOp>() != nullptr;
      if (in.size() != shape.size() || (!part && in != shape)) continue;
      const std::vector<int64_t>& strides = plan_.values[id].strides;
      std::vector<size_t> order = linear_order(shape);
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        // Axes of length 1 have no say.
        const int64_t sa = in[a] == 1 ? 0 : strides[a], sb = in[b] == 1 ? 0 : strides[b];
        return sa != 0 && sb != 0 ? sa > sb : false;
      });
      return order;
    }
    return linear_order(shape);
  }

  void place(size_t index) {
    const Op& op = graph_.ops[index];
    const Shape shape = graph_.value(op.output).shape;  // a copy: values may move below
    if (!op.is_view()) {
      const int concat = joined_into_[op.output];
      if (concat >= 0 && may_join(op, graph_.ops[static_cast<size_t>(concat)])) {
        plan_.values[op.output] = place_part(op, graph_.ops[static_cast<size_t>(concat)]);
      } else if (plan_.values[op.output].storage < 0) {  // else a part of it is there already
        place_new(op.output, preferred_order(op));
      }
      return;
    }
    const ValueId in = op.inputs[0];
    Placement from = plan_.values[in];
    Placement to{from.storage, from.offset, {}};
    if (const auto* transpose = op.as<TransposeOp>()) {
      for (const int axis : transpose->permutation) {
        to.strides.push_back(from.strides[static_cast<size_t>(axis)]);
      }
    } else if (const auto* slice = op.as<SliceOp>()) {
      to.strides = from.strides;
      for (size_t i = 0; i < slice->start.size(); ++i) {
        to.offset += slice->start[i] * from.strides[i];
        if (!slice->step.empty()) to.strides[i] *= slice->step[i];
      }
    } else {
      const Shape& in_shape = graph_.value(in).shape;
      std::optional<std::vector<int64_t>> strides = reshape_strides(in_shape, from.strides, shape);
      if (!strides) {
        std::vector<size_t> order;
        const ValueId root = row_major_root(in, order);
        const Op* writer = producer(root);
        if (writer != nullptr && !writer->is_view() && order_[root].empty()) {
          order_[root] = std::move(order);
          again_ = true;
        }
        Op copy = make_copy(in, op.source);
        const int storage = add_storage(NPU_REGION_SCRATCH, static_cast<uint64_t>(elements(shape)));
        plan_.values.resize(graph_.values.size());
        plan_.values[copy.output] = {storage, 0, row_major(graph_.value(copy.output).shape)};
        copies_.emplace_back(index, std::move(copy));
        to = {storage, 0, {}};
        strides = row_major(graph_.value(op.output).shape);
      }
      to.strides = std::move(*strides);
    }
    plan_.values[op.output] = std::move(to);
  }

  void lifetimes() {
    std::vector<bool> seen(plan_.storages.size(), false);
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      std::vector<ValueId> touched = graph_.ops[i].operands();
      if (!graph_.ops[i].is_view()) touched.push_back(graph_.ops[i].output);
      for (const ValueId id : touched) {
        const size_t s = static_cast<size_t>(plan_.values[id].storage);
        if (!seen[s]) plan_.storages[s].first_op = i;
        seen[s] = true;
        plan_.storages[s].last_op = i;
      }
    }
  }

  Graph& graph_;
  Diagnostics& diagnostics_;
  MemoryPlan plan_;
  // By ValueId: its axes as they must be nested, outermost first; empty: as its writer likes.
  std::vector<std::vector<size_t>> order_;
  std::vector<int> output_of_;    // by ValueId: index of the graph output, or -1
  std::vector<int> producer_;     // by ValueId: operator, or -1
  std::vector<int> joined_into_;  // by ValueId: Concat that it is written in the place of, or -1
  size_t original_values_ = 0;
  bool again_ = false;
  // Copies before operators, by their index in graph_.ops.
  std::vector<std::pair<size_t, Op>> copies_;
};

}  // namespace

std::vector<int64_t> row_major(const Shape& shape) {
  return dense(shape, linear_order(shape));
}

std::optional<std::vector<int64_t>> reshape_strides(const Shape& in,
                                                    const std::vector<int64_t>& strides,
                                                    const Shape& out) {
  // Runs of input axes that lie densely inside each other, innermost last.
  std::vector<std::pair<int64_t, int64_t>> runs;  // length, stride of the innermost
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] == 1) continue;
    if (!runs.empty() && runs.back().second == strides[i] * in[i]) {
      runs.back().first *= in[i];
      runs.back().second = strides[i];
    } else {
      runs.emplace_back(in[i], strides[i]);
    }
  }
  std::vector<int64_t> result(out.size(), 1);
  size_t axis = out.size();
  for (size_t r = runs.size(); r-- > 0;) {
    int64_t left = runs[r].first;
    int64_t stride = runs[r].second;
    while (left > 1) {
      if (axis == 0) return std::nullopt;
      --axis;
      if (out[axis] == 1) continue;
      if (left % out[axis] != 0) return std::nullopt;
      result[axis] = stride;
      stride *= out[axis];
      left /= out[axis];
    }
  }
  // Axes of length 1 are never stepped along; a dense value keeps them tidy.
  for (size_t i = out.size(); i-- > 0;) {
    if (out[i] == 1) result[i] = i + 1 < out.size() ? result[i + 1] * out[i + 1] : 1;
  }
  return result;
}

// First fit, largest first; ties in order of creation, so that the result
// depends on nothing else. What is placed stays sorted by offset.
void pack_scratch(MemoryPlan& plan) {
  std::vector<size_t> order;
  for (size_t i = 0; i < plan.storages.size(); ++i) {
    if (plan.storages[i].region == NPU_REGION_SCRATCH && !plan.storages[i].on_chip)
      order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return plan.storages[a].bytes > plan.storages[b].bytes;
  });
  plan.scratch_bytes = 0;
  std::vector<size_t> placed;
  for (const size_t i : order) {
    Storage& storage = plan.storages[i];
    uint64_t offset = 0;
    for (const size_t j : placed) {
      const Storage& other = plan.storages[j];
      if (other.first_op > storage.last_op || storage.first_op > other.last_op) continue;
      if (offset + align_up(storage.bytes) <= other.offset) break;
      offset = std::max(offset, other.offset + align_up(other.bytes));
    }
    storage.offset = offset;
    plan.scratch_bytes = std::max(plan.scratch_bytes, offset + align_up(storage.bytes));
    const auto after =
        std::upper_bound(placed.begin(), placed.end(), offset,
                         [&](uint64_t at, size_t j) { return at < plan.storages[j].offset; });
    placed.insert(after, i);
  }
}

std::optional<MemoryPlan> plan_memory(Graph& graph, Diagnostics& diagnostics) {
  return Planner(graph, diagnostics).run();
}

}  // namespace npu::compiler
