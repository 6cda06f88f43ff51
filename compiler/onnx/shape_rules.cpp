// SPDX-License-Identifier: MIT
#include "compiler/onnx/shape_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

namespace npu::compiler {
namespace {

constexpr int64_t kMaxField = 255;  // kernels, strides, dilations, pads of a command
// Elements of an axis that a frame other than a constant one is put around.
constexpr int64_t kMostFramed = 1 << 20;

std::nullopt_t malformed(RuleBreak& broken, std::string rule, std::string value = {}) {
  broken = {.malformed = true, .rule = std::move(rule), .value = std::move(value)};
  return std::nullopt;
}

std::nullopt_t unsupported(RuleBreak& broken, std::string rule, std::string value = {}) {
  broken = {.malformed = false, .rule = std::move(rule), .value = std::move(value)};
  return std::nullopt;
}

}  // namespace

std::optional<Shape> broadcast_shape(const Shape& a, const Shape& b, RuleBreak& broken) {
  Shape out(std::max(a.size(), b.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t da = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t db = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (da != db && da != 1 && db != 1) {
      return malformed(broken, "the operands' shapes can be broadcast",
                       fmt::format("{} and {}", to_text(a), to_text(b)));
    }
    out[out.size() - 1 - i] = da == 1 ? db : da;
  }
  if (!checked_elements(out))
    return unsupported(broken, "a tensor has 1 to 2^36 elements", to_text(out));
  return out;
}

bool read_window(Attributes& attributes, const Shape& in, const Shape& kernel, bool ceil_mode,
                 bool pads_below_kernel, Window& window, Shape& spatial, RuleBreak& broken) {
  const auto malformed = [&](std::string rule, std::string value) {
    broken = {.malformed = true, .rule = std::move(rule), .value = std::move(value)};
    return false;
  };
  const auto unsupported = [&](std::string rule, std::string value) {
    broken = {.rule = std::move(rule), .value = std::move(value)};
    return false;
  };
  const size_t rank = in.size() - 2;
  std::vector<int64_t> extents = attributes.integers("kernel_shape").value_or(kernel);
  if (!kernel.empty() && extents != kernel) {
    return malformed("kernel_shape agrees with the weights", to_text(extents));
  }
  std::vector<int64_t> strides =
      attributes.integers("strides").value_or(std::vector<int64_t>(rank, 1));
  std::vector<int64_t> dilations =
      attributes.integers("dilations").value_or(std::vector<int64_t>(rank, 1));
  std::vector<int64_t> pads =
      attributes.integers("pads").value_or(std::vector<int64_t>(2 * rank, 0));
  const std::string auto_pad = attributes.text("auto_pad", "NOTSET");
  if (extents.size() != rank || strides.size() != rank || dilations.size() != rank ||
      pads.size() != 2 * rank) {
    return malformed(
        "kernel_shape, strides, dilations and pads have the rank of the input's space",
        fmt::format("kernel {}, strides {}, dilations {}, pads {} for input {}", to_text(extents),
                    to_text(strides), to_text(dilations), to_text(pads), to_text(in)));
  }
  for (size_t i = 0; i < rank; ++i) {
    for (const int64_t v : {extents[i], strides[i], dilations[i]}) {
      if (v < 1 || v > kMaxField) {
        return unsupported("kernels, strides and dilations are 1 to 255",
                           fmt::format("kernel {}, strides {}, dilations {}", to_text(extents),
                                       to_text(strides), to_text(dilations)));
      }
    }
  }
  spatial.clear();
  for (size_t i = 0; i < rank; ++i) {
    const size_t d = i + 2 - rank;  // one dimension: the horizontal one
    window.kernel[d] = extents[i];
    window.stride[d] = strides[i];
    window.dilation[d] = dilations[i];
    const int64_t size = in[i + 2];
    const int64_t span = window.span(static_cast<int>(d));
    int64_t before = pads[i], after = pads[i + rank];
    if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
      const int64_t out = (size + strides[i] - 1) / strides[i];
      const int64_t total = std::max<int64_t>(0, (out - 1) * strides[i] + span - size);
      before = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      after = total - before;
    } else if (auto_pad == "VALID") {
      before = after = 0;
    } else if (auto_pad != "NOTSET" && !auto_pad.empty()) {
      return malformed("auto_pad is NOTSET, VALID, SAME_UPPER or SAME_LOWER", auto_pad);
    }
    if (before < 0 || after < 0 || before > kMaxField || after > kMaxField) {
      return unsupported("pads are 0 to 255", to_text(pads));
    }
    if (pads_below_kernel && (before >= span || after >= span)) {
      return unsupported("pads of a pool are smaller than its kernel", to_text(pads));
    }
    if (size + before + after < span) {
      return malformed("the kernel is not larger than the padded input",
                       fmt::format("kernel {}, input {}, pads {}", to_text(extents), to_text(in),
                                   to_text(pads)));
    }
    const int64_t room = size + before + after - span;
    int64_t out = room / strides[i] + 1;
    if (ceil_mode) {
      out = (room + strides[i] - 1) / strides[i] + 1;
      if ((out - 1) * strides[i] >= size + before) --out;  // a window only in the end padding
    }
    window.pad_before[d] = before;
    window.pad_after[d] = after;
    spatial.push_back(out);
  }
  return true;
}

std::optional<TransposedWindow> transposed_window(Attributes& attributes, const Shape& in,
                                                  const Shape& weights, RuleBreak& broken) {
  if (in.size() != 3 && in.size() != 4) {
    return unsupported(broken, "a convolution is 1-D or 2-D: its input has 3 or 4 dimensions",
                       to_text(in));
  }
  TransposedWindow out;
  out.groups = attributes.integer("group", 1);
  if (weights.size() != in.size() || !checked_elements(weights) || out.groups < 1 ||
      out.groups > 65535 || in[1] % out.groups != 0 || weights[0] != in[1] ||
      weights[1] > kMaxElements / out.groups) {
    return malformed(
        broken, "groups divide the input's channels and weights are [ic, oc/group, ...]",
        fmt::format("group {}, input {}, weights {}", out.groups, to_text(in), to_text(weights)));
  }
  const size_t rank = in.size() - 2;
  const std::vector<int64_t> ones(rank, 1), zeros(rank, 0);
  const Shape kernel(weights.begin() + 2, weights.end());
  const std::vector<int64_t> strides = attributes.integers("strides").value_or(ones);
  const std::vector<int64_t> dilations = attributes.integers("dilations").value_or(ones);
  const std::vector<int64_t> extra = attributes.integers("output_padding").value_or(zeros);
  const std::vector<int64_t> pads =
      attributes.integers("pads").value_or(std::vector<int64_t>(2 * rank, 0));
  std::optional<std::vector<int64_t>> sizes = attributes.integers("output_shape");
  const std::string auto_pad = attributes.text("auto_pad", "NOTSET");
  if (attributes.integers("kernel_shape").value_or(kernel) != kernel)
    return malformed(broken, "kernel_shape agrees with the weights", to_text(weights));
  // It may say batch and channels too.
  if (sizes && sizes->size() == in.size()) sizes->erase(sizes->begin(), sizes->begin() + 2);
  if (strides.size() != rank || dilations.size() != rank || extra.size() != rank ||
      pads.size() != 2 * rank || (sizes && sizes->size() != rank)) {
    return malformed(broken,
                     "strides, dilations, pads, output_padding and output_shape have the rank of "
                     "the input's space",
                     to_text(in));
  }
  const bool same = auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER";
  if (!same && auto_pad != "VALID" && auto_pad != "NOTSET" && !auto_pad.empty())
    return malformed(broken, "auto_pad is NOTSET, VALID, SAME_UPPER or SAME_LOWER", auto_pad);
  out.shape = {in[0], weights[1] * out.groups};
  for (size_t i = 0; i < rank; ++i) {
    TransposedAxis axis{.kernel = kernel[i], .stride = strides[i], .dilation = dilations[i]};
    for (const int64_t v : {axis.kernel, axis.stride, axis.dilation}) {
      if (v < 1 || v > kMaxField) {
        return unsupported(broken, "kernels, strides and dilations are 1 to 255",
                           fmt::format("kernel {}, strides {}, dilations {}", to_text(kernel),
                                       to_text(strides), to_text(dilations)));
      }
    }
    if (extra[i] < 0 || extra[i] >= axis.stride)
      return unsupported(broken, "output_padding is smaller than the strides", to_text(extra));
    for (const int64_t pad : {pads[i], pads[i + rank]})
      if (pad < 0 || pad > kMaxElements)
        return unsupported(broken, "pads are not negative", to_text(pads));
    const int64_t whole =
        (in[i + 2] - 1) * axis.stride + extra[i] + (axis.kernel - 1) * axis.dilation + 1;
    if (sizes || same) {
      // A result that is asked to be larger has no more than its bias at the end; SAME asks for
      // none.
      axis.size = sizes ? (*sizes)[i] : std::min(whole, in[i + 2] * axis.stride);
      const int64_t cut = axis.size < 1 ? 0 : std::max<int64_t>(0, whole - axis.size);
      axis.crop = auto_pad == "SAME_UPPER" ? cut / 2 : cut - cut / 2;
    } else if (auto_pad == "VALID") {
      axis.size = whole;
    } else {
      axis.size = whole - pads[i] - pads[i + rank];
      axis.crop = pads[i];
    }
    if (axis.size < 1) {
      return malformed(broken, "pads and output_shape leave something of the result",
                       fmt::format("{} of {} elements", axis.size, whole));
    }
    out.shape.push_back(axis.size);
    out.axes.push_back(axis);
  }
  if (!checked_elements(out.shape))
    return unsupported(broken, "a tensor has at most 2^36 elements", to_text(out.shape));
  return out;
}

std::optional<Shape> reshaped(const Shape& in, std::vector<int64_t> wanted, bool allow_zero,
                              RuleBreak& broken) {
  int64_t known = 1;
  int inferred = -1;
  const int64_t total = std::accumulate(in.begin(), in.end(), int64_t{1}, std::multiplies<>());
  for (size_t i = 0; i < wanted.size(); ++i) {
    int64_t& dim = wanted[i];
    if (dim == 0 && !allow_zero && i < in.size()) dim = in[i];
    if (dim == -1 && inferred < 0) {
      inferred = static_cast<int>(i);
      continue;
    }
    if (dim < 1 || dim > kMaxElements || known > kMaxElements / dim) {
      return malformed(broken, "a shape has positive dimensions and at most one -1",
                       to_text(wanted));
    }
    known *= dim;
  }
  if (inferred >= 0 && total % known == 0) wanted[static_cast<size_t>(inferred)] = total / known;
  const std::optional<int64_t> count = checked_elements(wanted);
  if (!count || *count != total) {
    return malformed(broken, "Reshape keeps the number of elements",
                     fmt::format("{} to {}", to_text(in), to_text(wanted)));
  }
  return wanted;
}

std::optional<Shape> flattened(const Shape& in, int64_t axis, RuleBreak& broken) {
  const int64_t rank = static_cast<int64_t>(in.size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis > rank)
    return malformed(broken, "axis is one of the input's", std::to_string(axis));
  Shape out{1, 1};
  for (int64_t i = 0; i < rank; ++i) out[i < axis ? 0 : 1] *= in[static_cast<size_t>(i)];
  return out;
}

std::optional<Shape> squeezed(const Shape& in, const std::optional<std::vector<int64_t>>& axes,
                              RuleBreak& broken) {
  const int64_t rank = static_cast<int64_t>(in.size());
  std::vector<bool> drop(in.size(), false);
  for (size_t i = 0; i < drop.size(); ++i) drop[i] = !axes && in[i] == 1;
  for (int64_t axis : axes.value_or(std::vector<int64_t>{})) {
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank || in[static_cast<size_t>(axis)] != 1)
      return malformed(broken, "squeezed axes have length 1", std::to_string(axis));
    drop[static_cast<size_t>(axis)] = true;
  }
  Shape out;
  for (size_t i = 0; i < drop.size(); ++i) {
    if (!drop[i]) out.push_back(in[i]);
  }
  return out;
}

std::optional<Shape> unsqueezed(const Shape& in, const std::vector<int64_t>& axes,
                                RuleBreak& broken) {
  const int64_t rank = static_cast<int64_t>(in.size() + axes.size());
  if (rank > 8) return unsupported(broken, "a tensor has 1 to 8 dimensions", std::to_string(rank));
  std::vector<bool> added(static_cast<size_t>(rank), false);
  for (int64_t axis : axes) {
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank || added[static_cast<size_t>(axis)])
      return malformed(broken, "axes are of the result and differ", std::to_string(axis));
    added[static_cast<size_t>(axis)] = true;
  }
  Shape out;
  size_t next = 0;
  for (const bool fresh : added) out.push_back(fresh ? 1 : in[next++]);
  return out;
}

std::optional<std::vector<int>> permutation_of(const Shape& in,
                                               const std::optional<std::vector<int64_t>>& wanted,
                                               RuleBreak& broken) {
  std::vector<int64_t> permutation(in.size());
  for (size_t i = 0; i < permutation.size(); ++i)
    permutation[i] = static_cast<int64_t>(permutation.size() - 1 - i);
  permutation = wanted.value_or(permutation);
  std::vector<int64_t> sorted = permutation;
  std::sort(sorted.begin(), sorted.end());
  bool valid = sorted.size() == in.size();
  for (size_t i = 0; valid && i < sorted.size(); ++i) valid = sorted[i] == static_cast<int64_t>(i);
  if (!valid) return malformed(broken, "perm is a permutation of the axes", to_text(permutation));
  return std::vector<int>(permutation.begin(), permutation.end());
}

Shape permuted(const Shape& in, const std::vector<int>& permutation) {
  Shape out;
  for (const int axis : permutation) out.push_back(in[static_cast<size_t>(axis)]);
  return out;
}

std::optional<SliceBounds> sliced(const Shape& in, const std::vector<int64_t>& starts,
                                  const std::vector<int64_t>& ends,
                                  const std::optional<std::vector<int64_t>>& given_axes,
                                  const std::optional<std::vector<int64_t>>& steps,
                                  RuleBreak& broken) {
  std::vector<int64_t> axes(starts.size());
  std::iota(axes.begin(), axes.end(), 0);
  if (given_axes) axes = *given_axes;
  if (axes.size() != starts.size() || ends.size() != starts.size() ||
      (steps && steps->size() != starts.size()))
    return malformed(broken, "starts, ends, axes and steps of Slice have one length");
  SliceBounds out;
  if (steps) out.step.assign(in.size(), 1);
  out.start.assign(in.size(), 0);
  out.shape = in;
  const int64_t rank = static_cast<int64_t>(in.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t axis = axes[i] < 0 ? axes[i] + rank : axes[i];
    if (axis < 0 || axis >= rank)
      return malformed(broken, "axes of Slice are the input's", std::to_string(axes[i]));
    const int64_t size = in[static_cast<size_t>(axis)];
    const int64_t step = steps ? (*steps)[i] : 1;
    if (step == 0 || step == std::numeric_limits<int64_t>::min())
      return malformed(broken, "steps of Slice are not 0", std::to_string(step));
    // Backwards the element before the first one is a valid end.
    const int64_t least = step < 0 ? -1 : 0, most = step < 0 ? size - 1 : size;
    const auto resolve = [&](int64_t v) {
      if (v < 0) v = v < -size ? least : v + size;
      return std::min(v, most);
    };
    const int64_t begin = resolve(starts[i]), end = resolve(ends[i]);
    const int64_t span = step < 0 ? begin - end : end - begin;
    if (span <= 0 || begin < 0) {
      return unsupported(broken, "a slice is not empty",
                         fmt::format("{}..{} of axis {}", begin, end, axis));
    }
    const int64_t stride = step < 0 ? -step : step;
    const int64_t count = (span - 1) / stride + 1;
    // A step that is never made may be beyond what strides can be multiplied with.
    if (steps) out.step[static_cast<size_t>(axis)] = count > 1 ? step : 1;
    out.start[static_cast<size_t>(axis)] = begin;
    out.shape[static_cast<size_t>(axis)] = count;
  }
  return out;
}

std::optional<GatherPlaces> gathered(const Shape& in, int64_t axis, const Shape& shape,
                                     const std::vector<int64_t>& indices, RuleBreak& broken) {
  const auto rank = static_cast<int64_t>(in.size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) {
    return malformed(broken, "axis is one of the input's",
                     fmt::format("{} of {}", axis, to_text(in)));
  }
  if (indices.empty()) return unsupported(broken, "a Gather selects something", "no indices");
  GatherPlaces out;
  out.axis = static_cast<size_t>(axis);
  out.indices = indices;
  const int64_t size = in[out.axis];
  for (int64_t& index : out.indices) {
    if (index < 0) index += size;
    if (index < 0 || index >= size)
      return malformed(broken, "indices lie inside the axis", std::to_string(index));
  }
  out.shape.assign(in.begin(), in.begin() + axis);
  out.shape.insert(out.shape.end(), shape.begin(), shape.end());
  out.shape.insert(out.shape.end(), in.begin() + axis + 1, in.end());
  if (!checked_elements(out.shape))
    return unsupported(broken, "a tensor has at most 2^36 elements", to_text(out.shape));
  return out;
}

std::optional<PadBounds> padded(const Shape& in, const std::string& mode,
                                const std::vector<int64_t>& pads,
                                const std::optional<std::vector<int64_t>>& given_axes,
                                RuleBreak& broken) {
  if (mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap")
    return malformed(broken, "mode is constant, edge, reflect or wrap", mode);
  std::vector<int64_t> axes(in.size());
  std::iota(axes.begin(), axes.end(), 0);
  if (given_axes) axes = *given_axes;
  if (pads.size() != 2 * axes.size())
    return malformed(broken, "there are two pads for every axis", to_text(pads));
  PadBounds out;
  out.inner.start.assign(in.size(), 0);
  out.inner.shape = out.shape = in;
  out.before.assign(in.size(), 0);
  const auto rank = static_cast<int64_t>(in.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t axis = axes[i] < 0 ? axes[i] + rank : axes[i];
    if (axis < 0 || axis >= rank)
      return malformed(broken, "axes of Pad are the input's", std::to_string(axes[i]));
    const auto d = static_cast<size_t>(axis);
    for (const int64_t pad : {pads[i], pads[i + axes.size()]})
      if (pad < -kMaxElements || pad > kMaxElements)
        return unsupported(broken, "pads are smaller than 2^36", to_text(pads));
    const int64_t before = pads[i], after = pads[i + axes.size()];
    out.inner.start[d] = std::max<int64_t>(0, -before);
    out.inner.shape[d] = in[d] - out.inner.start[d] - std::max<int64_t>(0, -after);
    if (out.inner.shape[d] < 1)
      return unsupported(broken, "something is left of a tensor that negative pads cut",
                         fmt::format("pads {} of {}", to_text(pads), to_text(in)));
    out.before[d] = std::max<int64_t>(0, before);
    out.shape[d] = out.inner.shape[d] + out.before[d] + std::max<int64_t>(0, after);
    if (mode != "constant" && out.shape[d] != out.inner.shape[d] && out.shape[d] > kMostFramed) {
      return unsupported(
          broken, fmt::format("an axis framed with its own elements has at most {}", kMostFramed),
          std::to_string(out.shape[d]));
    }
  }
  if (!checked_elements(out.shape))
    return unsupported(broken, "a tensor has at most 2^36 elements", to_text(out.shape));
  return out;
}

std::vector<int64_t> framed_indices(const std::string& mode, int64_t size, int64_t before,
                                    int64_t after) {
  std::vector<int64_t> out;
  for (int64_t i = -before; i < size + after; ++i) {
    int64_t at = 0;
    if (mode == "edge") {
      at = std::clamp<int64_t>(i, 0, size - 1);
    } else if (mode == "wrap") {
      at = ((i % size) + size) % size;
    } else if (size > 1) {  // reflect: the element at the edge is not repeated
      const int64_t period = 2 * (size - 1);
      at = ((i % period) + period) % period;
      if (at >= size) at = period - at;
    }
    out.push_back(at);
  }
  return out;
}

std::optional<BlockMove> block_move(const std::string& type, Attributes& attributes,
                                    const Shape& in, RuleBreak& broken) {
  const bool to_space = type == "DepthToSpace";
  const int64_t block = attributes.integer("blocksize", 0);
  const std::string mode = to_space ? attributes.text("mode", "DCR") : "";
  const bool fits =
      in.size() == 4 && block >= 1 && block <= 65535 &&
      (to_space ? in[1] % (block * block) == 0 : in[2] % block == 0 && in[3] % block == 0);
  if (!fits || (to_space && mode != "DCR" && mode != "CRD")) {
    return malformed(broken,
                     "the input is [n, c, h, w] and blocksize divides its channels, or its space",
                     fmt::format("blocksize {}, mode {}, input {}", block, mode, to_text(in)));
  }
  const int64_t n = in[0], c = in[1], h = in[2], w = in[3];
  if (!to_space) {
    return BlockMove{{n, c, h / block, block, w / block, block},
                     {0, 3, 5, 1, 2, 4},
                     {n, c * block * block, h / block, w / block}};
  }
  const int64_t depth = c / (block * block);
  const Shape out{n, depth, h * block, w * block};
  if (mode == "DCR") return BlockMove{{n, block, block, depth, h, w}, {0, 3, 4, 1, 5, 2}, out};
  return BlockMove{{n, depth, block, block, h, w}, {0, 1, 4, 2, 5, 3}, out};
}

std::optional<SplitParts> split_parts(const Shape& in, int64_t axis, int64_t count, int64_t outputs,
                                      std::optional<std::vector<int64_t>> sizes,
                                      RuleBreak& broken) {
  const auto rank = static_cast<int64_t>(in.size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank || count != outputs || count < 1) {
    return malformed(broken, "axis is one of the input's, and num_outputs the number of outputs",
                     fmt::format("axis {} of {}, {} outputs", axis, to_text(in), count));
  }
  const auto d = static_cast<size_t>(axis);
  if (!sizes) {
    const int64_t part = (in[d] + count - 1) / count;
    sizes.emplace(static_cast<size_t>(count), part);
    sizes->back() = in[d] - part * (count - 1);
  }
  int64_t left = in[d];
  for (const int64_t size : *sizes) left = size < 1 || size > left ? -1 : left - size;
  if (left != 0 || static_cast<int64_t>(sizes->size()) != count) {
    return unsupported(broken, "the parts of a Split make up the axis, none of them empty",
                       fmt::format("{} of {}", to_text(*sizes), to_text(in)));
  }
  SplitParts out;
  out.axis = d;
  std::vector<int64_t> start(in.size(), 0);
  for (const int64_t size : *sizes) {
    Shape shape = in;
    shape[d] = size;
    out.bounds.push_back({start, std::move(shape), {}});
    start[d] += size;
  }
  return out;
}

std::optional<Shape> concatenated(const std::vector<Shape>& parts, int64_t& axis,
                                  RuleBreak& broken) {
  Shape out = parts[0];
  const int64_t rank = static_cast<int64_t>(out.size());
  if (axis < 0) axis += rank;
  bool valid = axis >= 0 && axis < rank;
  for (size_t i = 1; valid && i < parts.size(); ++i) {
    valid = parts[i].size() == out.size();
    for (int64_t d = 0; valid && d < rank; ++d) {
      const size_t k = static_cast<size_t>(d);
      if (d == axis) {
        out[k] += parts[i][k];
        valid = out[k] <= kMaxElements;
      } else {
        valid = parts[i][k] == out[k];
      }
    }
  }
  if (!valid || !checked_elements(out))
    return malformed(broken, "joined tensors agree in every axis but one",
                     fmt::format("axis {}, {} first", axis, to_text(parts[0])));
  return out;
}

}  // namespace npu::compiler
