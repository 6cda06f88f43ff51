// SPDX-License-Identifier: MIT
#include "tools/compile/calibration.h"

#include <fmt/format.h>

#include <chrono>

#include "tools/common/files.h"
#include "tools/common/program.h"
#include "tools/compile/samples.h"

namespace npu::tools {
namespace {

// A line now and then for those who wait, and the place where Ctrl-C is looked at.
class ProgressLines {
 public:
  explicit ProgressLines(bool quiet) : quiet_(quiet) {}

  void operator()(const char* step, size_t done, size_t total) {
    stop_if_interrupted();
    const auto now = std::chrono::steady_clock::now();
    if (quiet_ || now < next_) return;
    next_ = now + kInterval;
    fmt::print(stderr, "{}: {} of {} samples\n", step, done, total);
  }

 private:
  static constexpr std::chrono::seconds kInterval{2};

  bool quiet_;
  std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now() + kInterval;
};

}  // namespace

std::optional<compiler::Calibration> calibrate(std::span<const std::byte> file,
                                               const compiler::CalibrationOptions& options,
                                               const std::string& folder, bool quiet,
                                               compiler::Diagnostics& diagnostics) {
  std::optional<compiler::Calibrator> calibrator =
      compiler::Calibrator::open(file, options, diagnostics);
  if (!calibrator) return std::nullopt;
  SampleFolder samples(folder, calibrator->inputs());
  if (!quiet) {
    fmt::print(stderr, "calibrating with {} samples in {} files of {}\n", samples.count(),
               samples.files(), folder);
  }
  ProgressLines progress(quiet);
  std::optional<compiler::Calibration> out = calibrator->run(
      {samples.count(), [&](size_t i) { return samples.read(i); }},
      [&](const char* step, size_t done, size_t total) { progress(step, done, total); },
      diagnostics);
  if (out && !quiet) fmt::print("{}", compiler::error_table(*out));
  return out;
}

void write_calibration(const std::string& folder, const compiler::Calibration& calibration) {
  const std::string text = compiler::error_json(calibration);
  write_file(folder + "/calibration.json", text.data(), text.size());
}

}  // namespace npu::tools
