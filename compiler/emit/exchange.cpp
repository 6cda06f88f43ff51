// SPDX-License-Identifier: MIT
#include "compiler/emit/exchange.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace npu::compiler {
namespace {

using Axis = Exchange::Axis;
using Range = std::pair<int64_t, int64_t>;

// Pieces in which a part is brought over, at most: the first can leave while the
// others are still being made.
constexpr int64_t kMostPieces = 8;

constexpr Range kAll{0, std::numeric_limits<int64_t>::max()};

Axis axis(int64_t extent, int64_t stride, const Range& range = kAll, int64_t unit = 0) {
  return {extent, stride, std::max<int64_t>(0, range.first), std::min(extent, range.second), unit};
}

// Rows of an input that rows [begin, end) of a window's output need.
Range input_rows(const Window& window, int64_t begin, int64_t end) {
  return {begin * window.stride[0] - window.pad_before[0],
          (end - 1) * window.stride[0] - window.pad_before[0] + window.span(0)};
}

// The axes of one operand of a part: what repeats the layer, and rows, columns and channels.
class Axes {
 public:
  Axes(const Layer& layer, Split split, const Box& part, unsigned cores)
      : divided_(split == Split::kRepeats ? divided_dim(layer, cores) : -1),
        range_{part.repeat_begin, part.repeat_end} {}

  std::vector<Axis> image(const std::vector<OuterDim>& outer, int64_t OuterDim::*stride,
                          const Operand& operand, Axis rows, Axis columns, Axis channels) const {
    std::vector<Axis> out;
    for (size_t i = 0; i < outer.size(); ++i)
      out.push_back(axis(outer[i].extent, outer[i].*stride, range(i), 1));
    rows.stride = operand.stride[0];
    columns.stride = operand.stride[1];
    channels.stride = operand.stride[2];
    out.insert(out.end(), {rows, columns, channels});
    return out;
  }
  // `unit`: of the dimension that is divided.
  std::vector<Axis> elements(const ElementLayer& layer, int64_t ElementLayer::Dim::*stride,
                             int64_t unit = 0) const {
    std::vector<Axis> out;
    for (size_t i = 0; i < layer.dims.size(); ++i)
      out.push_back(axis(layer.dims[i].extent, layer.dims[i].*stride, range(i),
                         static_cast<int>(i) == divided_ ? unit : 0));
    return out;
  }

 private:
  Range range(size_t i) const { return static_cast<int>(i) == divided_ ? range_ : kAll; }

  const int divided_;
  const Range range_;
};

int64_t share_of_groups(const MacLayer& mac, int64_t channel) {
  return channel / mac.group_outputs() * mac.group_inputs();
}

}  // namespace

Exchange::Region Exchange::Piece::all() const {
  Region out;
  for (const Axis& of : axes) out.emplace_back(0, of.extent);
  return out;
}

// What is read of an operand that begins `before` bytes in front of the piece, without the elements
// of each run that are in front of it: the channels of what it was joined to.
std::optional<std::vector<Axis>> Exchange::Piece::from_here(int64_t before,
                                                            std::vector<Axis> read) const {
  const size_t digits = axes.size();
  if (digits < 2 || before % axes.back().stride != 0) return std::nullopt;
  const Axis& run = axes.back();
  const int64_t next = axes[digits - 2].stride;
  // They are behind the piece in the run before.
  if (run.extent * run.stride + before > next) return std::nullopt;
  bool found = false;
  for (Axis& along : read) {
    if (along.extent == 1 || along.stride == 0) continue;
    if (along.stride == run.stride && !found && along.extent * along.stride <= next) {
      found = true;
      along.begin = std::max<int64_t>(0, along.begin - before / run.stride);
      along.end -= before / run.stride;
    } else if (along.stride % next != 0) {
      return std::nullopt;
    }
  }
  return found ? std::optional(std::move(read)) : std::nullopt;
}

// Addresses as numbers whose digits are the positions along the axes; what is read has, for each
// digit, a lowest and a highest one.
Exchange::Region Exchange::Piece::holding(const Operand& operand,
                                          const std::vector<Axis>& read) const {
  const size_t digits = axes.size();
  const int64_t distance = static_cast<int64_t>(operand.offset) - static_cast<int64_t>(offset);
  if (distance < 0) {
    const std::optional<std::vector<Axis>> behind = from_here(-distance, read);
    if (!behind) return all();
    Operand here = operand;
    here.offset = offset;
    return holding(here, *behind);
  }
  if (digits == 0) return all();
  for (size_t i = 1; i < digits; ++i)
    if (axes[i - 1].stride % axes[i].stride != 0 ||
        axes[i].extent * axes[i].stride > axes[i - 1].stride)
      return all();
  std::vector<int64_t> low(digits, 0), high(digits, 0);
  bool even = true;  // nothing lies between the elements of the last axis
  const auto add = [&](int64_t first, int64_t last, int64_t stride) {
    even = even && first % axes.back().stride == 0 && stride % axes.back().stride == 0;
    bool same = true;  // so far
    for (size_t i = 0; i < digits; ++i) {
      const int64_t a = first / axes[i].stride, b = last / axes[i].stride;
      first %= axes[i].stride;
      last %= axes[i].stride;
      if (same) {
        low[i] += a;
        high[i] += b;
        same = a == b;
      } else if (stride % axes[i - 1].stride != 0) {
        high[i] += axes[i - 1].stride / axes[i].stride - 1;
      }
    }
  };
  add(distance, distance, 0);
  for (const Axis& of : read) {
    if (of.begin >= of.end) return {};
    if (of.stride != 0 && of.extent > 1)
      add(of.begin * of.stride, (of.end - 1) * of.stride, of.stride);
  }
  if (!even) return all();
  Region out;
  for (size_t i = 0; i < digits; ++i) {
    if (i > 0 && high[i] >= axes[i - 1].stride / axes[i].stride) return all();
    out.emplace_back(low[i], std::min(high[i] + 1, axes[i].extent));
    if (out[i].first >= out[i].second) return {};
  }
  return out;
}

void Exchange::bring(const Layer& layer, Split split, const Box& part, unsigned core,
                     Emitter& emitter) {
  if (part.empty()) return;
  const Axes axes(layer, split, part, cores_);
  const Range channels{part.channel_begin, part.channel_end};
  if (const auto* mac = std::get_if<MacLayer>(&layer)) {
    const Range rows{part.row_begin * mac->pool(0), part.row_end * mac->pool(0)};
    const MacOp& op = *mac->op;
    Range inputs = kAll;
    if (op.groups > 1)
      inputs = {share_of_groups(*mac, channels.first), share_of_groups(*mac, channels.second)};
    const Range read_rows = op.matmul ? kAll : input_rows(op.window, rows.first, rows.second);
    bring(mac->input,
          axes.image(mac->outer, &OuterDim::input, mac->input, axis(mac->in_h, 0, read_rows),
                     axis(mac->in_w, 0), axis(op.in_channels, 0, inputs)),
          core, emitter);
    if (mac->dynamic)
      bring(mac->weights,
            axes.image(mac->outer, &OuterDim::weights, mac->weights, axis(1, 0),
                       axis(op.in_channels, 0), axis(op.out_channels, 0, channels)),
            core, emitter);
    if (op.chain.residual)
      bring(mac->residual,
            axes.image(mac->outer, &OuterDim::residual, mac->residual, axis(mac->out_h, 0, rows),
                       axis(mac->out_w, 0), axis(op.out_channels, 0, channels)),
            core, emitter);
  } else if (const auto* pool = std::get_if<PoolLayer>(&layer)) {
    const Range rows = input_rows(pool->op.window, part.row_begin, part.row_end);
    bring(pool->input,
          axes.image(pool->outer, &OuterDim::input, pool->input, axis(pool->in_h, 0, rows),
                     axis(pool->in_w, 0), axis(pool->channels, 0, channels)),
          core, emitter);
  } else if (const auto* global = std::get_if<GlobalLayer>(&layer)) {
    bring(global->input,
          axes.image(global->outer, &OuterDim::input, global->input, axis(global->in_h, 0),
                     axis(global->in_w, 0), axis(global->channels, 0, channels)),
          core, emitter);
  } else if (const auto* resize = std::get_if<ResizeLayer>(&layer)) {
    const Range rows = reach(resize->op->rows, part.row_begin, part.row_end - part.row_begin);
    bring(resize->input,
          axes.image(resize->outer, &OuterDim::input, resize->input, axis(resize->in_h, 0, rows),
                     axis(resize->in_w, 0), axis(resize->channels, 0, channels)),
          core, emitter);
  } else {
    const auto& elements = std::get<ElementLayer>(layer);
    bring(elements.a, axes.elements(elements, &ElementLayer::Dim::a), core, emitter);
    if (elements.two())
      bring(elements.b, axes.elements(elements, &ElementLayer::Dim::b), core, emitter);
  }
}

void Exchange::bring(const Operand& operand, const std::vector<Axis>& read, unsigned core,
                     Emitter& emitter) {
  const auto found = pieces_.find(operand.storage);
  if (!operand.on_chip() || found == pieces_.end()) return;
  for (Piece& piece : found->second) {
    const Region need = piece.holding(operand, read);
    if (need.empty()) continue;
    for (unsigned owner = 0; owner < cores_; ++owner) {
      if (owner == core || piece.parts[owner].empty()) continue;
      Region region;
      bool empty = false;
      for (size_t i = 0; i < need.size(); ++i) {
        const Range &made = piece.parts[owner][i], &wanted = need[i];
        region.emplace_back(std::max(made.first, wanted.first),
                            std::min(made.second, wanted.second));
        empty = empty || region[i].first >= region[i].second;
      }
      std::vector<Region>& has = piece.has[core];
      const bool here = std::ranges::any_of(has, [&](const Region& other) {
        return std::ranges::equal(other, region, [](const Range& a, const Range& b) {
          return a.first <= b.first && b.second <= a.second;
        });
      });
      if (empty || here) continue;
      has.push_back(region);
      move(piece, region, owner, emitter);
    }
  }
}

// Three axes with a command, the others one by one.
void Exchange::move(const Piece& piece, const Region& region, unsigned owner, Emitter& emitter) {
  const size_t axes = piece.axes.size(), inner = std::min<size_t>(axes, 3);
  std::vector<int64_t> at, step;
  for (size_t i = 0; i < axes; ++i) {
    const auto [begin, end] = region[i];
    const int64_t unit = piece.axes[i].unit == 0 ? end - begin : piece.axes[i].unit;
    const int64_t units = (end - begin + unit - 1) / unit;
    at.push_back(begin);
    step.push_back(i + inner < axes ? 1 : (units + kMostPieces - 1) / kMostPieces * unit);
  }
  for (;;) {
    Operand image;
    image.region = kOnChip;
    image.offset = piece.offset;
    Extent first{0, 0, 0}, size{1, 1, 1};
    for (size_t i = 0; i < axes; ++i) {
      if (i + inner < axes) {
        image.offset += static_cast<uint64_t>(at[i] * piece.axes[i].stride);
        continue;
      }
      const size_t to = i + 3 - axes;
      image.stride[to] = piece.axes[i].stride;
      first[to] = at[i];
      size[to] = std::min(step[i], region[i].second - at[i]);
    }
    emitter.emit(bring_from(owner, image, first, size));
    size_t i = axes;
    while (i-- > 0) {
      at[i] += step[i];
      if (at[i] < region[i].second) break;
      at[i] = region[i].first;
    }
    if (i == static_cast<size_t>(-1)) return;
  }
}

void Exchange::made(const Layer& layer, Split split, const std::vector<Box>& parts,
                    const Box& unit) {
  if (cores_ == 1) return;
  const Operand* output = nullptr;
  for_each_operand(layer, [&](const Operand& operand, bool written) {
    if (written) output = &operand;
  });
  if (!output->on_chip()) return;
  Piece piece;
  piece.offset = output->offset;
  piece.has.resize(cores_);
  for (const Box& part : parts) {
    const Axes of(layer, split, part, cores_);
    const Range rows{part.row_begin, part.row_end}, channels{part.channel_begin, part.channel_end};
    const auto image = [&](const auto& l, int64_t height, int64_t width, int64_t depth) {
      return of.image(l.outer, &OuterDim::output, l.output, axis(height, 0, rows, unit.row_end),
                      axis(width, 0), axis(depth, 0, channels, unit.channel_end));
    };
    std::vector<Axis> axes;
    if (const auto* mac = std::get_if<MacLayer>(&layer)) {
      axes =
          image(*mac, mac->out_h / mac->pool(0), mac->out_w / mac->pool(1), mac->op->out_channels);
    } else if (const auto* pool = std::get_if<PoolLayer>(&layer)) {
      axes = image(*pool, pool->out_h, pool->out_w, pool->channels);
    } else if (const auto* global = std::get_if<GlobalLayer>(&layer)) {
      axes = image(*global, 1, 1, global->channels);
    } else if (const auto* resize = std::get_if<ResizeLayer>(&layer)) {
      axes = image(*resize, resize->out_h, resize->out_w(), resize->channels);
    } else {
      axes = of.elements(std::get<ElementLayer>(layer), &ElementLayer::Dim::out, unit.repeat_end);
    }
    std::erase_if(axes, [](const Axis& along) { return along.extent == 1; });
    std::ranges::stable_sort(axes, std::greater<>(), &Axis::stride);
    if (axes.empty()) axes.push_back(axis(1, 1));
    Region region;
    for (const Axis& along : axes) region.emplace_back(along.begin, along.end);
    piece.parts.push_back(part.empty() ? Region{} : region);
    piece.axes = std::move(axes);
  }
  pieces_[output->storage].push_back(std::move(piece));
}

}  // namespace npu::compiler
