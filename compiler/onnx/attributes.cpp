// SPDX-License-Identifier: MIT
#include "compiler/onnx/attributes.h"

namespace npu::compiler {
namespace {

// AttributeProto.AttributeType
constexpr int kReal = 1;
constexpr int kInteger = 2;
constexpr int kText = 3;

onnx::Attribute& fresh_attribute(onnx::Node& node, std::string_view name, int type) {
  remove_attribute(node, name);
  onnx::Attribute& attribute = *node.add_attribute();
  attribute.set_name(std::string(name));
  attribute.set_type(type);
  return attribute;
}

}  // namespace

Attributes::Attributes(const onnx::Node& node) {
  for (const onnx::Attribute& attribute : node.attribute()) {
    attributes_.emplace(attribute.name(), std::pair{&attribute, false});
  }
}

const onnx::Attribute* Attributes::find(std::string_view name) {
  const auto it = attributes_.find(name);
  if (it == attributes_.end()) return nullptr;
  it->second.second = true;
  return it->second.first;
}

int64_t Attributes::integer(std::string_view name, int64_t fallback) {
  const onnx::Attribute* attribute = find(name);
  return attribute != nullptr ? attribute->i() : fallback;
}

float Attributes::real(std::string_view name, float fallback) {
  const onnx::Attribute* attribute = find(name);
  return attribute != nullptr ? attribute->f() : fallback;
}

std::string Attributes::text(std::string_view name, std::string_view fallback) {
  const onnx::Attribute* attribute = find(name);
  return attribute != nullptr ? attribute->s() : std::string(fallback);
}

std::optional<std::vector<int64_t>> Attributes::integers(std::string_view name) {
  const onnx::Attribute* attribute = find(name);
  if (attribute == nullptr) return std::nullopt;
  return std::vector<int64_t>(attribute->ints().begin(), attribute->ints().end());
}

const onnx::Tensor* Attributes::tensor(std::string_view name) {
  const onnx::Attribute* attribute = find(name);
  return attribute != nullptr && attribute->has_t() ? &attribute->t() : nullptr;
}

std::vector<std::string> Attributes::unread() const {
  std::vector<std::string> out;
  for (const auto& [name, entry] : attributes_) {
    if (!entry.second) out.push_back(name);
  }
  return out;
}

void remove_attribute(onnx::Node& node, std::string_view name) {
  auto& attributes = *node.mutable_attribute();
  for (int i = attributes.size(); i-- > 0;) {
    if (attributes[i].name() == name) attributes.DeleteSubrange(i, 1);
  }
}

void set_integer(onnx::Node& node, std::string_view name, int64_t value) {
  fresh_attribute(node, name, kInteger).set_i(value);
}

void set_real(onnx::Node& node, std::string_view name, float value) {
  fresh_attribute(node, name, kReal).set_f(value);
}

void set_text(onnx::Node& node, std::string_view name, std::string_view value) {
  fresh_attribute(node, name, kText).set_s(std::string(value));
}

}  // namespace npu::compiler
