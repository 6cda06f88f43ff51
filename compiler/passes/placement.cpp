// SPDX-License-Identifier: MIT
#include "compiler/passes/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "compiler/passes/joins.h"
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
    apart_.assign(original_values_, false);
    // A round that finds a value that should rather be written in another order, or lie apart from
    // what it is joined into, notes it and is repeated; only then is it known which copies remain
    // necessary.
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

  // What a Concat joins can be written in its place, or is there already, if this is free to
  // choose.
  void find_joins() {
    std::vector<bool> free(original_values_, false), is_output(original_values_, false);
    for (const Op& op : graph_.ops) {
      const ValueId id = op.output;
      is_output[id] = output_of_[id] >= 0;
      free[id] = !op.is_view() && !is_output[id] && order_[id].empty() && !apart_[id];
    }
    homes_ = find_homes(graph_, free, is_output);
  }

  // A command does not read between the bytes that it writes.
  bool reads(const Op& op, int storage) const {
    return std::ranges::any_of(op.operands(),
                               [&](ValueId id) { return plan_.values[id].storage == storage; });
  }

  // Elements from `start` on along the axis of the Concat that makes `whole`.
  Placement inside(ValueId whole, int64_t start) const {
    const auto axis = static_cast<size_t>(producer(whole)->as<ConcatOp>()->axis);
    Placement out = plan_.values[whole];
    out.offset += start * out.strides[axis];
    return out;
  }

  // Gives value `id` its place in what it lies in, which gets its storage with the first of its
  // parts, or a storage. `writer` makes it or a part of it.
  void place_home(ValueId id, const Op& writer) {
    std::vector<ValueId> chain;  // not placed yet, innermost first
    for (ValueId at = id; at != kNoValue && plan_.values[at].storage < 0; at = homes_[at].whole)
      chain.push_back(at);
    for (size_t i = chain.size(); i-- > 0;) {
      const ValueId at = chain[i];
      if (homes_[at].whole != kNoValue) {
        plan_.values[at] = inside(homes_[at].whole, homes_[at].start);
      } else {
        place_new(at, order_[at].empty() ? preferred_order(writer) : order_[at]);
      }
    }
  }

  bool same_place(const Placement& a, const Placement& b, const Shape& shape) const {
    if (a.storage != b.storage || a.offset != b.offset) return false;
    for (size_t i = 0; i < shape.size(); ++i)
      if (shape[i] > 1 && a.strides[i] != b.strides[i]) return false;
    return true;
  }

  // Brings what is not in its place there, unless it has been for another Concat in the same place.
  void join(size_t index) {
    const Op& op = graph_.ops[index];
    place_home(op.output, op);
    const auto axis = static_cast<size_t>(op.as<ConcatOp>()->axis);
    int64_t start = 0;
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      const ValueId part = op.inputs[i];
      const Shape shape = graph_.value(part).shape;  // a copy: values may move below
      Placement to = inside(op.output, start);
      start += shape[axis];
      const Placement& from = plan_.values[part];
      if (same_place(from, to, shape)) continue;
      if (from.storage == to.storage) {
        lie_apart(part);
        continue;
      }
      const auto [copied, fresh] =
          joined_copies_.try_emplace({part, to.storage, to.offset}, kNoValue);
      if (fresh) copied->second = add_copy(index, part, std::move(to));
      replaced_.push_back({index, i, copied->second});
    }
  }

  // A copy would read between the bytes that it writes.
  void lie_apart(ValueId id) {
    while (producer(id)->is_view()) id = producer(id)->inputs[0];
    apart_[id] = true;
    again_ = true;
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
    joined_copies_.clear();
    replaced_.clear();
    graph_.values.resize(original_values_);
    plan_ = {};
    place_edges();
    find_joins();
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

  // A copy of `id` at `to` before operator `index`.
  ValueId add_copy(size_t index, ValueId id, Placement to) {
    Op copy = make_copy(id, graph_.ops[index].source);
    const ValueId out = copy.output;
    plan_.values.resize(graph_.values.size());
    plan_.values[out] = std::move(to);
    copies_.emplace_back(index, std::move(copy));
    return out;
  }

  // Puts the copies of the last round before their users.
  void merge_copies() {
    for (const auto& [index, input, copy] : replaced_) graph_.ops[index].inputs[input] = copy;
    if (copies_.empty()) return;
    std::vector<Op> merged;
    merged.reserve(graph_.ops.size() + copies_.size());
    size_t next = 0;
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      for (; next < copies_.size() && copies_[next].first == i; ++next)
        merged.push_back(std::move(copies_[next].second));
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
    if (op.as<ConcatOp>() != nullptr) {
      join(index);
      return;
    }
    if (!op.is_view()) {
      const ValueId whole = homes_[op.output].whole;
      if (whole != kNoValue) place_home(whole, op);
      if (whole != kNoValue && reads(op, plan_.values[whole].storage)) {
        place_new(op.output, preferred_order(op));
      } else {
        place_home(op.output, op);
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
        const int storage = add_storage(NPU_REGION_SCRATCH, static_cast<uint64_t>(elements(shape)));
        const ValueId copy = add_copy(index, in, {storage, 0, row_major(graph_.value(in).shape)});
        replaced_.push_back({index, 0, copy});
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
  std::vector<int> output_of_;  // by ValueId: index of the graph output, or -1
  std::vector<int> producer_;   // by ValueId: operator, or -1
  std::vector<bool> apart_;     // by ValueId: lies in nothing that it is joined into
  std::vector<Home> homes_;     // by ValueId
  size_t original_values_ = 0;
  bool again_ = false;
  // Copies before operators, by their index in graph_.ops.
  std::vector<std::pair<size_t, Op>> copies_;
  struct Replaced {
    size_t op, input;
    ValueId copy;
  };
  std::vector<Replaced> replaced_;  // operands, by copies
  // By part, storage and offset there.
  std::map<std::tuple<ValueId, int, int64_t>, ValueId> joined_copies_;
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
