// SPDX-License-Identifier: MIT
#include "compiler/passes/joins.h"

#include <algorithm>
#include <functional>
#include <set>
#include <tuple>

namespace npu::compiler {
namespace {

// Places at which a run of parts is looked for.
constexpr size_t kMostTried = 64;

class Finder {
 public:
  Finder(const Graph& graph, const std::vector<bool>& may_lie_inside,
         const std::vector<bool>& is_output)
      : graph_(graph),
        may_lie_inside_(may_lie_inside),
        is_output_(is_output),
        concat_of_(graph.values.size(), nullptr),
        uses_(graph.use_counts()),
        homes_(graph.values.size()),
        roots_(graph.values.size()),
        at_(graph.values.size()),
        joined_(graph.values.size()) {
    for (ValueId id = 0; id < roots_.size(); ++id) roots_[id] = id;
  }

  std::vector<Home> run() {
    std::vector<const Op*> concats;
    for (const Op& op : graph_.ops)
      if (op.as<ConcatOp>() != nullptr) concats.push_back(&op);
    for (const Op* op : concats) {
      concat_of_[op->output] = op->as<ConcatOp>();
      for (const ValueId id : op->inputs) joined_[id].push_back(op->output);
    }
    // The largest first, of equal ones the last: whatever holds a value comes before it.
    std::ranges::reverse(concats);
    std::ranges::stable_sort(concats, std::greater<>(), [&](const Op* op) {
      return elements(graph_.value(op->output).shape);
    });
    for (const Op* op : concats) place(*op);
    for (ValueId id = 0; id < homes_.size(); ++id)
      if (concat_of_[id] == nullptr) choose(id, at_[id]);
    return std::move(homes_);
  }

 private:
  int64_t length(ValueId part, int axis) const {
    return graph_.value(part).shape[static_cast<size_t>(axis)];
  }

  // Takes the first of `places` that the value may lie in.
  bool choose(ValueId id, const std::vector<Home>& places) {
    if (!may_lie_inside_[id] || places.empty()) return false;
    const std::vector<ValueId>& joined = joined_[id];
    const auto inside = [&](ValueId root) {
      return uses_[id] == joined.size() &&
             std::ranges::all_of(joined, [&](ValueId whole) { return roots_[whole] == root; });
    };
    // The one root of all that read it, if those are Concats.
    const ValueId only =
        !joined.empty() && inside(roots_[joined[0]]) ? roots_[joined[0]] : kNoValue;
    for (const Home& home : places) {
      const ValueId root = roots_[home.whole];
      if (is_output_[root] && root != only) continue;
      homes_[id] = home;
      roots_[id] = root;
      return true;
    }
    return false;
  }

  // Where the result of `op` is found as a run of parts, in what has its axis.
  std::vector<Home> runs(const Op& op) const {
    const int axis = op.as<ConcatOp>()->axis;
    // By the part that is in the fewest places.
    size_t rarest = 0;
    for (size_t i = 1; i < op.inputs.size(); ++i)
      if (at_[op.inputs[i]].size() < at_[op.inputs[rarest]].size()) rarest = i;
    int64_t before = 0;
    for (size_t i = 0; i < rarest; ++i) before += length(op.inputs[i], axis);
    std::vector<Home> out;
    const std::vector<Home>& places = at_[op.inputs[rarest]];
    for (size_t i = 0; i < std::min(places.size(), kMostTried); ++i) {
      const ValueId whole = places[i].whole;
      if (concat_of_[whole]->axis != axis) continue;
      const int64_t start = places[i].start - before;
      int64_t at = start;
      const bool all = std::ranges::all_of(op.inputs, [&](ValueId part) {
        const bool found = known_.contains({part, whole, at});
        at += length(part, axis);
        return found;
      });
      if (all) out.push_back({whole, start});
    }
    return out;
  }

  void place(const Op& op) {
    const ValueId id = op.output;
    if (!choose(id, at_[id])) choose(id, runs(op));
    // Its parts are parts of what it lies in along the same axis.
    Home here = homes_[id];
    const int axis = op.as<ConcatOp>()->axis;
    if (here.whole == kNoValue || concat_of_[here.whole]->axis != axis) here = {id, 0};
    for (const ValueId part : op.inputs) {
      if (known_.insert({part, here.whole, here.start}).second) at_[part].push_back(here);
      here.start += length(part, axis);
    }
  }

  const Graph& graph_;
  const std::vector<bool>&may_lie_inside_, &is_output_;
  // By ValueId.
  std::vector<const ConcatOp*> concat_of_;
  std::vector<uint32_t> uses_;
  std::vector<Home> homes_;
  std::vector<ValueId> roots_;                // what the value lies in, in the end; itself: nothing
  std::vector<std::vector<Home>> at_;         // where the value is a part
  std::vector<std::vector<ValueId>> joined_;  // results of Concats that join it
  std::set<std::tuple<ValueId, ValueId, int64_t>> known_;  // all of at_
};

}  // namespace

std::vector<Home> find_homes(const Graph& graph, const std::vector<bool>& may_lie_inside,
                             const std::vector<bool>& is_output) {
  return Finder(graph, may_lie_inside, is_output).run();
}

}  // namespace npu::compiler
