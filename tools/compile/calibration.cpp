// SPDX-License-Identifier: MIT
#include "tools/compile/calibration.h"

#include <fmt/format.h>

#include "tools/common/files.h"
#include "tools/compile/samples.h"

namespace npu::tools {
std::optional<compiler::Calibration> calibrate(std::span<const std::byte> file,
                                               const compiler::CalibrationOptions& options,
                                               const std::string& folder, bool quiet,
                                               Progress& progress,
                                               compiler::Diagnostics& diagnostics) {
  const auto now = [&](const std::string& what) { progress.now(what); };
  std::optional<compiler::Calibrator> calibrator =
      compiler::Calibrator::open(file, options, now, diagnostics);
  if (!calibrator) return std::nullopt;
  SampleFolder samples(folder, calibrator->inputs(), progress);
  if (!quiet) {
    fmt::print(stderr, "calibrating with {} samples in {} files of {}\n", samples.count(),
               samples.files(), folder);
  }
  std::optional<compiler::Calibration> out = calibrator->run(
      {samples.count(), [&](size_t i) { return samples.read(i); }}, now, diagnostics);
  if (out && !quiet) fmt::print("{}", compiler::error_table(*out));
  return out;
}

void write_calibration(const std::string& folder, const compiler::Calibration& calibration) {
  const std::string text = compiler::error_json(calibration);
  write_file(folder + "/calibration.json", text.data(), text.size());
}

}  // namespace npu::tools
