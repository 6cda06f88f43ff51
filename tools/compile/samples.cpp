// SPDX-License-Identifier: MIT
#include "tools/compile/samples.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "tools/common/program.h"

namespace npu::tools {
namespace {

namespace fs = std::filesystem;

// Of one input; far more than any calibration needs.
constexpr size_t kMaxFiles = 1000000;

std::vector<std::string> tensor_files(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string path = it->path();
    if (!path.ends_with(".npy") && !path.ends_with(".pb")) continue;
    out.push_back(path);
    if (out.size() > kMaxFiles)
      throw ToolError(kExitBadInput, fmt::format("{} has more than {} files", folder, kMaxFiles));
  }
  if (error)
    throw ToolError(kExitBadInput, fmt::format("cannot read {}: {}", folder, error.message()));
  std::sort(out.begin(), out.end());
  return out;
}

size_t elements_of(const compiler::Calibrator::Input& input) {
  return static_cast<size_t>(compiler::elements(input.shape));
}

}  // namespace

SampleFolder::SampleFolder(const std::string& folder,
                           const std::vector<compiler::Calibrator::Input>& inputs,
                           Progress& progress) {
  for (const compiler::Calibrator::Input& input : inputs) {
    Series series;
    series.input = input;
    std::string place = (fs::path(folder) / file_stem(input.name)).string();
    std::error_code error;
    if (inputs.size() == 1 && !fs::is_directory(place, error)) place = folder;
    const size_t count = scan(series, place, progress);
    if (!series_.empty() && count != count_) {
      throw ToolError(kExitBadInput,
                      fmt::format("{} holds {} samples of '{}', but there are {} of '{}'", place,
                                  count, input.name, count_, series_[0].input.name));
    }
    count_ = count;
    files_ += series.files.size();
    series_.push_back(std::move(series));
  }
}

size_t SampleFolder::scan(Series& series, const std::string& folder, Progress& progress) {
  const size_t size = elements_of(series.input);
  size_t count = 0;
  for (const std::string& path : tensor_files(folder)) {
    progress.now(fmt::format("reading samples: {} of '{}'", count, series.input.name));
    const Tensor tensor = load(series, path);
    const size_t samples = tensor.elements() / size;
    for (size_t i = 0; i < tensor.elements(); ++i) {
      float value;
      std::memcpy(&value, tensor.bytes.data() + i * sizeof value, sizeof value);
      if (!std::isfinite(value)) {
        throw ToolError(kExitBadInput,
                        fmt::format("{}: element {} is {}, not a finite number", path, i, value));
      }
    }
    series.files.push_back({path, count, samples});
    count += samples;
  }
  if (count == 0) {
    throw ToolError(kExitBadInput, fmt::format("{} holds no .npy or .pb file with samples of '{}'",
                                               folder, series.input.name));
  }
  return count;
}

Tensor SampleFolder::load(const Series& series, const std::string& path) {
  Tensor tensor = read_tensor(path);
  const compiler::Shape& shape = series.input.shape;
  const std::vector<uint64_t> wanted(shape.begin(), shape.end());
  const bool stacked = !wanted.empty() && tensor.shape.size() == wanted.size() &&
                       tensor.shape[0] != 0 && tensor.shape[0] % wanted[0] == 0 &&
                       std::equal(wanted.begin() + 1, wanted.end(), tensor.shape.begin() + 1);
  if (tensor.type != NPU_ELEMENT_FP32 || (tensor.shape != wanted && !stacked)) {
    throw ToolError(kExitBadInput,
                    fmt::format("{}: {}[{}] does not fit input '{}', which is float32[{}]", path,
                                type_name(tensor.type), fmt::join(tensor.shape, ","),
                                series.input.name, fmt::join(wanted, ",")));
  }
  return tensor;
}

std::vector<std::vector<float>> SampleFolder::read(size_t sample) {
  std::vector<std::vector<float>> out;
  for (Series& series : series_) {
    const auto after =
        std::upper_bound(series.files.begin(), series.files.end(), sample,
                         [](size_t wanted, const File& file) { return wanted < file.first; });
    const File& file = *(after - 1);
    if (series.open != file.path) {
      series.tensor = load(series, file.path);
      series.open = file.path;
    }
    const size_t size = elements_of(series.input), at = (sample - file.first) * size;
    if (at + size > series.tensor.elements())
      throw ToolError(kExitBadInput, fmt::format("{} was changed meanwhile", file.path));
    std::vector<float>& values = out.emplace_back(size);
    std::memcpy(values.data(), series.tensor.bytes.data() + at * sizeof(float),
                size * sizeof(float));
  }
  return out;
}

}  // namespace npu::tools
