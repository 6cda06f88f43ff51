// SPDX-License-Identifier: MIT
//
// ONNX files for tests, node by node.
#ifndef NPU_COMPILER_TESTING_ONNX_BUILDER_H_
#define NPU_COMPILER_TESTING_ONNX_BUILDER_H_

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "onnx_subset.pb.h"

namespace npu::compiler::testing {

class OnnxBuilder {
 public:
  explicit OnnxBuilder(int64_t opset = 13) {
    model_.set_ir_version(8);
    model_.mutable_graph()->set_name("test");
    model_.add_opset_import()->set_version(opset);
  }

  onnx::Model& model() { return model_; }
  onnx::Graph& graph() { return *model_.mutable_graph(); }

  void input(const std::string& name, std::initializer_list<int64_t> shape,
             int type = onnx::Tensor::UINT8) {
    describe(*graph().add_input(), name, shape, type);
  }
  void output(const std::string& name) { graph().add_output()->set_name(name); }

  void floats(const std::string& name, std::initializer_list<int64_t> shape,
              const std::vector<float>& values) {
    onnx::Tensor& tensor = constant(name, shape, onnx::Tensor::FLOAT);
    for (const float value : values) tensor.add_float_data(value);
  }
  // A float scalar.
  void scale(const std::string& name, float value) { floats(name, {}, {value}); }
  void bytes(const std::string& name, std::initializer_list<int64_t> shape,
             const std::vector<int>& values, int type = onnx::Tensor::INT8) {
    onnx::Tensor& tensor = constant(name, shape, type);
    for (const int value : values) tensor.add_int32_data(value);
  }
  // A zero point.
  void zero(const std::string& name, int value, int type = onnx::Tensor::UINT8) {
    bytes(name, {}, {value}, type);
  }
  void int32s(const std::string& name, std::initializer_list<int64_t> shape,
              const std::vector<int>& values) {
    bytes(name, shape, values, onnx::Tensor::INT32);
  }
  void int64s(const std::string& name, const std::vector<int64_t>& values) {
    onnx::Tensor& tensor =
        constant(name, {static_cast<int64_t>(values.size())}, onnx::Tensor::INT64);
    for (const int64_t value : values) tensor.add_int64_data(value);
  }

  onnx::Node& node(const std::string& type, std::initializer_list<std::string> inputs,
                   const std::string& output, const std::string& domain = {}) {
    onnx::Node& node = *graph().add_node();
    node.set_op_type(type);
    node.set_name(output + "_node");
    node.set_domain(domain);
    for (const std::string& name : inputs) node.add_input(name);
    node.add_output(output);
    return node;
  }
  static void ints(onnx::Node& node, const std::string& name, const std::vector<int64_t>& values) {
    onnx::Attribute& attribute = *node.add_attribute();
    attribute.set_name(name);
    for (const int64_t value : values) attribute.add_ints(value);
  }
  static void integer(onnx::Node& node, const std::string& name, int64_t value) {
    onnx::Attribute& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_i(value);
  }

  // Dequantizes `name` into name_f, quantizes name_f into `name`: with scale
  // name_s and zero point name_z.
  void dequantize(const std::string& name) {
    node("DequantizeLinear", {name, name + "_s", name + "_z"}, name + "_f");
  }
  void quantize(const std::string& name) {
    node("QuantizeLinear", {name + "_f", name + "_s", name + "_z"}, name);
  }
  void quantization(const std::string& name, float scale_value, int zero_value,
                    int type = onnx::Tensor::UINT8) {
    scale(name + "_s", scale_value);
    zero(name + "_z", zero_value, type);
  }

  std::string serialize() const { return model_.SerializeAsString(); }

 private:
  onnx::Tensor& constant(const std::string& name, std::initializer_list<int64_t> shape, int type) {
    onnx::Tensor& tensor = *graph().add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(type);
    for (const int64_t dim : shape) tensor.add_dims(dim);
    return tensor;
  }
  static void describe(onnx::ValueInfo& info, const std::string& name,
                       std::initializer_list<int64_t> shape, int type) {
    info.set_name(name);
    onnx::TensorType& tensor = *info.mutable_type()->mutable_tensor_type();
    tensor.set_elem_type(type);
    tensor.mutable_shape();
    for (const int64_t dim : shape) {
      onnx::Dimension& entry = *tensor.mutable_shape()->add_dim();
      if (dim > 0) {
        entry.set_dim_value(dim);
      } else {
        entry.set_dim_param("N");
      }
    }
  }

  onnx::Model model_;
};

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace npu::compiler::testing

#endif  // NPU_COMPILER_TESTING_ONNX_BUILDER_H_
