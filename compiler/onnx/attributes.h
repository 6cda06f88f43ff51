// SPDX-License-Identifier: MIT
#ifndef NPU_COMPILER_ONNX_ATTRIBUTES_H_
#define NPU_COMPILER_ONNX_ATTRIBUTES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "onnx_subset.pb.h"

namespace npu::compiler {

// A node's attributes with typed access; remembers what was asked for.
class Attributes {
 public:
  explicit Attributes(const onnx::Node& node);
  int64_t integer(std::string_view name, int64_t fallback);
  float real(std::string_view name, float fallback);
  std::string text(std::string_view name, std::string_view fallback);
  // nullopt if absent.
  std::optional<std::vector<int64_t>> integers(std::string_view name);
  const onnx::Tensor* tensor(std::string_view name);
  void ignore(std::string_view name) { find(name); }
  // Names that nobody asked for.
  std::vector<std::string> unread() const;

 private:
  const onnx::Attribute* find(std::string_view name);
  std::map<std::string, std::pair<const onnx::Attribute*, bool>, std::less<>> attributes_;
};

void remove_attribute(onnx::Node& node, std::string_view name);
// In place of one of that name.
void set_integer(onnx::Node& node, std::string_view name, int64_t value);
void set_real(onnx::Node& node, std::string_view name, float value);
void set_text(onnx::Node& node, std::string_view name, std::string_view value);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_ONNX_ATTRIBUTES_H_
