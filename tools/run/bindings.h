// SPDX-License-Identifier: MIT
//
// Files for a network's tensors: what the user named, checked against the
// network.
#ifndef NPU_TOOLS_RUN_BINDINGS_H_
#define NPU_TOOLS_RUN_BINDINGS_H_

#include <libnpu/npu.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/common/tensor_file.h"

namespace npu::tools {

// Values of some of a network's tensors. A file may hold several runs' worth,
// stacked along the first dimension.
class TensorSet {
 public:
  // `tensors`: all inputs or all outputs; `what`: "input", "output".
  TensorSet(std::span<const npu_tensor_info> tensors, std::string what)
      : tensors_(tensors), what_(std::move(what)), values_(tensors.size()) {}

  // "NAME=FILE".
  void add(const std::string& argument);
  // Every FOLDER/<prefix>_N.pb (or .npy), N the tensor's position.
  void add_folder(const std::string& folder, const std::string& prefix);
  // Pseudo-random values for tensors without any.
  void fill_random(uint32_t seed);
  // Throws unless every tensor has a value.
  void require_all() const;

  // Runs for which there are values: the same for all tensors; 0 without any.
  uint64_t runs() const { return runs_; }
  bool has(size_t tensor) const { return values_[tensor].has_value(); }
  // The value of one run.
  std::span<const std::byte> value(size_t tensor, uint64_t run) const;

 private:
  void set(size_t tensor, Tensor value, const std::string& file);
  size_t find(const std::string& name) const;
  std::string list() const;

  std::span<const npu_tensor_info> tensors_;
  std::string what_;
  std::vector<std::optional<Tensor>> values_;
  uint64_t runs_ = 0;
  std::string first_file_;
};

// Where two values of a tensor differ by more than they may.
struct Difference {
  uint64_t count = 0;  // elements
  uint64_t total = 0;
  uint64_t first = 0;  // element index
};
// `steps`: by how much integers may differ; others are compared bit for bit.
Difference compare(const npu_tensor_info& tensor, std::span<const std::byte> got,
                   std::span<const std::byte> expected, uint32_t steps);
// "output 'logits': 3 of 10 values differ, first at [0,4]: got 17, expected 18"
std::string describe(const npu_tensor_info& tensor, const Difference& difference,
                     std::span<const std::byte> got, std::span<const std::byte> expected);

}  // namespace npu::tools

#endif  // NPU_TOOLS_RUN_BINDINGS_H_
