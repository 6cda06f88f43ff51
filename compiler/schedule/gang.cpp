// SPDX-License-Identifier: MIT
#include "compiler/schedule/gang.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace npu::compiler {
namespace {

// Pieces in which a part is brought over, at most: the first can leave while the
// others are still being made.
constexpr int64_t kMostPieces = 8;

constexpr Box kEverything{0, std::numeric_limits<int64_t>::max(), 0,
                          std::numeric_limits<int64_t>::max()};

// Rows of an input that rows [begin, end) of a window's output need.
std::pair<int64_t, int64_t> input_rows(const Window& window, int64_t height, int64_t begin,
                                       int64_t end) {
  const int64_t first = begin * window.stride[0] - window.pad_before[0];
  const int64_t last = (end - 1) * window.stride[0] - window.pad_before[0] + window.span(0);
  return {std::max<int64_t>(0, first), std::min(height, last)};
}

// Channels at which a layer is cut best: whole passes of the array, whole groups.
int64_t channel_unit(const Layer& layer, const npu_target& target, unsigned cores) {
  int64_t unit = target.mac_outputs;
  if (const auto* mac = std::get_if<MacLayer>(&layer)) {
    if (!mac->depthwise && mac->op->groups > 1) return mac->group_outputs();
    if (mac->op->out_channels < unit * cores) unit = 16;
  }
  return unit;
}

bool same_image(const Operand& a, const Operand& b) {
  return a.offset == b.offset && std::equal(a.stride, a.stride + 3, b.stride);
}

}  // namespace

bool Box::holds(const Box& other) const {
  return row_begin <= other.row_begin && other.row_end <= row_end &&
         channel_begin <= other.channel_begin && other.channel_end <= channel_end;
}

Box intersection(const Box& a, const Box& b) {
  return {std::max(a.row_begin, b.row_begin), std::min(a.row_end, b.row_end),
          std::max(a.channel_begin, b.channel_begin), std::min(a.channel_end, b.channel_end)};
}

Box output_box(const Layer& layer) {
  if (const auto* mac = std::get_if<MacLayer>(&layer))
    return {0, mac->out_h / mac->pool(0), 0, mac->op->out_channels};
  if (const auto* pool = std::get_if<PoolLayer>(&layer)) return {0, pool->out_h, 0, pool->channels};
  if (const auto* global = std::get_if<GlobalLayer>(&layer)) return {0, 1, 0, global->channels};
  const auto& elements = std::get<ElementLayer>(layer);
  return {0, elements.inner(0).extent, 0, elements.inner(2).extent};
}

std::vector<Split> splits_of(const Layer& layer, const npu_target& target, unsigned cores) {
  if (cores == 1 || std::holds_alternative<ElementLayer>(layer)) return {Split::kNone};
  const Box all = output_box(layer);
  std::vector<Split> out;
  if (all.row_end >= cores) out.push_back(Split::kRows);
  if (all.channel_end / channel_unit(layer, target, cores) >= cores)
    out.push_back(Split::kChannels);
  if (out.empty()) out.push_back(Split::kNone);
  return out;
}

Box part_of(const Layer& layer, Split split, const npu_target& target, unsigned core,
            unsigned cores) {
  Box part = output_box(layer);
  // The first `core` of `cores` equal shares of `count`, rounded up.
  const auto share = [cores](int64_t count, unsigned of) {
    return (count * of + cores - 1) / static_cast<int64_t>(cores);
  };
  if (split == Split::kRows) {
    const int64_t rows = part.row_end;
    part.row_begin = share(rows, core);
    part.row_end = share(rows, core + 1);
  } else if (split == Split::kChannels) {
    const int64_t unit = channel_unit(layer, target, cores), channels = part.channel_end;
    const int64_t units = (channels + unit - 1) / unit;
    part.channel_begin = std::min(channels, share(units, core) * unit);
    part.channel_end = std::min(channels, share(units, core + 1) * unit);
  } else if (split == Split::kNone && core != 0) {
    part = {};
  }
  return part;
}

Layer narrowed(const Layer& layer, Split split, const Box& part) {
  Layer out = layer;
  if (split != Split::kChannels) return out;
  const auto narrow = [&](auto& l) {
    l.input = shifted(l.input, part.channel_begin * l.input.stride[2]);
    l.output = shifted(l.output, part.channel_begin * l.output.stride[2]);
    l.channels = part.channel_end - part.channel_begin;
  };
  if (auto* mac = std::get_if<MacLayer>(&out)) {
    mac->channel_begin = part.channel_begin;
    mac->channel_end = part.channel_end;
  } else if (auto* pool = std::get_if<PoolLayer>(&out)) {
    narrow(*pool);
  } else if (auto* global = std::get_if<GlobalLayer>(&out)) {
    narrow(*global);
  }
  return out;
}

Layer reduced(const Layer& layer, Split split, const Box& part, unsigned cores) {
  Layer out = narrowed(layer, split, part);
  if (!same_weights(split)) return out;
  if (auto* mac = std::get_if<MacLayer>(&out)) {
    mac->out_h = std::min(mac->out_h, (part.row_end - part.row_begin) * mac->pool(0));
    mac->weight_sharers = cores;
  } else if (auto* pool = std::get_if<PoolLayer>(&out)) {
    pool->out_h = part.row_end - part.row_begin;
  }
  return out;
}

void Exchange::bring(const Layer& layer, const Box& part, unsigned core, Emitter& emitter) {
  if (part.empty()) return;
  if (const auto* mac = std::get_if<MacLayer>(&layer)) {
    const int64_t first = part.row_begin * mac->pool(0), end = part.row_end * mac->pool(0);
    Box need{0, 1, 0, mac->op->in_channels};
    std::tie(need.row_begin, need.row_end) = input_rows(mac->op->window, mac->in_h, first, end);
    if (mac->op->groups > 1) {
      need.channel_begin = part.channel_begin / mac->group_outputs() * mac->group_inputs();
      need.channel_end = part.channel_end / mac->group_outputs() * mac->group_inputs();
    }
    bring(mac->input, mac->op->matmul ? kEverything : need, core, emitter);
    if (mac->dynamic) bring(mac->weights, kEverything, core, emitter);
    if (mac->op->chain.residual)
      bring(mac->residual, {first, end, part.channel_begin, part.channel_end}, core, emitter);
  } else if (const auto* pool = std::get_if<PoolLayer>(&layer)) {
    Box need = part;
    std::tie(need.row_begin, need.row_end) =
        input_rows(pool->op.window, pool->in_h, part.row_begin, part.row_end);
    bring(pool->input, need, core, emitter);
  } else if (const auto* global = std::get_if<GlobalLayer>(&layer)) {
    bring(global->input, {0, global->in_h, part.channel_begin, part.channel_end}, core, emitter);
  } else {
    for_each_operand(layer, [&](const Operand& operand, bool written) {
      if (!written) bring(operand, kEverything, core, emitter);
    });
  }
}

void Exchange::bring(const Operand& operand, const Box& need, unsigned core, Emitter& emitter) {
  const auto found = pieces_.find(operand.storage);
  if (!operand.on_chip() || found == pieces_.end()) return;
  for (Piece& piece : found->second) {
    for (unsigned owner = 0; owner < cores_; ++owner) {
      if (owner == core) continue;
      // Another view of the same bytes: all of the piece.
      const Box box = same_image(operand, piece.image) ? intersection(piece.parts[owner], need)
                                                       : piece.parts[owner];
      std::vector<Box>& has = piece.has[core];
      const bool here =
          std::any_of(has.begin(), has.end(), [&](const Box& other) { return other.holds(box); });
      if (box.empty() || here) continue;
      has.push_back(box);
      const int64_t rows = piece.unit.row_end, channels = piece.unit.channel_end;
      const auto step = [](int64_t extent, int64_t unit) {
        const int64_t units = (extent + unit - 1) / unit;
        return (units + kMostPieces - 1) / kMostPieces * unit;
      };
      const int64_t step_rows = step(box.row_end - box.row_begin, rows);
      const int64_t step_channels = step(box.channel_end - box.channel_begin, channels);
      for_each_outer(piece.outer, [&](int64_t, const OuterDim& shift) {
        const Operand image = shifted(piece.image, shift.output);
        for (int64_t c = box.channel_begin; c < box.channel_end; c += step_channels) {
          for (int64_t h = box.row_begin; h < box.row_end; h += step_rows) {
            emitter.emit(bring_from(owner, image, {h, 0, c},
                                    {std::min(step_rows, box.row_end - h), piece.width,
                                     std::min(step_channels, box.channel_end - c)}));
          }
        }
      });
    }
  }
}

void Exchange::made(const Layer& layer, const std::vector<Box>& parts, const Box& unit) {
  if (cores_ == 1) return;
  Piece piece;
  if (const auto* mac = std::get_if<MacLayer>(&layer)) {
    piece = {mac->output, mac->out_w / mac->pool(1), mac->outer, {}, {}, {}};
  } else if (const auto* pool = std::get_if<PoolLayer>(&layer)) {
    piece = {pool->output, pool->out_w, pool->outer, {}, {}, {}};
  } else if (const auto* global = std::get_if<GlobalLayer>(&layer)) {
    piece = {global->output, 1, global->outer, {}, {}, {}};
  } else {
    const auto& elements = std::get<ElementLayer>(layer);
    piece = {elements.out, elements.inner(1).extent, {}, {}, {}, {}};
    for (size_t i = 0; i + 3 < elements.dims.size(); ++i)
      piece.outer.push_back({elements.dims[i].extent, 0, 0, elements.dims[i].out, 0});
  }
  if (!piece.image.on_chip()) return;
  piece.parts = parts;
  piece.unit = unit;
  piece.has.resize(cores_);
  pieces_[piece.image.storage].push_back(std::move(piece));
}

}  // namespace npu::compiler
