// SPDX-License-Identifier: MIT
//
// Pools on the vector unit, tile by tile with their halos.
#include <fmt/format.h>

#include <algorithm>

#include "arch/numerics.h"
#include "compiler/emit/lower.h"
#include "compiler/emit/slots.h"

namespace npu::compiler {
namespace {

constexpr int64_t kMaxField = 65535;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

struct Tile {
  int64_t h, w, c;
  int64_t in_h, in_w;
  uint32_t slots;
};

int64_t input_extent(const PoolLayer& layer, int i, int64_t out) {
  const int64_t whole = i == 0 ? layer.in_h : layer.in_w;
  return std::min(whole, (out - 1) * layer.op.window.stride[i] + layer.op.window.kernel[i]);
}

// The largest tile that fits with two places each, else with one: whole rows
// and channels as long as possible, and a few tiles rather than one, so that
// loading overlaps.
std::optional<Tile> choose_tile(const PoolLayer& layer, const npu_target& target, int64_t& need) {
  const auto bytes = [&](int64_t h, int64_t w, int64_t c) {
    return int64_t{slot_size(input_extent(layer, 0, h) * input_extent(layer, 1, w) * c)} +
           slot_size(h * w * c);
  };
  const auto fields = [&](int64_t h, int64_t w, int64_t c) {
    return h <= kMaxField && w <= kMaxField && c <= kMaxField &&
           input_extent(layer, 0, h) <= kMaxField && input_extent(layer, 1, w) <= kMaxField;
  };
  for (const int64_t slots : {2, 1}) {
    const int64_t budget = target.sram_bytes / slots;
    int64_t h = std::max<int64_t>(1, ceil_div(layer.out_h, 4)), w = layer.out_w, c = layer.channels;
    while (bytes(h, w, c) > budget || !fields(h, w, c)) {
      if (h > 1) {
        h = ceil_div(h, 2);
      } else if (c > target.mac_outputs) {
        c = ceil_div(c, 2);
      } else if (w > 1) {
        w = ceil_div(w, 2);
      } else if (c > 1) {
        c = ceil_div(c, 2);
      } else {
        break;
      }
    }
    if (bytes(h, w, c) <= budget && fields(h, w, c)) {
      return Tile{h,
                  w,
                  c,
                  input_extent(layer, 0, h),
                  input_extent(layer, 1, w),
                  static_cast<uint32_t>(slots)};
    }
  }
  need = bytes(1, 1, 1);
  return std::nullopt;
}

}  // namespace

bool lower_pool(const PoolLayer& layer, const npu_target& target, Emitter& emitter,
                std::string& error) {
  int64_t need = 0;
  const std::optional<Tile> tile = choose_tile(layer, target, need);
  if (!tile) {
    error = fmt::format("one window needs {} bytes of SRAM", need);
    return false;
  }
  const uint32_t in_bytes = slot_size(tile->in_h * tile->in_w * tile->c);
  const uint32_t out_bytes = slot_size(tile->h * tile->w * tile->c);
  const uint32_t base = emitter.take_sram((in_bytes + out_bytes) * tile->slots);
  SlotPool inputs(base, in_bytes, tile->slots);
  SlotPool outputs(base + in_bytes * tile->slots, out_bytes, tile->slots);
  const Window& window = layer.op.window;
  const PoolArithmetic& arithmetic = layer.op.arithmetic;

  for_each_outer(layer.outer, [&](int64_t, const OuterDim& shift) {
    for (int64_t c = 0; c < layer.channels; c += tile->c) {
      for (int64_t h = 0; h < layer.out_h; h += tile->h) {
        for (int64_t w = 0; w < layer.out_w; w += tile->w) {
          emitter.checkpoint();
          const int64_t c_size = std::min(tile->c, layer.channels - c);
          const int64_t size[2] = {std::min(tile->h, layer.out_h - h),
                                   std::min(tile->w, layer.out_w - w)};
          const int64_t start[2] = {h, w};
          const int64_t whole[2] = {layer.in_h, layer.in_w};
          int64_t begin[2], end[2], pad[2];
          for (int i = 0; i < 2; ++i) {
            const int64_t first = start[i] * window.stride[i] - window.pad_before[i];
            const int64_t last = first + (size[i] - 1) * window.stride[i] + window.kernel[i];
            begin[i] = std::max<int64_t>(0, first);
            end[i] = std::min(whole[i], last);
            pad[i] = begin[i] - first;
          }
          const uint32_t input = inputs.next(), output = outputs.next();
          emitter.emit(box_transfer(NPU_OP_LOAD, shifted(layer.input, shift.input),
                                    {begin[0], begin[1], c},
                                    {end[0] - begin[0], end[1] - begin[1], c_size}, input));
          npu_command_vec vec = {};
          const bool average = arithmetic.kind == PoolKind::kAverage;
          vec.function = average ? NPU_VEC_POOL_AVERAGE : NPU_VEC_POOL_MAX;
          vec.types =
              NPU_TYPES(command_type(layer.input_type), 0, command_type(layer.output_type), 0);
          vec.in_h = static_cast<uint16_t>(end[0] - begin[0]);
          vec.in_w = static_cast<uint16_t>(end[1] - begin[1]);
          vec.channels = static_cast<uint16_t>(c_size);
          vec.out_h = static_cast<uint16_t>(size[0]);
          vec.out_w = static_cast<uint16_t>(size[1]);
          vec.a = {input, uint32_t{vec.in_w} * vec.channels, vec.channels, 0, 0};
          vec.out = {output, uint32_t{vec.out_w} * vec.channels, vec.channels, 0, 0};
          vec.kernel_h = static_cast<uint8_t>(window.kernel[0]);
          vec.kernel_w = static_cast<uint8_t>(window.kernel[1]);
          vec.stride_y = static_cast<uint8_t>(window.stride[0]);
          vec.stride_x = static_cast<uint8_t>(window.stride[1]);
          vec.pad_top = static_cast<uint8_t>(pad[0]);
          vec.pad_left = static_cast<uint8_t>(pad[1]);
          if (average) {
            if (arithmetic.count_pads) vec.flags |= NPU_VEC_COUNT_PAD;
            vec.p0_f32 = arch::f32_bits(arithmetic.in_scale);
            vec.p1_f32 = arch::f32_bits(arithmetic.out_scale);
            vec.a_zero = static_cast<int16_t>(arithmetic.in_zero);
            vec.out_zero = static_cast<int16_t>(arithmetic.out_zero);
            vec.low = static_cast<int16_t>(arithmetic.clamp.low);
            vec.high = static_cast<int16_t>(arithmetic.clamp.high);
          }
          emitter.emit(vec);
          emitter.emit(box_transfer(NPU_OP_STORE, shifted(layer.output, shift.output), {h, w, c},
                                    {size[0], size[1], c_size}, output));
        }
      }
    }
  });
  return true;
}

bool lower_global(const GlobalLayer& layer, const npu_target& target, Emitter& emitter) {
  const int64_t pixels = layer.in_h * layer.in_w;
  if (layer.in_h > kMaxField || layer.in_w > kMaxField) return false;
  // Two tiles at once if more than a pass of channels fits that way.
  int64_t c = layer.channels;
  uint32_t slots = 2;
  const auto bytes = [&] { return int64_t{slot_size(pixels * c)} + slot_size(c); };
  while (c > 1 && (slots * bytes() > target.sram_bytes || c > kMaxField)) c = ceil_div(c, 2);
  if (slots * bytes() > target.sram_bytes) slots = 1;
  if (bytes() > target.sram_bytes || pixels > (1 << 23) - 1) return false;
  const uint32_t in_bytes = slot_size(pixels * c), out_bytes = slot_size(c);
  const uint32_t base = emitter.take_sram((in_bytes + out_bytes) * slots);
  SlotPool inputs(base, in_bytes, slots);
  SlotPool outputs(base + in_bytes * slots, out_bytes, slots);
  for_each_outer(layer.outer, [&](int64_t, const OuterDim& shift) {
    for (int64_t at = 0; at < layer.channels; at += c) {
      emitter.checkpoint();
      const int64_t size = std::min(c, layer.channels - at);
      const uint32_t input = inputs.next(), output = outputs.next();
      emitter.emit(box_transfer(NPU_OP_LOAD, shifted(layer.input, shift.input), {0, 0, at},
                                {layer.in_h, layer.in_w, size}, input));
      npu_command_vec vec = {};
      vec.function = NPU_VEC_POOL_GLOBAL;
      vec.types = NPU_TYPES(command_type(layer.input_type), 0, command_type(layer.output_type), 0);
      vec.in_h = static_cast<uint16_t>(layer.in_h);
      vec.in_w = static_cast<uint16_t>(layer.in_w);
      vec.channels = static_cast<uint16_t>(size);
      vec.out_h = vec.out_w = 1;
      vec.a = {input, uint32_t{vec.in_w} * vec.channels, vec.channels, 0, 0};
      vec.out = {output, vec.channels, vec.channels, 0, 0};
      vec.p0_f32 = arch::f32_bits(layer.op.scale);
      vec.a_zero = static_cast<int16_t>(layer.op.in_zero);
      vec.out_zero = static_cast<int16_t>(layer.op.out_zero);
      vec.low = static_cast<int16_t>(layer.op.clamp.low);
      vec.high = static_cast<int16_t>(layer.op.clamp.high);
      emitter.emit(vec);
      emitter.emit(box_transfer(NPU_OP_STORE, shifted(layer.output, shift.output), {0, 0, at},
                                {1, 1, size}, output));
    }
  });
  return true;
}

MacOp global_as_depthwise(const GlobalLayer& layer) {
  MacOp mac;
  mac.window.kernel[0] = layer.in_h;
  mac.window.kernel[1] = layer.in_w;
  mac.groups = mac.in_channels = mac.out_channels = layer.channels;
  mac.weight_type = ByteType::kUint8;
  mac.weights.assign(static_cast<size_t>(layer.channels * layer.in_h * layer.in_w), 1);
  mac.weight_zeros = {0};
  mac.scales = {layer.op.scale};
  mac.input_zero = layer.op.in_zero;
  mac.output_zero = layer.op.out_zero;
  mac.clamp = layer.op.clamp;
  mac.mac_type = layer.output_type;
  return mac;
}

}  // namespace npu::compiler
