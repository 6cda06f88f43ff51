// SPDX-License-Identifier: MIT
#include "arch/command_check.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "arch/numerics.h"
#include "arch/sram_access.h"
#include "arch/text.h"

namespace npu::arch {

bool Violation::fail(const char* format, ...) {
  char buffer[256];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof(buffer), format, arguments);
  va_end(arguments);
  text = buffer;
  return false;
}

bool Violation::not_zero(const char* field, uint64_t value) {
  return fail("%s is %#llx, must be 0", field, static_cast<unsigned long long>(value));
}

bool Violation::not_in_range(const char* field, int64_t value, int64_t low, int64_t high) {
  return fail("%s is %lld, must be %lld to %lld", field, static_cast<long long>(value),
              static_cast<long long>(low), static_cast<long long>(high));
}

bool Violation::finite(const char* field, uint32_t bits) {
  return std::isfinite(f32_from_bits(bits)) || fail("%s is %#x, not a finite number", field, bits);
}

bool Violation::finite_positive(const char* field, uint32_t bits) {
  const float value = f32_from_bits(bits);
  return (std::isfinite(value) && value > 0) ||
         fail("%s is %g (%#x), must be finite and greater than 0", field,
              static_cast<double>(value), bits);
}

bool Violation::aligned(const char* field, uint64_t value, uint32_t alignment) {
  return value % alignment == 0 || fail("%s is %#llx, must be a multiple of %u", field,
                                        static_cast<unsigned long long>(value), alignment);
}

bool Violation::unused(const char* field, const npu_sram_tensor& tensor) {
  return (tensor.address | tensor.row_stride | tensor.pixel_stride | tensor.ring_rows |
          tensor.ring_first) == 0 ||
         fail("%s is not used by this command and must be all zero", field);
}

bool Violation::flags(const char* field, uint64_t value, uint64_t known) {
  return (value & ~known) == 0 ||
         fail("%s is %#llx, has bits outside %#llx", field, static_cast<unsigned long long>(value),
              static_cast<unsigned long long>(known));
}

bool Violation::not_implemented(const char* what) {
  return fail("%s is not implemented by this card", what);
}

bool Violation::tensor(const char* field, const npu_sram_tensor& tensor, uint32_t rows,
                       uint32_t columns, uint32_t channels, unsigned type, bool write,
                       uint32_t batch, uint32_t batch_stride) {
  const uint32_t element = data_type_bits(type) / 8;
  if (tensor.ring_rows == 0) {
    if (tensor.ring_first != 0)
      return fail("%s.ring_first is %u, must be 0 without a ring", field, tensor.ring_first);
  } else {
    if (tensor.ring_first >= tensor.ring_rows)
      return fail("%s.ring_first is %u, must be less than ring_rows, %u", field, tensor.ring_first,
                  tensor.ring_rows);
    if (rows > tensor.ring_rows)
      return fail("%s has %u rows, more than its ring_rows, %u", field, rows, tensor.ring_rows);
  }
  if (element == 4 && (tensor.address % 4 != 0 || tensor.row_stride % 4 != 0 ||
                       tensor.pixel_stride % 4 != 0 || batch_stride % 4 != 0))
    return fail("%s of %s: address and strides must be multiples of 4", field,
                data_type_name(type));
  SramAccess access;
  access.bytes = uint64_t{channels} * element;
  access.count[0] = columns;
  access.stride[0] = tensor.pixel_stride;
  // The rows may be any of the ring.
  access.count[1] = tensor.ring_rows != 0 ? tensor.ring_rows : rows;
  access.stride[1] = tensor.row_stride;
  access.count[2] = batch;
  access.stride[2] = batch_stride;
  if (write && !access.disjoint())
    return fail(
        "%s overlaps itself: %u times %u rows of %u pixels of %llu bytes, row_stride %u, "
        "pixel_stride %u, batch stride %u",
        field, batch, access.count[1], columns, static_cast<unsigned long long>(access.bytes),
        tensor.row_stride, tensor.pixel_stride, batch_stride);
  return true;
}

bool Violation::type8(const char* field, unsigned type) {
  if (type == NPU_TYPE_INT8 || type == NPU_TYPE_UINT8) return true;
  if (type == NPU_TYPE_NONE || type > NPU_TYPE_FP32)
    return fail("types: %s is %u, must be int8 or uint8", field, type);
  return fail("types: %s %s is not implemented by this card", field, data_type_name(type));
}

bool Violation::type_none(const char* field, unsigned type) {
  return type == NPU_TYPE_NONE ||
         fail("types: %s is %u, must be 0: this command does not use it", field, type);
}

namespace {

// Of int8 or uint8.
int lowest(unsigned type) {
  return type == NPU_TYPE_INT8 ? -128 : 0;
}
int highest(unsigned type) {
  return type == NPU_TYPE_INT8 ? 127 : 255;
}

}  // namespace

bool Violation::clamp(const char* low_field, int low, const char* high_field, int high,
                      unsigned type) {
  return range(low_field, low, lowest(type), highest(type)) &&
         range(high_field, high, low, highest(type));
}

bool Violation::zero_point(const char* field, int value, unsigned type) {
  return range(field, value, lowest(type), highest(type));
}

}  // namespace npu::arch
