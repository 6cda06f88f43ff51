// SPDX-License-Identifier: MIT
#include "tools/run/bindings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <stdexcept>
#include <variant>

#include "tools/common/program.h"
#include "tools/run/real_values.h"

namespace npu::tools {
namespace {

std::string shape_text(std::span<const uint64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ","));
}

std::vector<uint64_t> shape_of(const npu_tensor_info& info) {
  return {info.shape, info.shape + info.rank};
}

// How many runs a file's shape stands for: the network's shape itself, or a
// multiple of its first dimension. 0: it does not fit.
uint64_t runs_in(const std::vector<uint64_t>& file, const std::vector<uint64_t>& network) {
  if (file == network) return 1;
  if (file.empty() || file.size() != network.size() || file[0] == 0 || file[0] % network[0] != 0 ||
      !std::equal(file.begin() + 1, file.end(), network.begin() + 1)) {
    return 0;
  }
  return file[0] / network[0];
}

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

using Element = std::variant<int64_t, float>;

Element element_at(npu_type type, const std::byte* at) {
  switch (type) {
    case NPU_ELEMENT_INT8:
      return load<int8_t>(at);
    case NPU_ELEMENT_UINT8:
      return load<uint8_t>(at);
    case NPU_ELEMENT_INT16:
      return load<int16_t>(at);
    case NPU_ELEMENT_INT32:
      return load<int32_t>(at);
    case NPU_ELEMENT_FP32:
      return load<float>(at);
    default:
      throw std::logic_error("a tensor of no type");  // the library has refused the model
  }
}

std::string element_text(npu_type type, const std::byte* at) {
  return std::visit([](auto value) { return fmt::format("{}", value); }, element_at(type, at));
}

bool within(npu_type type, const std::byte* a, const std::byte* b, uint32_t steps) {
  const Element left = element_at(type, a), right = element_at(type, b);
  const int64_t* i = std::get_if<int64_t>(&left);
  const int64_t* j = std::get_if<int64_t>(&right);
  return i != nullptr && j != nullptr && std::abs(*i - *j) <= int64_t{steps};
}

}  // namespace

std::string TensorSet::list() const {
  std::string text;
  for (const npu_tensor_info& tensor : tensors_) {
    text +=
        fmt::format("{}'{}' {}{}", text.empty() ? "" : ", ", tensor.name,
                    type_name(static_cast<npu_type>(tensor.type)), shape_text(shape_of(tensor)));
  }
  return text.empty() ? "none" : text;
}

size_t TensorSet::find(const std::string& name) const {
  for (size_t i = 0; i < tensors_.size(); i++) {
    if (name == tensors_[i].name) return i;
  }
  throw ToolError(kExitBadInput,
                  fmt::format("the model has no {} '{}'; there are: {}", what_, name, list()));
}

void TensorSet::add(const std::string& argument) {
  // Names may contain '=': the longest that the model has counts.
  const npu_tensor_info* best = nullptr;
  for (const npu_tensor_info& tensor : tensors_) {
    if (argument.starts_with(std::string(tensor.name) + "=") &&
        (best == nullptr || std::strlen(tensor.name) > std::strlen(best->name))) {
      best = &tensor;
    }
  }
  if (best != nullptr) {
    const std::string file = argument.substr(std::strlen(best->name) + 1);
    set(static_cast<size_t>(best - tensors_.data()), read_tensor(file), file);
    return;
  }
  const size_t equals = argument.find('=');
  if (equals == std::string::npos) {
    throw ToolError(kExitUsage, fmt::format("'{}' is not NAME=FILE", argument));
  }
  find(argument.substr(0, equals));  // says what there is
}

void TensorSet::add_folder(const std::string& folder, const std::string& prefix) {
  namespace fs = std::filesystem;
  for (size_t i = 0; i < tensors_.size(); i++) {
    bool found = false;
    for (const char* extension : {".pb", ".npy"}) {
      const fs::path file = fs::path(folder) / fmt::format("{}_{}{}", prefix, i, extension);
      std::error_code error;
      if (found || !fs::exists(file, error)) continue;
      Tensor tensor = read_tensor(file);
      // The files' names say which one it is; the order is for those without.
      size_t index = i;
      for (size_t t = 0; t < tensors_.size(); t++) {
        if (tensor.name == tensors_[t].name) index = t;
      }
      set(index, std::move(tensor), file);
      found = true;
    }
    if (!found) {
      throw ToolError(kExitBadInput, fmt::format("{}: there is no {}_{}.pb for {} '{}'", folder,
                                                 prefix, i, what_, tensors_[i].name));
    }
  }
}

void TensorSet::set(size_t index, Tensor value, const std::string& file) {
  const npu_tensor_info& tensor = tensors_[index];
  const auto type = static_cast<npu_type>(tensor.type);
  const std::vector<uint64_t> shape = shape_of(tensor);
  const uint64_t runs = runs_in(value.shape, shape);
  if (value.type == NPU_ELEMENT_FP32 && runs != 0 && is_quantized(tensor)) {
    value = quantize(tensor, value, tensor.is_output != 0, file);
  }
  if (value.type != type || runs == 0) {
    throw ToolError(kExitBadInput,
                    fmt::format("{}: {}{} does not fit {} '{}', which is {}{}", file,
                                type_name(value.type), shape_text(value.shape), what_, tensor.name,
                                type_name(type), shape_text(shape)));
  }
  if (runs_ != 0 && runs != runs_) {
    throw ToolError(kExitBadInput,
                    fmt::format("{} holds {} runs, {} holds {}", file, runs, first_file_, runs_));
  }
  if (values_[index]) {
    throw ToolError(kExitUsage, fmt::format("{} '{}' is given twice", what_, tensor.name));
  }
  runs_ = runs;
  first_file_ = file;
  values_[index] = std::move(value);
}

void TensorSet::fill_random(uint32_t seed) {
  std::mt19937 random(seed);
  if (runs_ == 0) runs_ = 1;
  for (size_t i = 0; i < tensors_.size(); i++) {
    if (values_[i]) continue;
    Tensor tensor;
    tensor.type = static_cast<npu_type>(tensors_[i].type);
    tensor.bytes.resize(tensors_[i].bytes * runs_);
    for (std::byte& byte : tensor.bytes) byte = static_cast<std::byte>(random());
    values_[i] = std::move(tensor);
  }
}

void TensorSet::require_all() const {
  for (size_t i = 0; i < tensors_.size(); i++) {
    if (!values_[i]) {
      throw ToolError(kExitUsage,
                      fmt::format("{0} '{1}' has no value: give --{0} {1}=FILE; the model has: {2}",
                                  what_, tensors_[i].name, list()));
    }
  }
}

std::span<const std::byte> TensorSet::value(size_t tensor, uint64_t run) const {
  const uint64_t bytes = tensors_[tensor].bytes;
  return std::span<const std::byte>(values_[tensor]->bytes).subspan(run * bytes, bytes);
}

Difference compare(const npu_tensor_info& tensor, std::span<const std::byte> got,
                   std::span<const std::byte> expected, uint32_t steps) {
  Difference difference;
  const auto type = static_cast<npu_type>(tensor.type);
  const size_t element = element_bytes(type);
  difference.total = got.size() / element;
  for (uint64_t i = 0; i < difference.total; i++) {
    const std::byte* a = &got[i * element];
    const std::byte* b = &expected[i * element];
    if (std::memcmp(a, b, element) == 0) continue;
    if (steps > 0 && within(type, a, b, steps)) continue;
    if (difference.count++ == 0) difference.first = i;
  }
  return difference;
}

std::string describe(const npu_tensor_info& tensor, const Difference& difference,
                     std::span<const std::byte> got, std::span<const std::byte> expected) {
  std::vector<uint64_t> index(tensor.rank);
  uint64_t rest = difference.first;
  for (size_t i = tensor.rank; i-- > 0;) {
    index[i] = rest % tensor.shape[i];
    rest /= tensor.shape[i];
  }
  const auto type = static_cast<npu_type>(tensor.type);
  const size_t at = difference.first * element_bytes(type);
  return fmt::format("output '{}': {} of {} values differ, first at {}: got {}, expected {}",
                     tensor.name, difference.count, difference.total, shape_text(index),
                     element_text(type, &got[at]), element_text(type, &expected[at]));
}

}  // namespace npu::tools
