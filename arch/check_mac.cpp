// SPDX-License-Identifier: MIT
//
// Fields of CONV, DEPTHWISE and MATMUL and of their extension.
#include "arch/command_check.h"
#include "arch/mac_shape.h"

namespace npu::arch {
namespace {

// Operand positions in npu_command_mac.types.
enum { kInput = 0, kWeight = 1, kOutput = 2, kResidual = 3 };

bool is8(unsigned type) {
  return type == NPU_TYPE_INT8 || type == NPU_TYPE_UINT8;
}

bool check_geometry(const npu_command_mac& mac, Violation& v) {
  if (!v.range("in_h", mac.in_h, 1, 65535) || !v.range("in_w", mac.in_w, 1, 65535) ||
      !v.range("in_c", mac.in_c, 1, 65535) || !v.range("out_h", mac.out_h, 1, 65535) ||
      !v.range("out_w", mac.out_w, 1, 65535) || !v.range("out_c", mac.out_c, 1, 65535))
    return false;
  if (mac.header.opcode == NPU_OP_MATMUL) {
    return v.range("in_h", mac.in_h, 1, 1) && v.range("out_h", mac.out_h, 1, 1) &&
           v.range("out_w", mac.out_w, mac.in_w, mac.in_w) && v.zero("kernel_h", mac.kernel_h) &&
           v.zero("kernel_w", mac.kernel_w) && v.zero("stride_y", mac.stride_y) &&
           v.zero("stride_x", mac.stride_x) && v.zero("dilation_y", mac.dilation_y) &&
           v.zero("dilation_x", mac.dilation_x) && v.zero("groups", mac.groups) &&
           v.zero("pad_top", mac.pad_top) && v.zero("pad_left", mac.pad_left);
  }
  if (!v.range("kernel_h", mac.kernel_h, 1, 255) || !v.range("kernel_w", mac.kernel_w, 1, 255) ||
      !v.range("stride_y", mac.stride_y, 1, 255) || !v.range("stride_x", mac.stride_x, 1, 255) ||
      !v.range("dilation_y", mac.dilation_y, 1, 255) ||
      !v.range("dilation_x", mac.dilation_x, 1, 255))
    return false;
  if (mac.header.opcode == NPU_OP_DEPTHWISE)
    return v.range("out_c", mac.out_c, mac.in_c, mac.in_c) &&
           v.range("groups", mac.groups, mac.in_c, mac.in_c);
  if (!v.range("groups", mac.groups, 1, 65535)) return false;
  if (mac.in_c % mac.groups != 0 || mac.out_c % mac.groups != 0)
    return v.fail("groups is %u, must divide in_c, %u, and out_c, %u", mac.groups, mac.in_c,
                  mac.out_c);
  return true;
}

bool check_weights(const npu_command_mac& mac, const npu_mac_extension& extension, Violation& v) {
  if (mac.weight_format == NPU_WEIGHTS_COMPRESSED)
    return v.not_implemented("weight_format compressed");
  if (!v.zero("weight_format", mac.weight_format)) return false;
  const MacShape shape = mac_shape(mac);
  uint64_t rows = shape.outputs();
  uint64_t row_bytes = shape.group_inputs * shape.taps();
  if (mac.flags & NPU_MAC_WEIGHTS_KN) std::swap(rows, row_bytes);
  if (rows > 1 && mac.weight_stride < row_bytes)
    return v.fail("weight_stride is %u, must be at least %llu", mac.weight_stride,
                  static_cast<unsigned long long>(row_bytes));
  const uint64_t extent = (rows - 1) * mac.weight_stride + row_bytes;
  if (mac.weight_bytes != extent)
    return v.fail("weight_bytes is %u, must be %llu", mac.weight_bytes,
                  static_cast<unsigned long long>(extent));
  if (extension.flags & NPU_EXT_WEIGHT_ZEROS)
    return v.zero("weight_zero (the extension has a table)",
                  static_cast<uint16_t>(mac.weight_zero));
  return v.zero_point("weight_zero", mac.weight_zero, NPU_TYPE_AT(mac.types, kWeight));
}

bool check_accumulate(const npu_command_mac& mac, const npu_target& target, Violation& v) {
  if (!v.flags("accumulate", mac.accumulate, NPU_ACCUMULATE_ADD | NPU_ACCUMULATE_KEEP))
    return false;
  if (mac.accumulate == 0) return v.zero("accumulator_base", mac.accumulator_base);
  const uint32_t bank_rows = target.accumulator_rows;
  if (mac.accumulator_base != 0 && mac.accumulator_base != bank_rows)
    return v.fail("accumulator_base is %u, must be 0 or %u", mac.accumulator_base, bank_rows);
  const MacShape shape = mac_shape(mac);
  const uint64_t rows = saturating_product({shape.pixels, shape.passes(target.mac_outputs)});
  if (rows > bank_rows)
    return v.fail("accumulate: out_h * out_w * passes takes %llu accumulator rows, a bank has %u",
                  static_cast<unsigned long long>(rows), bank_rows);
  if ((mac.accumulate & NPU_ACCUMULATE_ADD) && (mac.flags & NPU_MAC_BIAS))
    return v.fail("flags: BIAS with ADD; the bias belongs to the command that starts the sum");
  return true;
}

// Scale, zero point and clamp, as the output's type needs them.
bool check_requantization(const npu_command_mac& mac, Violation& v) {
  const unsigned output = NPU_TYPE_AT(mac.types, kOutput);
  const bool scaled = output != NPU_TYPE_INT32 && output != NPU_TYPE_NONE;
  const bool table = mac.flags & NPU_MAC_SCALE_PER_CHANNEL;
  if (table && !scaled) return v.fail("flags: SCALE_PER_CHANNEL without a scaled output");
  if (table ? !v.aligned("scales", mac.scales, 4) : !v.zero("scales", mac.scales)) return false;
  if (scaled && !table ? !v.finite_positive("scale_f32", mac.scale_f32)
                       : !v.zero("scale_f32", mac.scale_f32))
    return false;
  if (is8(output))
    return v.zero_point("output_zero", mac.output_zero, output) &&
           v.clamp("clamp_low", mac.clamp_low, "clamp_high", mac.clamp_high, output);
  return v.zero("output_zero", static_cast<uint16_t>(mac.output_zero)) &&
         v.zero("clamp_low", static_cast<uint16_t>(mac.clamp_low)) &&
         v.zero("clamp_high", static_cast<uint16_t>(mac.clamp_high));
}

bool check_residual(const npu_command_mac& mac, const npu_mac_extension& extension, Violation& v) {
  const unsigned type = NPU_TYPE_AT(mac.types, kResidual);
  if (!(extension.flags & NPU_EXT_RESIDUAL)) {
    if (extension.flags & NPU_EXT_RESIDUAL_FIRST)
      return v.fail("extension flags: RESIDUAL_FIRST without RESIDUAL");
    return v.type_none("residual", type) && v.unused("residual", extension.residual) &&
           v.zero("ra_f32", extension.ra_f32) && v.zero("rb_f32", extension.rb_f32) &&
           v.zero("fix_f32", extension.fix_f32) &&
           v.zero("residual_low", static_cast<uint16_t>(extension.residual_low)) &&
           v.zero("residual_high", static_cast<uint16_t>(extension.residual_high));
  }
  return v.type8("residual", type) && v.finite("ra_f32", extension.ra_f32) &&
         v.finite("rb_f32", extension.rb_f32) && v.finite("fix_f32", extension.fix_f32) &&
         v.clamp("residual_low", extension.residual_low, "residual_high", extension.residual_high,
                 NPU_TYPE_AT(mac.types, kOutput)) &&
         v.tensor("residual", extension.residual, mac.out_h, mac.out_w, mac.out_c, type, false,
                  mac_batch(extension), extension.batch_residual);
}

bool check_pool(const npu_command_mac& mac, const npu_mac_extension& extension, Violation& v) {
  if (!v.range("pool_kind", extension.pool_kind, NPU_POOL_NONE, NPU_POOL_AVERAGE)) return false;
  if (extension.pool_kind == NPU_POOL_NONE) {
    if (!v.zero("pool_h", extension.pool_h) || !v.zero("pool_w", extension.pool_w)) return false;
  } else {
    if (!v.range("pool_h", extension.pool_h, 1, mac.out_h) ||
        !v.range("pool_w", extension.pool_w, 1, mac.out_w))
      return false;
  }
  if (extension.pool_kind != NPU_POOL_AVERAGE)
    return v.zero("pool_in_scale_f32", extension.pool_in_scale_f32) &&
           v.zero("pool_out_scale_f32", extension.pool_out_scale_f32) &&
           v.zero("pool_in_zero", static_cast<uint16_t>(extension.pool_in_zero)) &&
           v.zero("pool_out_zero", static_cast<uint16_t>(extension.pool_out_zero));
  const unsigned output = NPU_TYPE_AT(mac.types, kOutput);
  return v.finite_positive("pool_in_scale_f32", extension.pool_in_scale_f32) &&
         v.finite_positive("pool_out_scale_f32", extension.pool_out_scale_f32) &&
         v.zero_point("pool_in_zero", extension.pool_in_zero, output) &&
         v.zero_point("pool_out_zero", extension.pool_out_zero, output);
}

bool check_batch(const npu_command_mac& mac, const npu_mac_extension& extension, Violation& v) {
  const bool repeats = extension.batch_count > 1;
  if (!repeats && (!v.zero("batch_input", extension.batch_input) ||
                   !v.zero("batch_weights", extension.batch_weights) ||
                   !v.zero("batch_output", extension.batch_output)))
    return false;
  if ((!repeats || !(extension.flags & NPU_EXT_RESIDUAL)) &&
      !v.zero("batch_residual", extension.batch_residual))
    return false;
  return !repeats || mac.accumulate == 0 ||
         v.fail("batch_count is %u: KEEP and ADD are for a command that runs once",
                extension.batch_count);
}

bool check_extension(const npu_command_mac& mac, const npu_mac_extension& extension, Violation& v) {
  constexpr unsigned kChain =
      NPU_EXT_LUT1 | NPU_EXT_RESIDUAL | NPU_EXT_RESIDUAL_FIRST | NPU_EXT_LUT2;
  if (!v.flags("extension flags", extension.flags, kChain | NPU_EXT_WEIGHT_ZEROS) ||
      !v.zero("extension reserved0", extension.reserved0) ||
      !v.reserved("extension reserved", extension.reserved))
    return false;
  if (!check_batch(mac, extension, v)) return false;
  if (((extension.flags & kChain) || extension.pool_kind != NPU_POOL_NONE) &&
      !is8(NPU_TYPE_AT(mac.types, kOutput)))
    return v.fail("extension: the output chain needs an 8-bit output, not %s",
                  data_type_name(NPU_TYPE_AT(mac.types, kOutput)));
  if (!(extension.flags & NPU_EXT_LUT1) && !v.zero("lut1", extension.lut1)) return false;
  if (!(extension.flags & NPU_EXT_LUT2) && !v.zero("lut2", extension.lut2)) return false;
  if (!(extension.flags & NPU_EXT_WEIGHT_ZEROS) && !v.zero("weight_zeros", extension.weight_zeros))
    return false;
  return check_residual(mac, extension, v) && check_pool(mac, extension, v);
}

bool check_types(const npu_command_mac& mac, Violation& v) {
  if (!v.type8("input", NPU_TYPE_AT(mac.types, kInput)) ||
      !v.type8("weight", NPU_TYPE_AT(mac.types, kWeight)))
    return false;
  const unsigned output = NPU_TYPE_AT(mac.types, kOutput);
  if (mac.accumulate & NPU_ACCUMULATE_KEEP) return v.type_none("output (with KEEP)", output);
  return output == NPU_TYPE_INT32 || output == NPU_TYPE_FP32 || v.type8("output", output);
}

bool check_output(const npu_command_mac& mac, const npu_mac_extension& extension, Violation& v) {
  if (mac.accumulate & NPU_ACCUMULATE_KEEP) return v.unused("output", mac.output);
  const bool pooled = extension.pool_kind != NPU_POOL_NONE;
  return v.tensor("output", mac.output, pooled ? mac.out_h / extension.pool_h : mac.out_h,
                  pooled ? mac.out_w / extension.pool_w : mac.out_w, mac.out_c,
                  NPU_TYPE_AT(mac.types, kOutput), true, mac_batch(extension),
                  extension.batch_output);
}

}  // namespace

bool check_mac(const npu_command_mac& mac, const npu_mac_extension& extension,
               const npu_target& target, Violation& v) {
  constexpr unsigned kFlags =
      NPU_MAC_SCALE_PER_CHANNEL | NPU_MAC_BIAS | NPU_MAC_WEIGHTS_KN | NPU_MAC_ACTIVATION_STATIONARY;
  if (!v.flags("flags", mac.flags, kFlags) || !v.reserved("reserved", mac.reserved)) return false;
  if (mac.flags & NPU_MAC_ACTIVATION_STATIONARY) {
    if (mac.header.opcode == NPU_OP_DEPTHWISE)
      return v.fail("flags: ACTIVATION_STATIONARY is not for DEPTHWISE");
    if (mac.accumulate != 0)
      return v.fail("flags: ACTIVATION_STATIONARY with accumulate %u; it has no KEEP and ADD",
                    mac.accumulate);
  }
  if ((mac.flags & NPU_MAC_WEIGHTS_KN) && mac.header.opcode != NPU_OP_MATMUL)
    return v.fail("flags: WEIGHTS_KN is for MATMUL only");
  if (!check_types(mac, v) || !check_geometry(mac, v)) return false;
  const uint64_t macs = saturating_product({mac_shape(mac).macs(), mac_batch(extension)});
  if (macs > NPU_COMMAND_MAX_MACS)
    return v.fail("the command has %llu multiply-accumulates, more than 2^36",
                  static_cast<unsigned long long>(macs));
  if (!(mac.flags & NPU_MAC_BIAS) ? !v.zero("bias", mac.bias) : !v.aligned("bias", mac.bias, 4))
    return false;
  return check_accumulate(mac, target, v) && check_weights(mac, extension, v) &&
         v.zero_point("input_zero", mac.input_zero, NPU_TYPE_AT(mac.types, kInput)) &&
         v.tensor("input", mac.input, mac.in_h, mac.in_w, mac.in_c, NPU_TYPE_AT(mac.types, kInput),
                  false) &&
         check_requantization(mac, v) && check_extension(mac, extension, v) &&
         check_output(mac, extension, v);
}

}  // namespace npu::arch
