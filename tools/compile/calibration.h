// SPDX-License-Identifier: MIT
//
// npu-compile --calibrate.
#ifndef NPU_TOOLS_COMPILE_CALIBRATION_H_
#define NPU_TOOLS_COMPILE_CALIBRATION_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "compiler/calibrate/calibrate.h"
#include "tools/compile/progress.h"

namespace npu::tools {

// Quantizes the model with the samples in `folder` and prints what that costs in accuracy, unless
// `quiet`. nullopt: the model's problems are in `diagnostics`. Throws ToolError for all others.
std::optional<compiler::Calibration> calibrate(std::span<const std::byte> file,
                                               const compiler::CalibrationOptions& options,
                                               const std::string& folder, bool quiet,
                                               Progress& progress,
                                               compiler::Diagnostics& diagnostics);

// Writes calibration.json into `folder`, which exists.
void write_calibration(const std::string& folder, const compiler::Calibration& calibration);

}  // namespace npu::tools

#endif  // NPU_TOOLS_COMPILE_CALIBRATION_H_
