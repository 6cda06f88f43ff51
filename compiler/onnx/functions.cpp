// SPDX-License-Identifier: MIT
#include "compiler/onnx/functions.h"

#include <cmath>
#include <map>

namespace npu::compiler {
namespace {

float softplus(float v) {
  return v > 0 ? v + std::log1p(std::exp(-v)) : std::log1p(std::exp(v));
}

}  // namespace

float (*plain_function_of(const std::string& type))(float) {
  static const std::map<std::string, float (*)(float)> kFunctions = {
      {"Abs", [](float v) { return std::fabs(v); }},
      {"Ceil", [](float v) { return std::ceil(v); }},
      {"Erf", [](float v) { return std::erf(v); }},
      {"Exp", [](float v) { return std::exp(v); }},
      {"Floor", [](float v) { return std::floor(v); }},
      {"Log", [](float v) { return std::log(v); }},
      {"Mish", [](float v) { return v * std::tanh(softplus(v)); }},
      {"Neg", [](float v) { return -v; }},
      {"Reciprocal", [](float v) { return 1.0f / v; }},
      {"Round", [](float v) { return std::nearbyint(v); }},
      {"Sign", [](float v) { return static_cast<float>((v > 0) - (v < 0)); }},
      {"Softplus", softplus},
      {"Softsign", [](float v) { return v / (1.0f + std::fabs(v)); }},
      {"Sqrt", [](float v) { return std::sqrt(v); }},
  };
  const auto it = kFunctions.find(type);
  return it == kFunctions.end() ? nullptr : it->second;
}

std::function<float(float)> exponential_unit_of(const std::string& type, Attributes& attributes) {
  const bool selu = type == "Selu";
  const float alpha = attributes.real("alpha", selu ? 1.67326319217681884765625f : 1.0f);
  const float gamma = selu ? attributes.real("gamma", 1.05070102214813232421875f) : 1.0f;
  // Celu is the one of which the exponent is divided by alpha.
  const float unit = type == "Celu" ? alpha : 1.0f;
  return [alpha, gamma, unit](float v) {
    return gamma * (v > 0 ? v : alpha * (std::exp(v / unit) - 1.0f));
  };
}

}  // namespace npu::compiler
