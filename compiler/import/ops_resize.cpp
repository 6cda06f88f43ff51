// SPDX-License-Identifier: MIT
//
// Resize: where each output row and column looks, in the runtime's own arithmetic
// (docs/numerics.md).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compiler/import/importer.h"

namespace npu::compiler {
namespace {

constexpr int64_t kMostRows = 65535;  // a field of a command

// Position in an axis of `in` elements of element `at` of its `out`; binary32, one rounding per
// operation.
float position(const ResizeAxis& axis, int64_t at, const std::string& mode) {
  const auto y = static_cast<float>(at), in = static_cast<float>(axis.in),
             out = static_cast<float>(axis.out);
  if (axis.scale == 1.0f) return y;
  if (mode == "asymmetric") return y / axis.scale;
  if (mode == "align_corners") return axis.out == 1 ? 0.0f : y * (in - 1) / (out - 1);
  if (mode == "tf_half_pixel_for_nn") return (y + 0.5f) / axis.scale;
  if (mode == "pytorch_half_pixel" && axis.out == 1) return 0.0f;
  const float centre = (y + 0.5f) / axis.scale - 0.5f;
  if (mode != "half_pixel_symmetric") return centre;
  const float adjustment = out / (axis.scale * in);
  return in / 2 * (1 - adjustment) + centre;
}

// A position this close to the middle of two elements lies there.
constexpr float kMiddle = 1e-6f;

int64_t nearest_element(float at, const std::string& mode) {
  const float below = std::floor(at);
  if (mode == "floor") return static_cast<int64_t>(below);
  if (mode == "ceil") return static_cast<int64_t>(std::ceil(at));
  const double fraction = static_cast<double>(at) - static_cast<double>(below);
  const bool up = std::fabs(fraction - 0.5) < static_cast<double>(kMiddle)
                      ? mode == "round_prefer_ceil"
                      : fraction > 0.5;
  return static_cast<int64_t>(below) + (up ? 1 : 0);
}

std::vector<ResizeEntry> entries_of(const ResizeAxis& axis, const ResizeMode& mode) {
  std::vector<ResizeEntry> out;
  for (int64_t i = 0; i < axis.out; ++i) {
    const float at = position(axis, i, mode.coordinates);
    ResizeEntry entry;
    if (mode.linear) {
      const float inside = std::clamp(at, 0.0f, static_cast<float>(axis.in - 1));
      entry.first = std::min(static_cast<int64_t>(inside), axis.in - 1);
      entry.second = std::min(entry.first + 1, axis.in - 1);
      entry.weight = entry.first == entry.second ? 0.5f : inside - static_cast<float>(entry.first);
    } else {
      entry.first = std::clamp<int64_t>(nearest_element(at, mode.nearest), 0, axis.in - 1);
      entry.second = entry.first;
    }
    out.push_back(entry);
  }
  return out;
}

}  // namespace

std::optional<ResizeMode> Importer::resize_mode(const onnx::Node& node, Attributes& attributes) {
  ResizeMode out;
  const bool modern = node.op_type() == "Resize" && opset_ >= 11;
  const std::string mode = attributes.text("mode", "nearest");
  if (mode != "nearest" && mode != "linear") {
    unsupported("mode of a resize is nearest or linear", mode);
    return std::nullopt;
  }
  out.linear = mode == "linear";
  out.coordinates =
      attributes.text("coordinate_transformation_mode", modern ? "half_pixel" : "asymmetric");
  out.nearest = attributes.text("nearest_mode", modern ? "round_prefer_floor" : "floor");
  attributes.ignore("cubic_coeff_a");
  attributes.ignore("extrapolation_value");  // of tf_crop_and_resize
  static constexpr const char* kCoordinates[] = {"half_pixel",           "asymmetric",
                                                 "align_corners",        "pytorch_half_pixel",
                                                 "half_pixel_symmetric", "tf_half_pixel_for_nn"};
  static constexpr const char* kNearest[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                             "ceil"};
  const auto known = [](const auto& names, const std::string& name) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  if (!known(kCoordinates, out.coordinates)) {
    unsupported(
        "coordinates of a resize are half_pixel, asymmetric, align_corners, "
        "pytorch_half_pixel, half_pixel_symmetric or tf_half_pixel_for_nn",
        out.coordinates);
  } else if (!known(kNearest, out.nearest)) {
    malformed_node("nearest_mode is round_prefer_floor, round_prefer_ceil, floor or ceil",
                   out.nearest);
  } else if (attributes.integer("antialias", 0) != 0 ||
             attributes.integer("exclude_outside", 0) != 0) {
    unsupported("a resize has neither antialias nor exclude_outside");
  } else if (const std::string policy = attributes.text("keep_aspect_ratio_policy", "stretch");
             policy != "stretch") {
    unsupported("keep_aspect_ratio_policy is stretch", policy, "Give the sizes that it leads to");
  }
  if (node_failed_) return std::nullopt;
  return out;
}

std::optional<std::vector<ResizeAxis>> Importer::resize_axes(const onnx::Node& node,
                                                             Attributes& attributes,
                                                             const Shape& in) {
  const bool modern = node.op_type() == "Resize" && opset_ >= 11;
  const int scales_at = modern ? 2 : 1;
  std::vector<float> scales;
  std::vector<int64_t> sizes;
  if (modern && has_input(node, 3)) {
    const std::optional<std::vector<int64_t>> given = integer_list(node, 3, "the list of sizes");
    if (!given) return std::nullopt;
    sizes = *given;
  }
  if (sizes.empty()) {
    const std::optional<std::vector<float>> given =
        real_constant(node, scales_at, "the list of scales");
    if (!given) return std::nullopt;
    scales = *given;
  }
  std::vector<int64_t> axes(in.size());
  for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(i);
  if (const auto given = attributes.integers("axes")) axes = *given;
  if (axes.size() != (sizes.empty() ? scales.size() : sizes.size())) {
    malformed_node(
        "there is a scale or size for every axis",
        fmt::format("{} scales, {} sizes for {} axes", scales.size(), sizes.size(), axes.size()));
    return std::nullopt;
  }
  std::vector<ResizeAxis> out;
  for (const int64_t size : in) out.push_back({size, size, 1.0f});
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t axis = axes[i] < 0 ? axes[i] + static_cast<int64_t>(in.size()) : axes[i];
    if (axis < 0 || axis >= static_cast<int64_t>(in.size())) {
      malformed_node("axes are the input's", std::to_string(axes[i]));
      return std::nullopt;
    }
    ResizeAxis& a = out[static_cast<size_t>(axis)];
    const auto length = static_cast<float>(a.in);
    const float product = sizes.empty() ? scales[i] * length : 0.0f;
    const bool valid = sizes.empty() ? std::isfinite(scales[i]) && scales[i] > 0 && product >= 1 &&
                                           product < static_cast<float>(kMaxElements)
                                     : sizes[i] >= 1 && sizes[i] <= kMaxElements;
    if (!valid) {
      malformed_node("scales and sizes are positive and leave no axis empty");
      return std::nullopt;
    }
    a.out = sizes.empty() ? static_cast<int64_t>(product) : sizes[i];
    a.scale = sizes.empty() ? scales[i] : static_cast<float>(sizes[i]) / length;
  }
  return out;
}

void Importer::resize(const onnx::Node& node, Attributes& attributes) {
  const std::optional<Shape> in = input_shape(node, 0);
  if (!in) return;
  const std::optional<ResizeMode> mode = resize_mode(node, attributes);
  const std::optional<std::vector<ResizeAxis>> axes = resize_axes(node, attributes, *in);
  if (!mode || !axes) return;
  // Space comes last, or, as TensorFlow has it, before the channels.
  const size_t rank = in->size();
  const auto moves = [&](size_t i) {
    return (*axes)[i].scale != 1.0f || (*axes)[i].out != (*in)[i];
  };
  const bool image = rank == 3 || rank == 4;
  const bool last = image && !moves(0) && !moves(1);
  const bool middle = rank == 4 && !moves(0) && !moves(3);
  if (!last && !middle) {
    unsupported("a resize is of the space of [n, c, h, w], [n, c, w] or [n, h, w, c]",
                to_text(*in));
    return;
  }
  ResizePlan plan;
  for (const ResizeAxis& axis : *axes) plan.shape.push_back(axis.out);
  plan.channels_last = !last;
  const size_t first = last ? 2 : 1;
  plan.op.interpolation = mode->linear ? Interpolation::kTruncated : Interpolation::kNearest;
  for (size_t i = first; i < first + rank - 2; ++i) {
    if ((*axes)[i].out > kMostRows || (*axes)[i].in > kMostRows) {
      unsupported(fmt::format("a resized image has at most {} rows and columns", kMostRows),
                  to_text(plan.shape));
      return;
    }
    std::vector<ResizeEntry>& entries = i + 1 == first + rank - 2 ? plan.op.columns : plan.op.rows;
    entries = entries_of((*axes)[i], *mode);
  }
  if (rank == 3) plan.op.rows = {{0, 0, 0.5f}};
  const auto* real = std::get_if<RealTensor>(input(node, 0));
  if (!mode->linear || real == nullptr) {
    apply_movement(node, plan.shape, [this, plan, source = source_](ValueId x) {
      return emit_resize(source, x, plan, {value(x).quantization, value(x).type});
    });
    return;
  }
  const std::optional<RealTensor> x = real_operand(node, 0);
  if (!x) return;
  plan.op.interpolation = Interpolation::kLinear;
  define_pending(node, plan.shape,
                 [this, plan, x = *x, source = source_](const OutputQuantization& out,
                                                        const Clamp& clamp) mutable {
                   plan.op.scale = x.q.scale / out.q.scale;
                   plan.op.in_zero = x.q.zero;
                   plan.op.out_zero = out.q.zero;
                   plan.op.clamp = clamp;
                   if (!(plan.op.scale > 0) || plan.op.scale > std::numeric_limits<float>::max()) {
                     unsupported("input scale / output scale is a positive, finite binary32");
                     return kNoValue;
                   }
                   return emit_resize(source, x.value, plan, out);
                 });
}

ValueId Importer::emit_resize(uint32_t source, ValueId x, const ResizePlan& plan,
                              const OutputQuantization& out) {
  Value result;
  result.type = out.type;
  result.quantization = out.q;
  result.shape = plan.shape;
  if (!plan.channels_last) return add_op(source, {x}, std::move(result), plan.op);
  const ValueId first = channels_first(source, x);
  result.shape = permuted(plan.shape, {0, 3, 1, 2});
  return channels_last(source, add_op(source, {first}, std::move(result), plan.op));
}

// ---- channels before or behind space --------------------------------------------

ValueId Importer::channels_first(uint32_t source, ValueId x) {
  std::vector<int> permutation{0, static_cast<int>(value(x).shape.size()) - 1};
  for (int i = 1; i + 1 < static_cast<int>(value(x).shape.size()); ++i) permutation.push_back(i);
  return add_view(source, x, permuted(value(x).shape, permutation), TransposeOp{permutation});
}

ValueId Importer::channels_last(uint32_t source, ValueId x) {
  std::vector<int> permutation{0};
  for (int i = 2; i < static_cast<int>(value(x).shape.size()); ++i) permutation.push_back(i);
  permutation.push_back(1);
  return add_view(source, x, permuted(value(x).shape, permutation), TransposeOp{permutation});
}

}  // namespace npu::compiler
