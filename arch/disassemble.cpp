// SPDX-License-Identifier: MIT
#include "arch/numerics.h"
#include "arch/stream.h"
#include "arch/text.h"
#include "arch/vec_shape.h"

namespace npu::arch {
namespace {

// " name=[address +row_stride,pixel_stride ring first/rows]"
void append_tensor(std::string& line, const char* name, const npu_sram_tensor& tensor,
                   unsigned type) {
  line += format_text(" %s=%s@%#x+%u,%u", name, data_type_name(type), tensor.address,
                      tensor.row_stride, tensor.pixel_stride);
  if (tensor.ring_rows != 0) line += format_text("~%u/%u", tensor.ring_first, tensor.ring_rows);
}

void append_zero(std::string& line, int zero) {
  if (zero != 0) line += format_text("(zero %d)", zero);
}

void append_dma(std::string& line, const npu_command_dma& dma) {
  line += format_text(" %ux%ux%ux%u*%uB", dma.size[3], dma.size[2], dma.size[1], dma.size[0],
                      1u << (dma.element_log2 & 3));
  const bool external = dma.header.opcode == NPU_OP_LOAD || dma.header.opcode == NPU_OP_STORE;
  if (external)
    line += format_text(" region%u+%#llx", dma.region,
                        static_cast<unsigned long long>(dma.external_offset));
  else if (dma.header.opcode != NPU_OP_FILL)
    line += format_text(" source=%#x", dma.source_address);
  if (dma.header.opcode == NPU_OP_PEER_LOAD) line += format_text(" core%u", dma.peer_core);
  if (dma.header.opcode != NPU_OP_FILL)
    line += format_text("(%u,%u,%u,%u)", dma.external_stride[3], dma.external_stride[2],
                        dma.external_stride[1], dma.external_stride[0]);
  line += format_text(" sram=%#x(%u,%u,%u,%u)", dma.sram_address, dma.sram_stride[3],
                      dma.sram_stride[2], dma.sram_stride[1], dma.sram_stride[0]);
  if (dma.ring_rows != 0) line += format_text("~%u/%u", dma.ring_first, dma.ring_rows);
  for (int i = 0; i < 3; ++i)
    if (dma.pad_before[i] != 0 || dma.pad_after[i] != 0)
      line += format_text(" pad%d=%u,%u", i, dma.pad_before[i], dma.pad_after[i]);
  if (dma.pad_value != 0) line += format_text(" value=%#x", dma.pad_value);
  if (dma.multicast != 0) line += format_text(" multicast=%#x", dma.multicast);
}

void append_extension(std::string& line, const npu_command_mac& mac,
                      const npu_mac_extension& extension) {
  if (extension.flags & NPU_EXT_WEIGHT_ZEROS)
    line += format_text(" wzeros@%#x", extension.weight_zeros);
  if (extension.flags & NPU_EXT_LUT1) line += format_text(" lut1@%#x", extension.lut1);
  if (extension.flags & NPU_EXT_RESIDUAL) {
    append_tensor(line, extension.flags & NPU_EXT_RESIDUAL_FIRST ? "residual(a)" : "residual",
                  extension.residual, NPU_TYPE_AT(mac.types, 3));
    line += format_text("*%.9g,%.9g+%.9g clamp=%d..%d", f32_from_bits(extension.ra_f32),
                        f32_from_bits(extension.rb_f32), f32_from_bits(extension.fix_f32),
                        extension.residual_low, extension.residual_high);
  }
  if (extension.flags & NPU_EXT_LUT2) line += format_text(" lut2@%#x", extension.lut2);
  if (extension.pool_kind != NPU_POOL_NONE)
    line += format_text(" %spool=%ux%u", extension.pool_kind == NPU_POOL_MAX ? "max" : "average",
                        extension.pool_h, extension.pool_w);
  if (extension.pool_kind == NPU_POOL_AVERAGE)
    line += format_text("*%.9g/%.9g zero=%d,%d", f32_from_bits(extension.pool_in_scale_f32),
                        f32_from_bits(extension.pool_out_scale_f32), extension.pool_in_zero,
                        extension.pool_out_zero);
  if (extension.batch_count > 1)
    line += format_text(" batch=%u(%u,%u,%u,%u)", extension.batch_count, extension.batch_input,
                        extension.batch_weights, extension.batch_output, extension.batch_residual);
}

void append_mac(std::string& line, const Command& command) {
  const npu_command_mac& mac = command.mac();
  line += format_text(" %ux%ux%u->%ux%ux%u", mac.in_h, mac.in_w, mac.in_c, mac.out_h, mac.out_w,
                      mac.out_c);
  if (mac.header.opcode != NPU_OP_MATMUL) {
    line += format_text(" k%ux%u s%u,%u", mac.kernel_h, mac.kernel_w, mac.stride_y, mac.stride_x);
    if (mac.dilation_y != 1 || mac.dilation_x != 1)
      line += format_text(" d%u,%u", mac.dilation_y, mac.dilation_x);
    if (mac.pad_top != 0 || mac.pad_left != 0)
      line += format_text(" p%u,%u", mac.pad_top, mac.pad_left);
    if (mac.header.opcode == NPU_OP_CONV && mac.groups != 1)
      line += format_text(" g%u", mac.groups);
  }
  append_tensor(line, "in", mac.input, NPU_TYPE_AT(mac.types, 0));
  append_zero(line, mac.input_zero);
  line += format_text(" w=%s@%#x+%u%s", data_type_name(NPU_TYPE_AT(mac.types, 1)), mac.weights,
                      mac.weight_stride, mac.flags & NPU_MAC_WEIGHTS_KN ? "(kn)" : "");
  append_zero(line, mac.weight_zero);
  if (mac.flags & NPU_MAC_ACTIVATION_STATIONARY) line += " held=in";
  if (mac.flags & NPU_MAC_BIAS) line += format_text(" bias@%#x", mac.bias);
  if (mac.accumulate != 0)
    line += format_text(" acc%s%s@%u", mac.accumulate & NPU_ACCUMULATE_ADD ? "+add" : "",
                        mac.accumulate & NPU_ACCUMULATE_KEEP ? "+keep" : "", mac.accumulator_base);
  if (!(mac.accumulate & NPU_ACCUMULATE_KEEP)) {
    append_tensor(line, "out", mac.output, NPU_TYPE_AT(mac.types, 2));
    if (mac.flags & NPU_MAC_SCALE_PER_CHANNEL)
      line += format_text(" *@%#x", mac.scales);
    else if (mac.scale_f32 != 0)
      line += format_text(" *%.9g", f32_from_bits(mac.scale_f32));
    if (mac.clamp_low != 0 || mac.clamp_high != 0) {
      append_zero(line, mac.output_zero);
      line += format_text(" clamp=%d..%d", mac.clamp_low, mac.clamp_high);
    }
  }
  append_extension(line, mac, command.extension());
}

// What a flag makes of a VEC function, as a suffix of its name.
void append_vec_flags(std::string& line, unsigned flags) {
  static constexpr struct {
    unsigned flag;
    const char* name;
  } kNames[] = {{NPU_VEC_COUNT_PAD, ".count_pad"},      {NPU_VEC_BROADCAST_B, ".broadcast"},
                {NPU_VEC_SOFTMAX_FP32, ".fp32"},        {NPU_VEC_REDUCE_MAX, ".max"},
                {NPU_VEC_REDUCE_CHANNELS, ".channels"}, {NPU_VEC_RESIZE_LINEAR, ".linear"},
                {NPU_VEC_RESIZE_TRUNCATE, ".truncate"}};
  for (const auto& known : kNames)
    if (flags & known.flag) line += known.name;
}

void append_vec(std::string& line, const npu_command_vec& vec) {
  line += format_text(".%s", vec_function_name(vec.function));
  append_vec_flags(line, vec.flags);
  line += format_text(" %ux%ux%u->%ux%ux%u", vec.in_h, vec.in_w, vec.channels, vec.out_h, vec.out_w,
                      vec_out_channels(vec));
  if (vec.kernel_h != 0)
    line += format_text(" k%ux%u s%u,%u p%u,%u", vec.kernel_h, vec.kernel_w, vec.stride_y,
                        vec.stride_x, vec.pad_top, vec.pad_left);
  append_tensor(line, "a", vec.a, NPU_TYPE_AT(vec.types, 0));
  if (NPU_TYPE_AT(vec.types, 1) != NPU_TYPE_NONE)
    append_tensor(line, vec.flags & NPU_VEC_BROADCAST_B ? "b(pixel)" : "b", vec.b,
                  NPU_TYPE_AT(vec.types, 1));
  append_tensor(line, "out", vec.out, NPU_TYPE_AT(vec.types, 2));
  if (vec_table_bytes(vec) != 0) line += format_text(" table@%#x", vec.table);
  const uint32_t parameters[] = {vec.p0_f32, vec.p1_f32, vec.p2_f32};
  for (int i = 0; i < 3; ++i)
    if (parameters[i] != 0) line += format_text(" p%d=%.9g", i, f32_from_bits(parameters[i]));
  if (vec.epsilon_f32 != 0) line += format_text(" epsilon=%.9g", f32_from_bits(vec.epsilon_f32));
  if (vec.low != 0 || vec.high != 0)
    line += format_text(" zero=%d,%d,%d clamp=%d..%d", vec.a_zero, vec.b_zero, vec.out_zero,
                        vec.low, vec.high);
}

}  // namespace

std::string disassemble(const Command& command) {
  const npu_command_header& header = command.header();
  std::string line = opcode_name(header.opcode);
  switch (command.engine()) {
    case NPU_ENGINE_LOAD:
    case NPU_ENGINE_STORE:
      append_dma(line, command.dma());
      break;
    case NPU_ENGINE_MAC:
      append_mac(line, command);
      break;
    case NPU_ENGINE_VEC:
      append_vec(line, command.vec());
      break;
    default:
      if (command.opcode() == NPU_OP_YIELD)
        for (uint32_t i = 0; i < command.yield().range_count && i < NPU_YIELD_RANGES; ++i)
          line += format_text(" %#x+%u", command.yield().live[i].address,
                              command.yield().live[i].bytes);
      break;
  }
  for (const uint32_t wait : header.wait)
    if (wait != 0)
      line +=
          format_text(" wait(core%u.%s>=%u)", wait >> NPU_WAIT_CORE_SHIFT & 0xf,
                      engine_name(wait >> NPU_WAIT_ENGINE_SHIFT & 0xf), wait & NPU_WAIT_COUNT_MASK);
  return line;
}

}  // namespace npu::arch
