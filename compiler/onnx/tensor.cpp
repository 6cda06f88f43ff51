// SPDX-License-Identifier: MIT
#include "compiler/onnx/tensor.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "onnx_subset.pb.h"

static_assert(std::endian::native == std::endian::little, "raw_data is little-endian");

namespace npu::compiler {
namespace {

// Element count of a constant: dimensions of 0 are allowed.
std::optional<int64_t> constant_count(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 0 || dim > kMaxElements) return std::nullopt;
    if (dim != 0 && count > kMaxElements / dim) return std::nullopt;
    count *= dim;
  }
  return count;
}

template <typename Stored, typename Out>
bool from_raw(const std::string& raw, int64_t count, std::vector<Out>& out) {
  if (raw.size() != static_cast<uint64_t>(count) * sizeof(Stored)) return false;
  out.resize(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    Stored value;
    std::memcpy(&value, raw.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = static_cast<Out>(value);
  }
  return true;
}

template <typename Field, typename Out>
bool from_field(const Field& field, int64_t count, std::vector<Out>& out) {
  if (field.size() != count) return false;
  out.reserve(static_cast<size_t>(count));
  for (const auto value : field) out.push_back(static_cast<Out>(value));
  return true;
}

}  // namespace

std::string onnx_type_name(int type) {
  static const char* const kNames[] = {"undefined",  "float",   "uint8",  "int8",   "uint16",
                                       "int16",      "int32",   "int64",  "string", "bool",
                                       "float16",    "double",  "uint32", "uint64", "complex64",
                                       "complex128", "bfloat16"};
  if (type < 0 || type >= static_cast<int>(std::size(kNames))) return fmt::format("type {}", type);
  return kNames[type];
}

std::optional<ConstTensor> decode_tensor(const onnx::Tensor& proto, std::string& error) {
  ConstTensor out;
  out.onnx_type = proto.data_type();
  if (proto.data_location() == 1 || proto.external_data_size() > 0) {
    error = "constants in external files are not supported; save the model as one file";
    return std::nullopt;
  }
  if (proto.dims_size() > 8) {
    error = fmt::format("a constant has {} dimensions", proto.dims_size());
    return std::nullopt;
  }
  out.shape.assign(proto.dims().begin(), proto.dims().end());
  const std::optional<int64_t> count = constant_count(out.shape);
  if (!count) {
    error = fmt::format("a constant has shape {}", to_text(out.shape));
    return std::nullopt;
  }
  const bool raw = proto.has_raw_data();
  bool complete = true;
  switch (proto.data_type()) {
    case onnx::Tensor::FLOAT:
      out.type = ConstType::kFloat;
      complete = raw ? from_raw<float>(proto.raw_data(), *count, out.floats)
                     : from_field(proto.float_data(), *count, out.floats);
      break;
    case onnx::Tensor::DOUBLE:
      // Attributes such as Clip's bounds appear as double in some exports.
      out.type = ConstType::kFloat;
      complete = raw ? from_raw<double>(proto.raw_data(), *count, out.floats)
                     : from_field(proto.double_data(), *count, out.floats);
      break;
    case onnx::Tensor::INT8:
      out.type = ConstType::kInt8;
      complete = raw ? from_raw<uint8_t>(proto.raw_data(), *count, out.bytes)
                     : from_field(proto.int32_data(), *count, out.bytes);
      break;
    case onnx::Tensor::UINT8:
      out.type = ConstType::kUint8;
      complete = raw ? from_raw<uint8_t>(proto.raw_data(), *count, out.bytes)
                     : from_field(proto.int32_data(), *count, out.bytes);
      break;
    case onnx::Tensor::INT32:
      out.type = ConstType::kInt32;
      complete = raw ? from_raw<int32_t>(proto.raw_data(), *count, out.ints)
                     : from_field(proto.int32_data(), *count, out.ints);
      break;
    case onnx::Tensor::INT64:
      out.type = ConstType::kInt64;
      complete = raw ? from_raw<int64_t>(proto.raw_data(), *count, out.ints)
                     : from_field(proto.int64_data(), *count, out.ints);
      break;
    case onnx::Tensor::BOOL:
      out.type = ConstType::kBool;
      complete = raw ? from_raw<uint8_t>(proto.raw_data(), *count, out.ints)
                     : from_field(proto.int32_data(), *count, out.ints);
      break;
    default:
      // Kept without data: only an error if something supported reads it.
      return out;
  }
  if (!complete) {
    error = fmt::format("a constant of shape {} ({}) has data of another size", to_text(out.shape),
                        onnx_type_name(proto.data_type()));
    return std::nullopt;
  }
  return out;
}

}  // namespace npu::compiler
