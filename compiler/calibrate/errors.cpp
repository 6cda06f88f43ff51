// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "arch/text.h"
#include "compiler/calibrate/calibrate.h"

namespace npu::compiler {
namespace {

const char* type_text(ByteType type) {
  return type == ByteType::kInt8 ? "int8" : "uint8";
}

}  // namespace

std::string error_table(const Calibration& calibration) {
  size_t width = 5;
  for (const LayerError& row : calibration.errors) width = std::max(width, row.node.size());
  width = std::min<size_t>(width, 40);
  std::string out =
      fmt::format("{:<{}}  {:<18} {:>10} {:>10}  {:>10} {:>5}  {:>8} {:>10}\n", "layer", width,
                  "operator", "low", "high", "scale", "zero", "SQNR dB", "max error");
  for (const LayerError& row : calibration.errors) {
    out += fmt::format("{:<{}}  {:<18} {:>10.4g} {:>10.4g}  {:>10.4g} {:>5}  {:>8.1f} {:>10.3g}\n",
                       arch::printable(row.node), width, arch::printable(row.type), row.low,
                       row.high, row.quantization.scale, row.quantization.zero, row.signal_to_noise,
                       row.largest_error);
  }
  out += fmt::format("ranges from {} samples, errors from the first {} of them\n",
                     calibration.samples, calibration.error_samples);
  return out;
}

std::string error_json(const Calibration& calibration) {
  nlohmann::json layers = nlohmann::json::array();
  for (const LayerError& row : calibration.errors) {
    nlohmann::json layer = {{"node", row.node},
                            {"operator", row.type},
                            {"tensor", row.tensor},
                            {"type", type_text(row.byte_type)},
                            {"scale", row.quantization.scale},
                            {"zero_point", row.quantization.zero},
                            {"low", row.low},
                            {"high", row.high},
                            {"sqnr_db", nullptr},
                            {"largest_error", row.largest_error}};
    // JSON has no infinity: null where nothing differs, or where all values are 0.
    if (std::isfinite(row.signal_to_noise)) layer["sqnr_db"] = row.signal_to_noise;
    layers.push_back(std::move(layer));
  }
  const nlohmann::json report = {{"schema", "npu-compile-calibration/1"},
                                 {"samples", calibration.samples},
                                 {"error_samples", calibration.error_samples},
                                 {"layers", layers}};
  return report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace npu::compiler
