// SPDX-License-Identifier: MIT
#include "compiler/schedule/stripes.h"

#include <algorithm>
#include <limits>

#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

struct Rows {
  int64_t begin = std::numeric_limits<int64_t>::max(), end = 0;
  bool empty() const { return begin >= end; }
  void join(const Rows& other) {
    begin = std::min(begin, other.begin);
    end = std::max(end, other.end);
  }
};

// What the stripes need to know of a convolution or pool.
struct Shape3 {
  int64_t height, width, channels;
};

const Window& window_of(const Layer& layer) {
  if (const auto* mac = std::get_if<MacLayer>(&layer)) return mac->op->window;
  return std::get<PoolLayer>(layer).op.window;
}
int64_t pool_of(const Layer& layer, int i) {
  const auto* mac = std::get_if<MacLayer>(&layer);
  return mac != nullptr ? mac->pool(i) : 1;
}
Shape3 input_shape(const Layer& layer) {
  if (const auto* mac = std::get_if<MacLayer>(&layer))
    return {mac->in_h, mac->in_w, mac->op->in_channels};
  const auto& pool = std::get<PoolLayer>(layer);
  return {pool.in_h, pool.in_w, pool.channels};
}
Shape3 output_shape(const Layer& layer) {
  if (const auto* mac = std::get_if<MacLayer>(&layer))
    return {mac->out_h / mac->pool(0), mac->out_w / mac->pool(1), mac->op->out_channels};
  const auto& pool = std::get<PoolLayer>(layer);
  return {pool.out_h, pool.out_w, pool.channels};
}
Shape3 residual_shape(const Layer& layer) {
  const auto& mac = std::get<MacLayer>(layer);
  return {mac.out_h, mac.out_w, mac.op->out_channels};
}
const Operand& input_of(const Layer& layer) {
  if (const auto* mac = std::get_if<MacLayer>(&layer)) return mac->input;
  return std::get<PoolLayer>(layer).input;
}
const Operand& output_of(const Layer& layer) {
  if (const auto* mac = std::get_if<MacLayer>(&layer)) return mac->output;
  return std::get<PoolLayer>(layer).output;
}
const Operand* residual_of(const Layer& layer) {
  const auto* mac = std::get_if<MacLayer>(&layer);
  return mac != nullptr && mac->op->chain.residual ? &mac->residual : nullptr;
}

// Input rows for rows [begin, end) of the output.
Rows reach(const Layer& layer, const Rows& out) {
  const Window& w = window_of(layer);
  const int64_t pool = pool_of(layer, 0);
  const int64_t first = out.begin * pool * w.stride[0] - w.pad_before[0];
  const int64_t last = (out.end * pool - 1) * w.stride[0] - w.pad_before[0] + w.span(0);
  return {std::max<int64_t>(0, first), std::min(input_shape(layer).height, last)};
}

bool same_place(const Operand& a, const Operand& b) {
  return a.region == b.region && a.offset == b.offset &&
         std::equal(a.stride, a.stride + 3, b.stride);
}

// The first step behind the first pool; their number if there is none.
size_t behind_pool(std::span<const Step> steps) {
  const auto pool = std::ranges::find_if(
      steps, [](const Step& step) { return std::holds_alternative<PoolLayer>(step.layer); });
  return pool == steps.end() ? steps.size() : static_cast<size_t>(pool - steps.begin()) + 1;
}

class Builder {
 public:
  Builder(std::span<const Step> steps, int64_t rows, const std::vector<bool>& resident,
          const std::vector<bool>& used_later)
      : steps_(steps), rows_(rows), resident_(resident), used_later_(used_later) {}

  std::optional<Stripes> run(unsigned cores, bool images, bool lag) {
    lagging_ = lag ? behind_pool(steps_) : steps_.size();
    out_.step_rows.assign(steps_.size(), 0);
    if (!find_rings()) return std::nullopt;
    height_ = output_shape(steps_.back().layer).height;
    if (!images && height_ < cores) return std::nullopt;
    done_.assign(steps_.size(), 0);
    const auto share = [&](unsigned of) { return (height_ * of + cores - 1) / cores; };
    for (unsigned core = 0; core < cores; ++core) {
      const Rows own = images ? Rows{0, height_} : Rows{share(core), share(core + 1)};
      // Behind what the core before stores.
      first_ = images ? std::vector<int64_t>(steps_.size(), 0) : done_;
      done_.assign(steps_.size(), 0);
      done_.back() = own.begin;
      loaded_.assign(out_.rings.size(), 0);
      lowest_.assign(out_.rings.size(), -1);
      out_.work.push_back({{}, std::vector<std::pair<int64_t, int64_t>>(steps_.size())});
      for (int64_t at = own.begin; at < own.end; at += rows_)
        stripe({at, std::min(own.end, at + rows_)});
      std::vector<StripeAction>& actions = out_.work.back().actions;
      actions.insert(actions.end(), late_.begin(), late_.end());
      late_.clear();
    }
    for (Ring& ring : out_.rings) {
      ring.rows = std::min(ring.rows, ring.height);
      if (ring.rows > 65535) return std::nullopt;
      out_.ring_bytes += ring.bytes();
    }
    return std::move(out_);
  }

 private:
  static constexpr size_t kNone = ~size_t{0};

  // The ring of an operand, made if it is new; false if that cannot be one.
  bool ring_of(const Operand& operand, const Shape3& shape, bool written, size_t& ring) {
    ring = kNone;
    const auto s = static_cast<size_t>(operand.storage);
    if (resident_[s]) return operand.stride[2] == 1;
    for (size_t i = 0; i < out_.rings.size(); ++i) {
      Ring& known = out_.rings[i];
      if (known.storage != operand.storage) continue;
      // The same image, wherever it is used.
      if (written || !same_place(known.external, operand) || known.height != shape.height ||
          known.width != shape.width || known.channels != shape.channels)
        return false;
      ring = i;
      return true;
    }
    Ring fresh;
    fresh.storage = operand.storage;
    fresh.height = shape.height;
    fresh.width = shape.width;
    fresh.channels = shape.channels;
    fresh.load = !written;
    fresh.external = operand;
    ring = out_.rings.size();
    out_.rings.push_back(fresh);
    return true;
  }

  bool find_rings() {
    for (size_t i = 0; i < steps_.size(); ++i) {
      const Layer& layer = steps_[i].layer;
      Use use;
      if (!ring_of(input_of(layer), input_shape(layer), false, use.input)) return false;
      if (const Operand* residual = residual_of(layer)) {
        if (!ring_of(*residual, residual_shape(layer), false, use.residual)) return false;
      }
      if (!ring_of(output_of(layer), output_shape(layer), true, use.output)) return false;
      // What is needed outside goes to external memory, too.
      const auto s = static_cast<size_t>(output_of(layer).storage);
      const bool last = i + 1 == steps_.size();
      if (use.output == kNone && !last) return false;
      if (use.output != kNone)
        out_.rings[use.output].store =
            last || used_later_[s] || output_of(layer).region != NPU_REGION_SCRATCH;
      uses_.push_back(use);
    }
    // Every step but the last must be read by a later one.
    for (size_t i = 0; i + 1 < steps_.size(); ++i) {
      bool read = false;
      for (size_t j = i + 1; j < steps_.size(); ++j)
        read = read || uses_[j].input == uses_[i].output || uses_[j].residual == uses_[i].output;
      if (!read) return false;
    }
    return true;
  }

  void stripe(Rows target) {
    std::vector<StripeAction>& actions = out_.work.back().actions;
    // Backwards: which rows of each ring this stripe reads.
    std::vector<Rows> needed(out_.rings.size());
    std::vector<Rows> computed(steps_.size());
    for (size_t i = steps_.size(); i-- > 0;) {
      const Use& use = uses_[i];
      const bool last = i + 1 == steps_.size();
      int64_t end = last ? target.end : needed[use.output].end;
      // All of what is stored, even rows that no step of the segment reads.
      if (!last && target.end == height_ && out_.rings[use.output].store)
        end = out_.rings[use.output].height;
      // Rows that nobody reads are left out.
      int64_t begin = done_[i];
      if (!last) {
        const Rows& read = needed[use.output];
        if (!out_.rings[use.output].store)
          begin = read.empty() ? begin : std::max(begin, read.begin);
        else if (begin == 0)
          begin = std::min(first_[i], read.begin);
      }
      const Rows rows{begin, std::max(end, begin)};
      computed[i] = rows;
      if (rows.empty()) continue;
      const Layer& layer = steps_[i].layer;
      if (use.input != kNone) needed[use.input].join(reach(layer, rows));
      if (use.residual != kNone) {
        const int64_t pool = pool_of(layer, 0);
        needed[use.residual].join({rows.begin * pool, rows.end * pool});
      }
    }
    const std::vector<int64_t> before = lowest_;
    // Rings hold from the lowest row that is read to the highest written; a ring that is loaded
    // takes the next rows while these are in use, one that is stored lets the store lag behind.
    for (size_t r = 0; r < out_.rings.size(); ++r) {
      Ring& ring = out_.rings[r];
      if (needed[r].empty()) continue;
      if (ring.load) {
        const bool first = loaded_[r] == 0;
        const int64_t from = std::max(loaded_[r], needed[r].begin);
        if (needed[r].end > from) {
          actions.push_back({StripeAction::Kind::kLoad, r, from, needed[r].end});
          const auto bytes =
              static_cast<uint64_t>((needed[r].end - from) * ring.width * ring.channels);
          if (first && out_.work.size() == 1) out_.first_load_bytes += bytes;
          loaded_[r] = needed[r].end;
        }
        ring.rows = std::max(ring.rows, needed[r].end - (first ? needed[r].begin : lowest_[r]));
      } else if (lagging_ < steps_.size() && lowest_[r] >= 0) {
        // What is made for this stripe is there beside what the one before still reads.
        ring.rows = std::max(ring.rows, needed[r].end - lowest_[r]);
      }
      ring.rows = std::max(ring.rows, needed[r].end - needed[r].begin);
      lowest_[r] = needed[r].begin;
    }
    std::vector<StripeAction> late;
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (i == lagging_) {
        actions.insert(actions.end(), late_.begin(), late_.end());
        late_.clear();
      }
      if (computed[i].empty()) continue;
      std::vector<StripeAction>& actions = i < lagging_ ? out_.work.back().actions : late;
      const Rows& rows = computed[i];
      actions.push_back({StripeAction::Kind::kCompute, i, rows.begin, rows.end});
      auto& [computed_begin, computed_end] = out_.work.back().computed[i];
      if (computed_end == 0) computed_begin = rows.begin;
      computed_end = rows.end;
      out_.step_rows[i] = std::max(out_.step_rows[i], rows.end - rows.begin);
      done_[i] = rows.end;
      if (uses_[i].output == kNone || !out_.rings[uses_[i].output].store) continue;
      Ring& ring = out_.rings[uses_[i].output];
      const Rows& read = needed[uses_[i].output];
      const int64_t size = rows.end - rows.begin;
      ring.rows = std::max(ring.rows,
                           std::max(rows.end, read.end) - std::min(rows.begin, read.begin) + size);
      if (const int64_t low = before[uses_[i].output]; lagging_ < steps_.size() && low >= 0)
        ring.rows = std::max(ring.rows, std::max(rows.end, read.end) - low + size);
      const int64_t from = std::max(rows.begin, first_[i]);
      if (from < rows.end)
        actions.push_back({StripeAction::Kind::kStore, uses_[i].output, from, rows.end});
    }
    late_ = std::move(late);
  }

  // Rings of a step's operands; kNone: it lies in SRAM as a whole.
  struct Use {
    size_t input = kNone, residual = kNone, output = kNone;
  };

  const std::span<const Step> steps_;
  const int64_t rows_;
  int64_t height_ = 0;              // of the last step's output
  size_t lagging_ = 0;              // the first step that is a stripe behind
  std::vector<StripeAction> late_;  // of the stripe before, by those steps
  const std::vector<bool>&resident_, &used_later_;
  Stripes out_;
  std::vector<Use> uses_;
  std::vector<int64_t> done_;    // by step: rows of its output
  std::vector<int64_t> first_;   // by step: rows before are stored by other cores
  std::vector<int64_t> loaded_;  // by ring
  std::vector<int64_t> lowest_;  // by ring: lowest row read in the stripe before; -1: none yet
};

}  // namespace

Operand Ring::operand(uint32_t address) const {
  Operand out;
  out.region = kOnChip;
  out.storage = storage;
  out.offset = address;
  out.stride[0] = row_bytes();
  out.stride[1] = channels;
  out.stride[2] = 1;
  out.ring_rows = rows < height ? static_cast<uint32_t>(rows) : 0;
  return out;
}

bool can_stripe(const Step& step) {
  if (const auto* pool = std::get_if<PoolLayer>(&step.layer)) return pool->outer.empty();
  const auto* mac = std::get_if<MacLayer>(&step.layer);
  if (mac == nullptr || mac->op->matmul || mac->dynamic || !mac->outer.empty()) return false;
  // A stripe that lies in the padding only would have no input.
  if (mac->sees_padding_only()) return false;
  for (int i = 0; i < 2; ++i)
    if (mac->op->window.kernel[i] > 255) return false;
  return true;
}

bool can_lag(std::span<const Step> steps) {
  const size_t first = behind_pool(steps);
  return first > 1 && first < steps.size();
}

std::optional<Stripes> make_stripes(std::span<const Step> steps, int64_t rows,
                                    const std::vector<bool>& resident,
                                    const std::vector<bool>& used_later, unsigned cores,
                                    bool images, bool lag) {
  return Builder(steps, rows, resident, used_later).run(cores, images, lag);
}

}  // namespace npu::compiler
