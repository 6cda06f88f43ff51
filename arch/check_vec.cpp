// SPDX-License-Identifier: MIT
//
// Fields of VEC commands, function by function.
#include <cmath>

#include "arch/command_check.h"
#include "arch/mac_shape.h"
#include "arch/numerics.h"
#include "arch/vec_shape.h"

namespace npu::arch {
namespace {

// Sums of a reduction stay in int32: this many elements of magnitude 255.
constexpr uint32_t kReducedMax = (1u << 31) / 255 - 1;

// The integer softmax multiplies by a whole number up to this.
constexpr float kSoftmaxMultiplierMax = 16777216.0f;

enum class Shape { kSame, kWindow, kGlobal, kReduce, kResize };

// What a function uses; everything else must be zero.
struct Uses {
  bool b = false, table = false, p0 = false, p1 = false, p2 = false, epsilon = false;
  bool a_zero = false, b_zero = false, out_zero = false, clamp = false;
  bool same_type = false;  // out has a's
  Shape shape = Shape::kSame;
  unsigned flags = 0;
};

bool uses_of(const npu_command_vec& vec, Uses& uses) {
  switch (vec.function) {
    case NPU_VEC_ADD:
      uses = {.b = true, .p0 = true, .p1 = true, .p2 = true, .clamp = true};
      uses.flags = NPU_VEC_BROADCAST_B;
      return true;
    case NPU_VEC_MUL:
      uses = {
          .b = true, .p0 = true, .a_zero = true, .b_zero = true, .out_zero = true, .clamp = true};
      uses.flags = NPU_VEC_BROADCAST_B;
      return true;
    case NPU_VEC_LUT:
      uses = {.table = true};
      return true;
    case NPU_VEC_POOL_MAX:
      uses = {.same_type = true, .shape = Shape::kWindow};
      return true;
    case NPU_VEC_POOL_AVERAGE:
      uses = {.p0 = true, .p1 = true, .a_zero = true, .out_zero = true, .clamp = true};
      uses.shape = Shape::kWindow;
      uses.flags = NPU_VEC_COUNT_PAD;
      return true;
    case NPU_VEC_POOL_GLOBAL:
      uses = {.p0 = true, .a_zero = true, .out_zero = true, .clamp = true};
      uses.shape = Shape::kGlobal;
      return true;
    case NPU_VEC_REDUCE:
      if ((vec.flags & NPU_VEC_REDUCE_MAX) != 0)
        uses = {.same_type = true};
      else
        uses = {.p0 = true, .a_zero = true, .out_zero = true, .clamp = true};
      uses.shape = Shape::kReduce;
      uses.flags = NPU_VEC_REDUCE_MAX | NPU_VEC_REDUCE_CHANNELS;
      return true;
    case NPU_VEC_SOFTMAX:
      uses = {.table = true, .p0 = true, .out_zero = true, .clamp = true};
      uses.flags = NPU_VEC_SOFTMAX_FP32;
      return true;
    case NPU_VEC_LAYER_NORM:
      uses = {
          .table = true, .p0 = true, .p1 = true, .epsilon = true, .out_zero = true, .clamp = true};
      return true;
    case NPU_VEC_RESIZE:
      uses = {.table = true, .same_type = true};
      uses.flags = NPU_VEC_RESIZE_LINEAR;
      if ((vec.flags & NPU_VEC_RESIZE_LINEAR) != 0) {
        uses.flags |= NPU_VEC_RESIZE_TRUNCATE;
        if ((vec.flags & NPU_VEC_RESIZE_TRUNCATE) == 0)
          uses = {.table = true,
                  .p0 = true,
                  .a_zero = true,
                  .out_zero = true,
                  .clamp = true,
                  .flags = uses.flags};
      }
      uses.shape = Shape::kResize;
      return true;
    case NPU_VEC_CAST:
      uses = {.p0 = true, .out_zero = true, .clamp = true};
      return true;
    default:
      return false;
  }
}

// One dimension of a pool's window: every window must contain an element.
bool check_window(const char* kernel_field, uint32_t kernel, const char* stride_field,
                  uint32_t stride, const char* pad_field, uint32_t pad, const char* out_field,
                  uint32_t in, uint32_t out, Violation& v) {
  if (!v.range(kernel_field, kernel, 1, 255) || !v.range(stride_field, stride, 1, 255) ||
      !v.range(pad_field, pad, 0, kernel - 1))
    return false;
  const uint64_t last = uint64_t{out - 1} * stride;
  return last < uint64_t{in} + pad ||
         v.fail("%s is %u: the last window lies outside the input", out_field, out);
}

bool check_pool(const npu_command_vec& vec, Violation& v) {
  if (!check_window("kernel_h", vec.kernel_h, "stride_y", vec.stride_y, "pad_top", vec.pad_top,
                    "out_h", vec.in_h, vec.out_h, v) ||
      !check_window("kernel_w", vec.kernel_w, "stride_x", vec.stride_x, "pad_left", vec.pad_left,
                    "out_w", vec.in_w, vec.out_w, v))
    return false;
  const uint64_t taps =
      saturating_product({vec.out_h, vec.out_w, vec.channels, vec.kernel_h, vec.kernel_w});
  return taps <= NPU_COMMAND_MAX_MACS || v.fail("the pool reads %llu elements, more than 2^36",
                                                static_cast<unsigned long long>(taps));
}

// An axis of a reduction is there or gone.
bool check_reduced_axis(const char* field, uint32_t in, uint32_t out, Violation& v) {
  return out == in || out == 1 || v.fail("%s is %u, must be %u or 1", field, out, in);
}

bool check_reduction(const npu_command_vec& vec, Violation& v) {
  if (!check_reduced_axis("out_h", vec.in_h, vec.out_h, v) ||
      !check_reduced_axis("out_w", vec.in_w, vec.out_w, v))
    return false;
  const uint64_t elements = vec_reduced_elements(vec);
  return elements <= kReducedMax || v.fail("%llu elements make one, must be at most %u",
                                           static_cast<unsigned long long>(elements), kReducedMax);
}

bool check_shape(const npu_command_vec& vec, Shape shape, Violation& v) {
  if (!v.range("in_h", vec.in_h, 1, 65535) || !v.range("in_w", vec.in_w, 1, 65535) ||
      !v.range("channels", vec.channels, 1, 65535) || !v.range("out_h", vec.out_h, 1, 65535) ||
      !v.range("out_w", vec.out_w, 1, 65535))
    return false;
  if (shape == Shape::kWindow) return check_pool(vec, v);
  if (!v.zero("kernel_h", vec.kernel_h) || !v.zero("kernel_w", vec.kernel_w) ||
      !v.zero("stride_y", vec.stride_y) || !v.zero("stride_x", vec.stride_x) ||
      !v.zero("pad_top", vec.pad_top) || !v.zero("pad_left", vec.pad_left))
    return false;
  switch (shape) {
    case Shape::kGlobal:
      return v.range("out_h", vec.out_h, 1, 1) && v.range("out_w", vec.out_w, 1, 1) &&
             check_reduction(vec, v);
    case Shape::kReduce:
      return check_reduction(vec, v);
    case Shape::kResize:
      return true;
    default:
      return v.range("out_h", vec.out_h, vec.in_h, vec.in_h) &&
             v.range("out_w", vec.out_w, vec.in_w, vec.in_w);
  }
}

bool check_types(const npu_command_vec& vec, const Uses& uses, Violation& v) {
  const unsigned a = NPU_TYPE_AT(vec.types, 0), b = NPU_TYPE_AT(vec.types, 1);
  const unsigned out = NPU_TYPE_AT(vec.types, 2);
  if (!v.type_none("the fourth operand", NPU_TYPE_AT(vec.types, 3))) return false;
  if (vec.function == NPU_VEC_CAST) {
    if (a != NPU_TYPE_INT32 && a != NPU_TYPE_FP32)
      return v.fail("types: a is %s, must be int32 or fp32", data_type_name(a));
  } else if (!v.type8("a", a)) {
    return false;
  }
  if (uses.b ? !v.type8("b", b) : !v.type_none("b", b)) return false;
  if (!v.type8("out", out)) return false;
  if (uses.same_type && a != out)
    return v.fail("types: out is %s, must be that of a, %s", data_type_name(out),
                  data_type_name(a));
  return true;
}

bool check_parameters(const npu_command_vec& vec, const Uses& uses, Violation& v) {
  // Only an addition's factors may be zero or negative.
  const bool any_sign = vec.function == NPU_VEC_ADD;
  const auto factor = [&](const char* field, uint32_t bits, bool used) {
    if (!used) return v.zero(field, bits);
    return any_sign ? v.finite(field, bits) : v.finite_positive(field, bits);
  };
  if (!factor("p0_f32", vec.p0_f32, uses.p0) || !factor("p1_f32", vec.p1_f32, uses.p1) ||
      !factor("p2_f32", vec.p2_f32, uses.p2))
    return false;
  if (!factor("epsilon_f32", vec.epsilon_f32, uses.epsilon)) return false;
  if (vec.function == NPU_VEC_SOFTMAX && (vec.flags & NPU_VEC_SOFTMAX_FP32) == 0) {
    const float multiplier = f32_from_bits(vec.p0_f32);
    if (multiplier < 1 || multiplier > kSoftmaxMultiplierMax ||
        multiplier != std::trunc(multiplier))
      return v.fail("p0_f32 is %g, must be a whole number of 1 to 2^24",
                    static_cast<double>(multiplier));
  }
  const auto zero_point = [&](const char* field, int16_t value, bool used, unsigned operand) {
    return used ? v.zero_point(field, value, NPU_TYPE_AT(vec.types, operand))
                : v.zero(field, static_cast<uint16_t>(value));
  };
  if (!zero_point("a_zero", vec.a_zero, uses.a_zero, 0) ||
      !zero_point("b_zero", vec.b_zero, uses.b_zero, 1) ||
      !zero_point("out_zero", vec.out_zero, uses.out_zero, 2))
    return false;
  if (uses.clamp) return v.clamp("low", vec.low, "high", vec.high, NPU_TYPE_AT(vec.types, 2));
  return v.zero("low", static_cast<uint16_t>(vec.low)) &&
         v.zero("high", static_cast<uint16_t>(vec.high));
}

}  // namespace

bool check_vec(const npu_command_vec& vec, Violation& v) {
  Uses uses;
  if (!uses_of(vec, uses)) return v.range("function", vec.function, NPU_VEC_ADD, NPU_VEC_CAST);
  if (!v.zero("reserved0", vec.reserved0) || !v.zero("reserved1", vec.reserved1) ||
      !v.zero("reserved2", vec.reserved2) || !v.flags("flags", vec.flags, uses.flags) ||
      !check_types(vec, uses, v) || !check_shape(vec, uses.shape, v) ||
      !check_parameters(vec, uses, v))
    return false;
  // Tables of words are aligned to them; a LUT is bytes.
  const uint32_t alignment = vec.function == NPU_VEC_LUT ? 1 : 4;
  if (uses.table ? !v.aligned("table", vec.table, alignment) : !v.zero("table", vec.table))
    return false;
  if (!v.tensor("a", vec.a, vec.in_h, vec.in_w, vec.channels, NPU_TYPE_AT(vec.types, 0), false) ||
      !v.tensor("out", vec.out, vec.out_h, vec.out_w, vec_out_channels(vec),
                NPU_TYPE_AT(vec.types, 2), true))
    return false;
  if (!uses.b) return v.unused("b", vec.b);
  const bool broadcast = vec.flags & NPU_VEC_BROADCAST_B;
  return v.tensor("b", vec.b, broadcast ? 1 : vec.in_h, broadcast ? 1 : vec.in_w, vec.channels,
                  NPU_TYPE_AT(vec.types, 1), false);
}

}  // namespace npu::arch
