// SPDX-License-Identifier: MIT
#include "tools/common/tensor_file.h"

#include <fmt/format.h>
#include <onnx_subset.pb.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>

#include "tools/common/files.h"
#include "tools/common/program.h"

namespace npu::tools {
namespace {

struct TypeRow {
  npu_type type;
  const char* name;
  size_t bytes;
  const char* descr;  // of .npy
  int onnx;           // TensorProto.DataType
};

constexpr TypeRow kTypes[] = {
    {NPU_ELEMENT_INT8, "int8", 1, "|i1", 3},     {NPU_ELEMENT_UINT8, "uint8", 1, "|u1", 2},
    {NPU_ELEMENT_INT16, "int16", 2, "<i2", 5},   {NPU_ELEMENT_INT32, "int32", 4, "<i4", 6},
    {NPU_ELEMENT_FP16, "float16", 2, "<f2", 10}, {NPU_ELEMENT_FP32, "float32", 4, "<f4", 1},
};

const TypeRow* find_type(npu_type type) {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

constexpr size_t kMaxBytes = size_t{1} << 36;
constexpr char kNpyMagic[] = "\x93NUMPY";
constexpr size_t kNpyMagicBytes = 6;

[[noreturn]] void bad(const std::string& name, const std::string& text) {
  throw ToolError(kExitBadInput, name + ": " + text);
}

// Bytes of a tensor of that shape; throws if that is absurd.
size_t checked_bytes(const std::vector<uint64_t>& shape, size_t element, const std::string& name) {
  unsigned __int128 total = element;
  for (uint64_t dimension : shape) {
    total *= dimension;
    if (total > kMaxBytes) bad(name, "the shape is too large");
  }
  return static_cast<size_t>(total);
}

// The header of a .npy file: a Python dictionary of three known keys.
class NpyHeader {
 public:
  NpyHeader(std::string text, const std::string& file) : text_(std::move(text)), file_(file) {
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr") {
        descr = string();
      } else if (key == "fortran_order") {
        fortran = boolean();
      } else if (key == "shape") {
        tuple();
      } else {
        fail();
      }
      seen_ += key + ";";
      if (!accept(',') && peek() != '}') fail();
    }
    if (peek() != '\0') fail();
    for (const char* key : {"descr;", "fortran_order;", "shape;"}) {
      if (seen_.find(key) == std::string::npos) fail();
    }
  }

  std::string descr;
  bool fortran = false;
  std::vector<uint64_t> shape;

 private:
  [[noreturn]] void fail() const { bad(file_, "the .npy header is malformed"); }
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) at_++;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c) return false;
    at_++;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail();
  }
  std::string string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail();
    const size_t end = text_.find(quote, ++at_);
    if (end == std::string::npos) fail();
    std::string result = text_.substr(at_, end - at_);
    at_ = end + 1;
    return result;
  }
  bool boolean() {
    peek();
    for (const auto& [word, value] : {std::pair("True", true), std::pair("False", false)}) {
      if (text_.compare(at_, std::strlen(word), word) == 0) {
        at_ += std::strlen(word);
        return value;
      }
    }
    fail();
  }
  void tuple() {
    expect('(');
    while (!accept(')')) {
      uint64_t value = 0;
      if (!isdigit(static_cast<unsigned char>(peek()))) fail();
      while (at_ < text_.size() && isdigit(static_cast<unsigned char>(text_[at_]))) {
        if (value > kMaxBytes) fail();
        value = value * 10 + static_cast<uint64_t>(text_[at_++] - '0');
      }
      shape.push_back(value);
      if (shape.size() > 32 || (!accept(',') && peek() != ')')) fail();
    }
  }

  const std::string text_;
  const std::string& file_;
  size_t at_ = 0;
  std::string seen_;
};

std::string without_byte_order(const std::string& descr) {
  // '=' and '<' are this machine's order; single bytes have none.
  return descr.empty() ? descr : descr.substr(1);
}

}  // namespace

uint64_t Tensor::elements() const {
  uint64_t n = 1;
  for (uint64_t dimension : shape) n *= dimension;
  return n;
}

size_t element_bytes(npu_type type) {
  const TypeRow* row = find_type(type);
  return row != nullptr ? row->bytes : 0;
}

const char* type_name(npu_type type) {
  const TypeRow* row = find_type(type);
  return row != nullptr ? row->name : "?";
}

Tensor parse_npy(std::span<const std::byte> data, const std::string& name) {
  if (data.size() < kNpyMagicBytes + 2 ||
      std::memcmp(data.data(), kNpyMagic, kNpyMagicBytes) != 0) {
    bad(name, "this is not a .npy file");
  }
  const auto version = static_cast<unsigned>(data[kNpyMagicBytes]);
  if (version < 1 || version > 3) bad(name, "unknown version of .npy");
  const size_t length_bytes = version == 1 ? 2 : 4;
  const size_t start = kNpyMagicBytes + 2 + length_bytes;
  if (data.size() < start) bad(name, "the file is cut off");
  size_t length = 0;
  for (size_t i = 0; i < length_bytes; i++) {
    length |= static_cast<size_t>(data[kNpyMagicBytes + 2 + i]) << (8 * i);
  }
  if (length > data.size() - start) bad(name, "the file is cut off in its header");
  const NpyHeader header(std::string(reinterpret_cast<const char*>(data.data()) + start, length),
                         name);

  Tensor tensor;
  const TypeRow* type = nullptr;
  for (const TypeRow& row : kTypes) {
    if (without_byte_order(header.descr) == without_byte_order(row.descr)) type = &row;
  }
  if (type == nullptr) bad(name, "elements of type '" + header.descr + "' are not supported");
  if (header.descr[0] == '>' && type->bytes > 1) bad(name, "big-endian elements are not supported");
  if (header.fortran && header.shape.size() > 1) {
    bad(name, "the array is in Fortran order; save it with numpy.ascontiguousarray");
  }
  tensor.type = type->type;
  tensor.shape = header.shape;
  const size_t bytes = checked_bytes(tensor.shape, type->bytes, name);
  const size_t there = data.size() - start - length;
  if (there != bytes) {
    bad(name, fmt::format("the shape needs {} bytes, the file has {}", bytes, there));
  }
  tensor.bytes.assign(data.end() - static_cast<std::ptrdiff_t>(bytes), data.end());
  return tensor;
}

Tensor parse_tensor_proto(std::span<const std::byte> data, const std::string& name) {
  npu::onnx::Tensor proto;
  if (data.empty() || data.size() > size_t{INT32_MAX} ||
      !proto.ParseFromArray(data.data(), static_cast<int>(data.size()))) {
    bad(name, "this is not an ONNX TensorProto");
  }
  if (proto.data_location() != 0) bad(name, "tensors with external data are not supported");
  const TypeRow* type = nullptr;
  for (const TypeRow& row : kTypes) {
    if (row.onnx == proto.data_type()) type = &row;
  }
  if (type == nullptr) {
    bad(name, fmt::format("elements of ONNX type {} are not supported", proto.data_type()));
  }
  Tensor tensor;
  tensor.type = type->type;
  tensor.name = proto.name();
  for (int64_t dimension : proto.dims()) {
    if (dimension < 0) bad(name, "a dimension is negative");
    tensor.shape.push_back(static_cast<uint64_t>(dimension));
  }
  const size_t bytes = checked_bytes(tensor.shape, type->bytes, name);
  size_t there = proto.raw_data().size();
  if (there == 0 && type->type == NPU_ELEMENT_FP32) {
    there = static_cast<size_t>(proto.float_data_size()) * 4;
  } else if (there == 0) {
    there = static_cast<size_t>(proto.int32_data_size()) * type->bytes;
  }
  if (there != bytes) {
    bad(name, fmt::format("the shape needs {} bytes, the file has {}", bytes, there));
  }
  tensor.bytes.resize(bytes);
  if (!proto.raw_data().empty()) {
    std::memcpy(tensor.bytes.data(), proto.raw_data().data(), bytes);
  } else if (type->type == NPU_ELEMENT_FP32) {
    std::memcpy(tensor.bytes.data(), proto.float_data().data(), bytes);
  } else {
    // Narrow types are stored one per 32-bit number.
    for (int i = 0; i < proto.int32_data_size(); i++) {
      const int32_t value = proto.int32_data(i);
      std::memcpy(tensor.bytes.data() + static_cast<size_t>(i) * type->bytes, &value, type->bytes);
    }
  }
  return tensor;
}

Tensor read_tensor(const std::string& path) {
  const std::vector<std::byte> data = read_file(path);
  if (path.ends_with(".pb")) return parse_tensor_proto(data, path);
  return parse_npy(data, path);
}

void write_npy(const std::string& path, const Tensor& tensor) {
  std::string shape;
  for (uint64_t dimension : tensor.shape) shape += fmt::format("{}, ", dimension);
  if (tensor.shape.size() > 1) shape.resize(shape.size() - 2);
  if (tensor.shape.size() == 1) shape.resize(shape.size() - 1);
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}",
                                   find_type(tensor.type)->descr, shape);
  // The data start at a multiple of 64.
  const size_t unpadded = kNpyMagicBytes + 4 + header.size() + 1;
  header.append((64 - unpadded % 64) % 64, ' ');
  header += '\n';
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(kNpyMagic, kNpyMagicBytes);
  const char version_and_length[] = {1, 0, static_cast<char>(header.size() & 0xff),
                                     static_cast<char>(header.size() >> 8)};
  file.write(version_and_length, sizeof version_and_length);
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  file.write(reinterpret_cast<const char*>(tensor.bytes.data()),
             static_cast<std::streamsize>(tensor.bytes.size()));
  file.close();
  if (!file) throw ToolError(kExitFailure, path + ": cannot write: " + std::strerror(errno));
}

std::string file_stem(const std::string& tensor_name) {
  std::string stem = tensor_name;
  std::replace(stem.begin(), stem.end(), '/', '_');
  std::replace(stem.begin(), stem.end(), ':', '_');
  if (stem.empty() || stem[0] == '.') stem.insert(0, "_");
  return stem;
}

}  // namespace npu::tools
