// SPDX-License-Identifier: MIT
#include "tensor_file.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <stdexcept>

namespace conformance {
namespace {

struct TypeName {
  ElementType type;
  const char* npy;
  size_t size;
};

constexpr TypeName kTypes[] = {
    {ElementType::kFloat, "<f4", 4}, {ElementType::kUint8, "|u1", 1},
    {ElementType::kInt8, "|i1", 1},  {ElementType::kInt32, "<i4", 4},
    {ElementType::kInt64, "<i8", 8},
};

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw std::runtime_error(path + ": " + what);
}

std::vector<uint8_t> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(path, "cannot be opened");
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// The bytes a tensor of this shape has, or an error where the product overflows.
size_t checked_size(const std::string& path, const Tensor& tensor) {
  size_t size = element_size(tensor.type);
  for (int64_t dim : tensor.shape) {
    if (dim < 0) fail(path, "negative dimension");
    if (dim > 0 && size > std::numeric_limits<size_t>::max() / 2 / static_cast<size_t>(dim))
      fail(path, "shape too large");
    size *= static_cast<size_t>(dim);
  }
  return size;
}

// A cursor over protobuf's wire format: just what a TensorProto needs.
class WireReader {
 public:
  WireReader(const std::string& path, const uint8_t* data, size_t size)
      : path_(path), at_(data), end_(data + size) {}

  bool done() const { return at_ == end_; }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) fail(path_, "truncated TensorProto");
      const uint8_t byte = *at_++;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (!(byte & 0x80)) return value;
    }
    fail(path_, "bad varint in TensorProto");
  }

  WireReader block(size_t size) {
    if (size > static_cast<size_t>(end_ - at_)) fail(path_, "truncated TensorProto");
    WireReader sub(path_, at_, size);
    at_ += size;
    return sub;
  }

  const uint8_t* data() const { return at_; }
  size_t size() const { return static_cast<size_t>(end_ - at_); }

 private:
  const std::string& path_;
  const uint8_t* at_;
  const uint8_t* end_;
};

enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// Field numbers of onnx.TensorProto.
enum TensorField {
  kDims = 1,
  kDataType = 2,
  kFloatData = 4,
  kInt32Data = 5,
  kInt64Data = 7,
  kRawData = 9,
};

void append(std::vector<uint8_t>& bytes, const void* value, size_t size) {
  const auto* p = static_cast<const uint8_t*>(value);
  bytes.insert(bytes.end(), p, p + size);
}

// int32_data carries the 8-bit types too, one value per varint.
void append_integer(Tensor& tensor, int64_t value) {
  append(tensor.bytes, &value, element_size(tensor.type));
}

}  // namespace

size_t element_size(ElementType type) {
  for (const TypeName& t : kTypes)
    if (t.type == type) return t.size;
  return 0;
}

Tensor read_npy(const std::string& path) {
  const std::vector<uint8_t> file = read_file(path);
  if (file.size() < 10 || std::memcmp(file.data(), "\x93NUMPY", 6) != 0)
    fail(path, "not an .npy file");
  const bool long_header = file[6] >= 2;
  const size_t prefix = long_header ? 12 : 10;
  if (file.size() < prefix) fail(path, "truncated .npy header");
  size_t header_size = file[8] | file[9] << 8;
  if (long_header)
    header_size |= static_cast<size_t>(file[10]) << 16 | static_cast<size_t>(file[11]) << 24;
  if (header_size > file.size() - prefix) fail(path, "truncated .npy header");
  const std::string header(file.begin() + static_cast<ptrdiff_t>(prefix),
                           file.begin() + static_cast<ptrdiff_t>(prefix + header_size));
  if (header.find("'fortran_order': False") == std::string::npos)
    fail(path, "only C order is read");
  Tensor tensor;
  const size_t descr = header.find("'descr': '");
  bool known = false;
  for (const TypeName& t : kTypes) {
    if (descr != std::string::npos && header.compare(descr + 10, 3, t.npy) == 0) {
      tensor.type = t.type;
      known = true;
    }
  }
  if (!known) fail(path, "element type not supported in header " + header);
  const size_t open = header.find('(', header.find("'shape'"));
  const size_t close = header.find(')', open);
  if (open == std::string::npos || close == std::string::npos) fail(path, "no shape in header");
  std::istringstream dims(header.substr(open + 1, close - open - 1));
  for (std::string dim; std::getline(dims, dim, ',');)
    if (dim.find_first_of("0123456789") != std::string::npos)
      tensor.shape.push_back(std::stoll(dim));
  const size_t size = checked_size(path, tensor);
  if (file.size() - prefix - header_size != size)
    fail(path, "data does not have the size its shape says");
  tensor.bytes.assign(file.end() - static_cast<ptrdiff_t>(size), file.end());
  return tensor;
}

void write_npy(const std::string& path, const Tensor& tensor) {
  const char* descr = nullptr;
  for (const TypeName& t : kTypes)
    if (t.type == tensor.type) descr = t.npy;
  if (descr == nullptr) fail(path, "element type cannot be written");
  std::string header = std::string("{'descr': '") + descr + "', 'fortran_order': False, 'shape': (";
  for (int64_t dim : tensor.shape) header += std::to_string(dim) + ", ";
  if (tensor.shape.size() > 1)
    header.resize(header.size() - 2);
  else if (tensor.shape.size() == 1)
    header.resize(header.size() - 1);
  header += "), }";
  header.append(63 - (10 + header.size()) % 64, ' ');  // data starts at a multiple of 64
  header += '\n';
  std::ofstream out(path, std::ios::binary);
  const char prefix[] = {'\x93',
                         'N',
                         'U',
                         'M',
                         'P',
                         'Y',
                         1,
                         0,
                         static_cast<char>(header.size() & 0xff),
                         static_cast<char>(header.size() >> 8)};
  out.write(prefix, sizeof prefix);
  out << header;
  out.write(reinterpret_cast<const char*>(tensor.bytes.data()),
            static_cast<std::streamsize>(tensor.bytes.size()));
  out.close();
  if (!out) fail(path, "cannot be written");
}

Tensor read_tensor_proto(const std::string& path) {
  const std::vector<uint8_t> file = read_file(path);
  Tensor tensor;
  // The type is field 2 and precedes the data in every writer's output, but the format does not
  // promise it: find it in a first pass.
  for (int pass = 0; pass < 2; ++pass) {
    WireReader in(path, file.data(), file.size());
    while (!in.done()) {
      const uint64_t key = in.varint();
      const uint64_t field = key >> 3;
      switch (key & 7) {
        case kVarint: {
          const uint64_t value = in.varint();
          if (pass == 0 && field == kDataType) {
            tensor.type = static_cast<ElementType>(value);
            if (element_size(tensor.type) == 0)
              fail(path, "element type " + std::to_string(value) + " not supported");
          } else if (pass == 1 && field == kDims) {
            tensor.shape.push_back(static_cast<int64_t>(value));
          } else if (pass == 1 && (field == kInt32Data || field == kInt64Data)) {
            append_integer(tensor, static_cast<int64_t>(value));
          }
          break;
        }
        case kFixed64:
          in.block(8);
          break;
        case kFixed32: {
          WireReader value = in.block(4);
          if (pass == 1 && field == kFloatData) append(tensor.bytes, value.data(), 4);
          break;
        }
        case kBytes: {
          const uint64_t size = in.varint();
          WireReader value = in.block(size);
          if (pass == 0) break;
          if (field == kRawData || field == kFloatData)
            append(tensor.bytes, value.data(), value.size());
          if (field == kDims)
            while (!value.done()) tensor.shape.push_back(static_cast<int64_t>(value.varint()));
          if (field == kInt32Data || field == kInt64Data)
            while (!value.done()) append_integer(tensor, static_cast<int64_t>(value.varint()));
          break;
        }
        default:
          fail(path, "bad wire type in TensorProto");
      }
    }
  }
  if (tensor.bytes.size() != checked_size(path, tensor))
    fail(path, "data does not have the size its dims say");
  return tensor;
}

Tensor read_tensor(const std::string& path) {
  return path.ends_with(".pb") ? read_tensor_proto(path) : read_npy(path);
}

}  // namespace conformance
