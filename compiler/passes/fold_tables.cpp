// SPDX-License-Identifier: MIT
#include "compiler/passes/fold_tables.h"

#include <iterator>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "arch/numerics.h"

namespace npu::compiler {
namespace {

// A value as a function of another one, element by element; of itself, if there is nothing better.
struct Function {
  ValueId of = kNoValue;
  Lut table{};
};

class TableFolder {
 public:
  explicit TableFolder(Graph& graph)
      : graph_(graph), functions_(graph.values.size()), same_(graph.values.size()) {
    std::iota(same_.begin(), same_.end(), ValueId{0});
  }

  void run() {
    for (Op& op : graph_.ops) {
      for (ValueId& id : op.inputs) id = same_[id];
      if (const LutOp* lut = op.as<LutOp>()) {
        Function made = function(op.inputs[0]);
        for (uint8_t& byte : made.table) byte = lut->table[byte];
        functions_[op.output] = made;
      } else if (op.as<AddOp>() != nullptr || op.as<MulOp>() != nullptr) {
        fold(op);
      }
      if (op.as<LutOp>() != nullptr) share(op);
    }
    remove_unused();
  }

 private:
  Function function(ValueId id) const {
    if (functions_[id].of != kNoValue) return functions_[id];
    Function self{id, {}};
    std::iota(self.table.begin(), self.table.end(), uint8_t{0});
    return self;
  }

  void fold(Op& op) {
    const Function a = function(op.inputs[0]), b = function(op.inputs[1]);
    const Value& out = graph_.value(op.output);
    // Shapes of another rank are broadcast, if by a dimension of 1 only: tables keep the shape.
    if (a.of != b.of || graph_.value(a.of).shape != out.shape) return;
    const ByteType a_type = graph_.value(op.inputs[0]).type;
    const ByteType b_type = graph_.value(op.inputs[1]).type;
    Lut table;
    for (size_t i = 0; i < table.size(); ++i)
      table[i] = static_cast<uint8_t>(
          compute(op, byte_value(a_type, a.table[i]), byte_value(b_type, b.table[i])));
    op.inputs = {a.of};
    op.detail = LutOp{table};
    functions_[op.output] = {a.of, table};
    folded_.try_emplace(a.of, op.source);
  }

  // Who reads it reads the first table that makes the same of the same.
  void share(const Op& op) {
    const Function& made = functions_[op.output];
    const auto [first, fresh] = first_.try_emplace(
        {made.of, graph_.value(op.output).type, made.table}, Table{op.output, op.source});
    if (fresh) return;
    same_[op.output] = first->second.output;
    shared_.try_emplace(op.output, first->second.source);
  }

  static int32_t compute(const Op& op, int a, int b) {
    if (const MulOp* mul = op.as<MulOp>())
      return arch::multiply(a, b, mul->a_zero, mul->b_zero, mul->scale, mul->out_zero,
                            mul->clamp.low, mul->clamp.high);
    const AddArithmetic& add = op.as<AddOp>()->arithmetic;
    return arch::add(a, b, add.ra, add.rb, add.fix, add.clamp.low, add.clamp.high);
  }

  // What nothing reads any more was read by a table that does its work now, or is another's equal.
  void remove_unused() {
    if (folded_.empty() && shared_.empty()) return;
    std::vector<uint32_t> uses = graph_.use_counts();
    std::vector<Op> kept;
    for (size_t i = graph_.ops.size(); i-- > 0;) {
      Op& op = graph_.ops[i];
      if (op.as<LutOp>() == nullptr || uses[op.output] > 0) {
        kept.push_back(std::move(op));
        continue;
      }
      --uses[op.inputs[0]];
      if (const auto equal = shared_.find(op.output); equal != shared_.end()) {
        graph_.absorb(op.source, equal->second);
      } else if (const auto user = folded_.find(functions_[op.output].of); user != folded_.end()) {
        graph_.absorb(op.source, user->second);
      }
    }
    graph_.ops.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
  }

  Graph& graph_;
  std::vector<Function> functions_;     // by value; of kNoValue: not known
  std::map<ValueId, uint32_t> folded_;  // by value: the first node that became a table of it
  struct Table {
    ValueId output;
    uint32_t source;
  };
  std::map<std::tuple<ValueId, ByteType, Lut>, Table> first_;
  std::vector<ValueId> same_;           // by value: the first equal one
  std::map<ValueId, uint32_t> shared_;  // by value that has an equal one: its node
};

}  // namespace

void fold_tables(Graph& graph) {
  TableFolder(graph).run();
}

}  // namespace npu::compiler
