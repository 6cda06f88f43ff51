// SPDX-License-Identifier: MIT
#include "compiler/passes/fuse.h"

#include <algorithm>
#include <utility>

namespace npu::compiler {
namespace {

// The clamp that a table between equal types is, if it is one.
std::optional<Clamp> as_clamp(const Lut& table, ByteType type) {
  Clamp clamp{byte_high(type), byte_low(type)};
  for (const uint8_t byte : table) {
    const int v = byte_value(type, byte);
    clamp.low = std::min(clamp.low, v);
    clamp.high = std::max(clamp.high, v);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const int v = byte_value(type, static_cast<uint8_t>(byte));
    if (byte_value(type, table[static_cast<size_t>(byte)]) !=
        std::clamp(v, clamp.low, clamp.high)) {
      return std::nullopt;
    }
  }
  return clamp;
}

Clamp intersect(const Clamp& inner, const Clamp& outer) {
  return {std::clamp(inner.low, outer.low, outer.high),
          std::clamp(inner.high, outer.low, outer.high)};
}

class Fuser {
 public:
  Fuser(Graph& graph, const npu_target& target) : graph_(graph), target_(target) {}

  void run() {
    uses_ = graph_.use_counts();
    producer_.assign(graph_.values.size(), -1);
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      if (removed(i)) continue;
      if (try_lut(i) || try_add(i) || try_pool(i)) continue;
      producer_[graph_.ops[i].output] = static_cast<int>(i);
    }
    std::vector<Op> kept;
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      if (!removed(i)) kept.push_back(std::move(graph_.ops[i]));
    }
    graph_.ops = std::move(kept);
  }

 private:
  bool removed(size_t i) const { return graph_.ops[i].output == kNoValue; }

  // The MAC operator that makes `id` for one user only, or -1.
  int fusable_producer(ValueId id) const {
    if (uses_[id] != 1) return -1;
    const int index = producer_[id];
    if (index < 0 || graph_.ops[static_cast<size_t>(index)].as<MacOp>() == nullptr) return -1;
    return index;
  }

  // Operator `i` takes the place of its user `user`, whose output it makes.
  void absorb(int producer, size_t user) {
    Op op = std::move(graph_.ops[static_cast<size_t>(producer)]);
    graph_.ops[static_cast<size_t>(producer)].output = kNoValue;
    op.output = graph_.ops[user].output;
    graph_.absorb(graph_.ops[user].source, op.source);
    graph_.ops[user] = std::move(op);
    producer_[graph_.ops[user].output] = static_cast<int>(user);
  }

  bool try_lut(size_t i) {
    const LutOp* lut = graph_.ops[i].as<LutOp>();
    if (lut == nullptr) return false;
    const ValueId in = graph_.ops[i].inputs[0];
    const ByteType type = graph_.value(graph_.ops[i].output).type;
    const bool same_type = graph_.value(in).type == type;
    const std::optional<Clamp> clamp = same_type ? as_clamp(lut->table, type) : std::nullopt;
    if (uses_[in] == 1 && producer_[in] >= 0 && clamp) {
      Op& before = graph_.ops[static_cast<size_t>(producer_[in])];
      Clamp* target = nullptr;
      if (auto* add = before.as<AddOp>()) target = &add->arithmetic.clamp;
      if (auto* mul = before.as<MulOp>()) target = &mul->clamp;
      if (auto* global = before.as<GlobalAverageOp>()) target = &global->clamp;
      if (auto* softmax = before.as<SoftmaxOp>()) target = &softmax->clamp;
      if (auto* norm = before.as<LayerNormOp>()) target = &norm->clamp;
      if (auto* pool = before.as<PoolOp>();
          pool != nullptr && pool->arithmetic.kind == PoolKind::kAverage) {
        target = &pool->arithmetic.clamp;
      }
      if (target != nullptr) {
        *target = intersect(*target, *clamp);
        absorb(producer_[in], i);
        return true;
      }
    }
    // A table behind a table.
    if (uses_[in] == 1 && producer_[in] >= 0) {
      if (auto* first = graph_.ops[static_cast<size_t>(producer_[in])].as<LutOp>()) {
        for (uint8_t& byte : first->table) byte = lut->table[byte];
        absorb(producer_[in], i);
        return true;
      }
    }
    std::vector<ValueId> moved;
    std::vector<Op*> makers;
    if (!same_type || !find_makers(in, moved, makers)) return false;
    const uint32_t source = graph_.ops[i].source, maker = makers.back()->source;
    const Quantization quantization = graph_.value(graph_.ops[i].output).quantization;
    for (Op* op : makers) append(*op->as<MacOp>(), lut->table, clamp);
    for (const ValueId id : moved) graph_.value(id).quantization = quantization;
    absorb(producer_[in], i);
    graph_.absorb(source, maker);
    return true;
  }

  // The MAC operators that make the bytes of `id`, if all can take a table, and the values between
  // them and whoever reads `id`, which nothing else reads.
  bool find_makers(ValueId id, std::vector<ValueId>& moved, std::vector<Op*>& makers) {
    moved = {id};
    for (size_t next = 0; next < moved.size(); ++next) {
      const int index = producer_[moved[next]];
      if (uses_[moved[next]] != 1 || index < 0) return false;
      Op& op = graph_.ops[static_cast<size_t>(index)];
      if (const auto* mac = op.as<MacOp>()) {
        if (mac->chain.pool) return false;
        makers.push_back(&op);
      } else if (op.is_view() || op.as<ConcatOp>() != nullptr) {
        moved.insert(moved.end(), op.inputs.begin(), op.inputs.end());
      } else {
        return false;
      }
    }
    return true;
  }

  static void append(MacOp& mac, const Lut& table, const std::optional<Clamp>& clamp) {
    OutputChain& chain = mac.chain;
    if (chain.residual) {
      if (clamp && !chain.lut2) {
        chain.residual->add.clamp = intersect(chain.residual->add.clamp, *clamp);
      } else if (!chain.lut2) {
        chain.lut2 = table;
      } else {
        for (uint8_t& byte : *chain.lut2) byte = table[byte];
      }
    } else if (clamp && !chain.lut1) {
      mac.clamp = intersect(mac.clamp, *clamp);
    } else if (!chain.lut1) {
      chain.lut1 = table;
    } else {
      for (uint8_t& byte : *chain.lut1) byte = table[byte];
    }
  }

  bool try_add(size_t i) {
    const AddOp* add = graph_.ops[i].as<AddOp>();
    if (add == nullptr) return false;
    const std::vector<ValueId> in = graph_.ops[i].inputs;
    if (in[0] == in[1] || graph_.value(in[0]).shape != graph_.value(in[1]).shape) return false;
    // The later producer, if both could take the addition.
    int best = -1, operand = 0;
    for (int k = 0; k < 2; ++k) {
      const int index = fusable_producer(in[static_cast<size_t>(k)]);
      if (index < 0) continue;
      const MacOp& mac = *graph_.ops[static_cast<size_t>(index)].as<MacOp>();
      if (mac.chain.residual || mac.chain.pool ||
          mac.mac_type != graph_.value(graph_.ops[i].output).type) {
        continue;
      }
      if (index > best) {
        best = index;
        operand = k;
      }
    }
    if (best < 0) return false;
    MacOp& mac = *graph_.ops[static_cast<size_t>(best)].as<MacOp>();
    OutputChain::Residual residual;
    residual.value = in[static_cast<size_t>(1 - operand)];
    residual.add = add->arithmetic;
    residual.first = operand == 1;
    mac.chain.residual = residual;
    absorb(best, i);
    return true;
  }

  bool try_pool(size_t i) {
    const PoolOp* pool = graph_.ops[i].as<PoolOp>();
    if (pool == nullptr) return false;
    const int index = fusable_producer(graph_.ops[i].inputs[0]);
    if (index < 0) return false;
    MacOp& mac = *graph_.ops[static_cast<size_t>(index)].as<MacOp>();
    const Value& in = graph_.value(graph_.ops[i].inputs[0]);
    const Value& out = graph_.value(graph_.ops[i].output);
    const Window& w = pool->window;
    if (mac.matmul || mac.chain.pool || mac.mac_type != out.type) return false;
    const PoolArithmetic& a = pool->arithmetic;
    if (a.kind == PoolKind::kAverage &&
        (a.clamp.low != byte_low(out.type) || a.clamp.high != byte_high(out.type))) {
      return false;
    }
    const size_t spatial = in.shape.size() - 2;
    for (size_t d = 0; d < 2; ++d) {
      if (w.kernel[d] != w.stride[d] || w.pad_before[d] != 0 || w.pad_after[d] != 0) return false;
    }
    for (size_t s = 0; s < spatial; ++s) {
      // Incomplete windows are dropped, not pooled (ceil_mode).
      const size_t d = s + 2 - spatial;
      if (out.shape[s + 2] != in.shape[s + 2] / w.kernel[d]) return false;
    }
    // The smallest tile is one window; with a split sum it must fit a bank.
    if (w.kernel[0] * w.kernel[1] > target_.accumulator_rows) return false;
    mac.chain.pool = OutputChain::Pool{a, {w.kernel[0], w.kernel[1]}};
    absorb(index, i);
    return true;
  }

  Graph& graph_;
  const npu_target& target_;
  std::vector<uint32_t> uses_;
  std::vector<int> producer_;
};

}  // namespace

void fuse_output_chains(Graph& graph, const npu_target& target) {
  Fuser(graph, target).run();
}

void reorder_flattened_weights(Graph& graph) {
  std::vector<int> producer(graph.values.size(), -1);
  std::vector<std::vector<size_t>> users(graph.values.size());
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    producer[graph.ops[i].output] = static_cast<int>(i);
    for (const ValueId id : graph.ops[i].operands()) users[id].push_back(i);
  }
  std::vector<Op> out;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    Op op = graph.ops[i];
    const ValueId x = op.inputs.empty() ? kNoValue : op.inputs[0];
    const auto is_output = [&](ValueId id) {
      return std::find(graph.outputs.begin(), graph.outputs.end(), id) != graph.outputs.end();
    };
    bool applies = op.as<ReshapeOp>() != nullptr && producer[x] >= 0 && !is_output(op.output) &&
                   !is_output(x) && !graph.ops[static_cast<size_t>(producer[x])].is_view();
    const Shape in = applies ? graph.value(x).shape : Shape{};
    const Shape shape = graph.value(op.output).shape;
    applies =
        applies && (in.size() == 3 || in.size() == 4) && shape.size() == 2 && shape[0] == in[0];
    const int64_t channels = applies ? in[1] : 1;
    const int64_t pixels = applies ? shape[1] / channels : 1;
    applies = applies && channels > 1 && pixels > 1;
    for (const size_t user : users[op.output]) {
      const MacOp* mac = graph.ops[user].as<MacOp>();
      applies = applies && mac != nullptr && mac->matmul && !mac->weights.empty() &&
                graph.ops[user].inputs[0] == op.output &&
                !(mac->chain.residual && mac->chain.residual->value == op.output);
    }
    if (!applies) {
      out.push_back(std::move(op));
      continue;
    }
    for (const size_t user : users[op.output]) {
      MacOp& mac = *graph.ops[user].as<MacOp>();
      std::vector<uint8_t> reordered(mac.weights.size());
      const int64_t depth = channels * pixels;
      for (int64_t o = 0; o < mac.out_channels; ++o) {
        for (int64_t c = 0; c < channels; ++c) {
          for (int64_t p = 0; p < pixels; ++p) {
            reordered[static_cast<size_t>(o * depth + p * channels + c)] =
                mac.weights[static_cast<size_t>(o * depth + c * pixels + p)];
          }
        }
      }
      mac.weights = std::move(reordered);
    }
    // x -> [n, ..., c] -> [n, pixels * c]: both are views of channels-last data.
    Value last;
    last.name = graph.value(x).name;
    last.type = graph.value(x).type;
    last.quantization = graph.value(x).quantization;
    TransposeOp transpose;
    transpose.permutation.push_back(0);
    last.shape.push_back(in[0]);
    for (size_t d = 2; d < in.size(); ++d) {
      transpose.permutation.push_back(static_cast<int>(d));
      last.shape.push_back(in[d]);
    }
    transpose.permutation.push_back(1);
    last.shape.push_back(channels);
    Op view;
    view.source = op.source;
    view.inputs = {x};
    view.output = graph.add_value(std::move(last));
    view.detail = std::move(transpose);
    op.inputs[0] = view.output;
    out.push_back(std::move(view));
    out.push_back(std::move(op));
  }
  graph.ops = std::move(out);
}

}  // namespace npu::compiler
