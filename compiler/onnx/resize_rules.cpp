// SPDX-License-Identifier: MIT
#include "compiler/onnx/resize_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

namespace npu::compiler {
namespace {

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

// The runtime's rule before there was a nearest_mode: down, or up where the axis shrinks.
constexpr const char* kOldNearest = "before opset 11";

// A position this close to the middle of two elements lies there.
constexpr float kMiddle = 1e-6f;

int64_t nearest_element(float at, const std::string& mode, bool shrinks) {
  const float below = std::floor(at);
  const bool ceil = mode == "ceil" || (mode == kOldNearest && shrinks);
  if (ceil) return static_cast<int64_t>(std::ceil(at));
  if (mode == "floor" || mode == kOldNearest) return static_cast<int64_t>(below);
  const double fraction = static_cast<double>(at) - static_cast<double>(below);
  const bool up = std::fabs(fraction - 0.5) < static_cast<double>(kMiddle)
                      ? mode == "round_prefer_ceil"
                      : fraction > 0.5;
  return static_cast<int64_t>(below) + (up ? 1 : 0);
}

}  // namespace

std::vector<ResizeEntry> resize_entries(const ResizeAxis& axis, const ResizeMode& mode) {
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
      entry.first =
          std::clamp<int64_t>(nearest_element(at, mode.nearest, axis.scale < 1), 0, axis.in - 1);
      entry.second = entry.first;
    }
    out.push_back(entry);
  }
  return out;
}

std::optional<ResizeMode> resize_mode(Attributes& attributes, bool modern, RuleBreak& broken) {
  static constexpr const char* kCoordinates[] = {"half_pixel",           "asymmetric",
                                                 "align_corners",        "pytorch_half_pixel",
                                                 "half_pixel_symmetric", "tf_half_pixel_for_nn"};
  static constexpr const char* kNearest[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                             "ceil"};
  const auto known = [](const auto& names, const std::string& name) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  ResizeMode out;
  const std::string mode = attributes.text("mode", "nearest");
  out.linear = mode == "linear";
  out.coordinates =
      attributes.text("coordinate_transformation_mode", modern ? "half_pixel" : "asymmetric");
  out.nearest = modern ? attributes.text("nearest_mode", "round_prefer_floor") : kOldNearest;
  const std::string policy = attributes.text("keep_aspect_ratio_policy", "stretch");
  const bool plain =
      attributes.integer("antialias", 0) == 0 && attributes.integer("exclude_outside", 0) == 0;
  attributes.ignore("cubic_coeff_a");
  attributes.ignore("extrapolation_value");  // of tf_crop_and_resize
  if (mode != "nearest" && !out.linear) {
    broken = {.rule = "mode of a resize is nearest or linear", .value = mode};
  } else if (!known(kCoordinates, out.coordinates)) {
    broken = {.rule =
                  "coordinates of a resize are half_pixel, asymmetric, align_corners, "
                  "pytorch_half_pixel, half_pixel_symmetric or tf_half_pixel_for_nn",
              .value = out.coordinates};
  } else if (modern && !known(kNearest, out.nearest)) {
    broken = {.malformed = true,
              .rule = "nearest_mode is round_prefer_floor, round_prefer_ceil, floor or ceil",
              .value = out.nearest};
  } else if (!plain) {
    broken = {.rule = "a resize has neither antialias nor exclude_outside", .value = {}};
  } else if (policy != "stretch") {
    broken = {.rule = "keep_aspect_ratio_policy is stretch",
              .value = policy,
              .suggestion = "Give the sizes that it leads to"};
  } else {
    return out;
  }
  return std::nullopt;
}

std::optional<std::vector<ResizeAxis>> resize_axes(Attributes& attributes, const Shape& in,
                                                   const std::vector<float>& scales,
                                                   const std::vector<int64_t>& sizes,
                                                   RuleBreak& broken) {
  std::vector<int64_t> axes(in.size());
  std::iota(axes.begin(), axes.end(), 0);
  if (const auto given = attributes.integers("axes")) axes = *given;
  if (axes.size() != (sizes.empty() ? scales.size() : sizes.size())) {
    broken = {.malformed = true,
              .rule = "there is a scale or size for every axis",
              .value = fmt::format("{} scales, {} sizes for {} axes", scales.size(), sizes.size(),
                                   axes.size())};
    return std::nullopt;
  }
  std::vector<ResizeAxis> out;
  for (const int64_t size : in) out.push_back({size, size, 1.0f});
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t axis = axes[i] < 0 ? axes[i] + static_cast<int64_t>(in.size()) : axes[i];
    if (axis < 0 || axis >= static_cast<int64_t>(in.size())) {
      broken = {
          .malformed = true, .rule = "axes are the input's", .value = std::to_string(axes[i])};
      return std::nullopt;
    }
    ResizeAxis& a = out[static_cast<size_t>(axis)];
    const auto length = static_cast<float>(a.in);
    const float product = sizes.empty() ? scales[i] * length : 0.0f;
    const bool valid = sizes.empty() ? std::isfinite(scales[i]) && scales[i] > 0 && product >= 1 &&
                                           product < static_cast<float>(kMaxElements)
                                     : sizes[i] >= 1 && sizes[i] <= kMaxElements;
    if (!valid) {
      broken = {.malformed = true,
                .rule = "scales and sizes are positive and leave no axis empty",
                .value = sizes.empty() ? fmt::format("{}", scales[i]) : std::to_string(sizes[i])};
      return std::nullopt;
    }
    a.out = sizes.empty() ? static_cast<int64_t>(product) : sizes[i];
    a.scale = sizes.empty() ? scales[i] : static_cast<float>(sizes[i]) / length;
    if (a.moves() && (a.out > kMostResized || a.in > kMostResized)) {
      broken = {.rule = fmt::format("a resized axis has at most {} elements", kMostResized),
                .value = fmt::format("{} to {}", a.in, a.out)};
      return std::nullopt;
    }
  }
  return out;
}

}  // namespace npu::compiler
