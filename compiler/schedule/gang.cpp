// SPDX-License-Identifier: MIT
#include "compiler/schedule/gang.h"

#include <algorithm>

namespace npu::compiler {
namespace {

// Elements of the last dimension of an element-wise layer are divided in multiples of this, bytes
// that engines of different cores do not share.
constexpr int64_t kElements = 64;
// With less to do for each core, an element-wise layer is not worth what it takes to divide it.
constexpr int64_t kLeastElements = 2048;

int64_t elements_of(const ElementLayer& layer) {
  int64_t count = 1;
  for (const ElementLayer::Dim& dim : layer.dims) count *= dim.extent;
  return count;
}

// In how many equal steps a dimension can be divided.
int64_t steps_of(const ElementLayer& layer, size_t dim) {
  if (dim + 1 < layer.dims.size()) return layer.dims[dim].extent;
  return layer.by_rows() ? 1 : layer.dims[dim].extent / kElements;
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

}  // namespace

Box output_box(const Layer& layer) {
  if (const auto* mac = std::get_if<MacLayer>(&layer))
    return {0, mac->out_h / mac->pool(0), 0, mac->op->out_channels};
  if (const auto* pool = std::get_if<PoolLayer>(&layer)) return {0, pool->out_h, 0, pool->channels};
  if (const auto* global = std::get_if<GlobalLayer>(&layer)) return {0, 1, 0, global->channels};
  if (const auto* resize = std::get_if<ResizeLayer>(&layer))
    return {0, resize->out_h, 0, resize->channels};
  const auto& elements = std::get<ElementLayer>(layer);
  return {0, elements.inner(0).extent, 0, elements.inner(2).extent};
}

int divided_dim(const Layer& layer, unsigned cores) {
  std::vector<int64_t> steps;
  if (const auto* mac = std::get_if<MacLayer>(&layer); mac != nullptr && mac->dynamic) {
    for (const OuterDim& dim : mac->outer) steps.push_back(dim.extent);
  } else if (const auto* elements = std::get_if<ElementLayer>(&layer)) {
    if (elements_of(*elements) < kLeastElements * cores) return -1;
    for (size_t i = 0; i < elements->dims.size(); ++i) steps.push_back(steps_of(*elements, i));
  }
  // The outermost that can be divided well.
  constexpr int64_t kMany = 8;
  for (const bool well : {true, false})
    for (size_t i = 0; i < steps.size(); ++i)
      if (steps[i] >= cores && (!well || steps[i] % cores == 0 || steps[i] >= kMany * cores))
        return static_cast<int>(i);
  return -1;
}

std::vector<Split> splits_of(const Layer& layer, const npu_target& target, unsigned cores) {
  if (cores == 1) return {Split::kNone};
  const Box all = output_box(layer);
  std::vector<Split> out;
  if (divided_dim(layer, cores) >= 0) out.push_back(Split::kRepeats);
  if (std::holds_alternative<ElementLayer>(layer))
    return out.empty() ? std::vector<Split>{Split::kNone} : out;
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
  } else if (split == Split::kRepeats) {
    const auto dim = static_cast<size_t>(divided_dim(layer, cores));
    const auto* elements = std::get_if<ElementLayer>(&layer);
    const int64_t extent = elements != nullptr ? elements->dims[dim].extent
                                               : std::get<MacLayer>(layer).outer[dim].extent;
    const int64_t unit = elements != nullptr && dim + 1 == elements->dims.size() ? kElements : 1;
    const int64_t units = (extent + unit - 1) / unit;
    part.repeat_begin = std::min(extent, share(units, core) * unit);
    part.repeat_end = std::min(extent, share(units, core + 1) * unit);
  } else if (split == Split::kNone && core != 0) {
    part = {};
  }
  return part;
}

Layer narrowed(const Layer& layer, Split split, const Box& part, unsigned cores) {
  Layer out = layer;
  if (split == Split::kRepeats) {
    const auto dim = static_cast<size_t>(divided_dim(layer, cores));
    const int64_t begin = part.repeat_begin, extent = part.repeat_end - begin;
    if (auto* mac = std::get_if<MacLayer>(&out)) {
      OuterDim& divided = mac->outer[dim];
      divided.extent = extent;
      mac->input = shifted(mac->input, begin * divided.input);
      mac->weights = shifted(mac->weights, begin * divided.weights);
      mac->output = shifted(mac->output, begin * divided.output);
      mac->residual = shifted(mac->residual, begin * divided.residual);
    } else {
      auto& elements = std::get<ElementLayer>(out);
      ElementLayer::Dim& divided = elements.dims[dim];
      divided.extent = extent;
      elements.a = shifted(elements.a, begin * divided.a);
      elements.b = shifted(elements.b, begin * divided.b);
      elements.out = shifted(elements.out, begin * divided.out);
    }
  }
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
  } else if (auto* resize = std::get_if<ResizeLayer>(&out)) {
    narrow(*resize);
  }
  return out;
}

Layer reduced(const Layer& layer, Split split, const Box& part, unsigned cores) {
  Layer out = narrowed(layer, split, part, cores);
  if (!same_weights(split)) return out;
  if (auto* mac = std::get_if<MacLayer>(&out)) {
    mac->out_h = std::min(mac->out_h, (part.row_end - part.row_begin) * mac->pool(0));
    if (!mac->dynamic) mac->weight_sharers = cores;
  } else if (auto* pool = std::get_if<PoolLayer>(&out)) {
    pool->out_h = part.row_end - part.row_begin;
  } else if (auto* resize = std::get_if<ResizeLayer>(&out)) {
    resize->out_h = std::min(resize->out_h, part.row_end - part.row_begin);
  }
  return out;
}

}  // namespace npu::compiler
