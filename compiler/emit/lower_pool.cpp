// SPDX-License-Identifier: MIT
//
// Pools on the vector unit, tile by tile with their halos.
#include <algorithm>

#include "arch/numerics.h"
#include "compiler/emit/image_tiles.h"
#include "compiler/emit/lower.h"
#include "compiler/emit/slots.h"

namespace npu::compiler {
namespace {

constexpr int64_t kMaxField = 65535;

npu_sram_tensor dense_tensor(uint32_t address, int64_t columns, int64_t channels) {
  return {address, static_cast<uint32_t>(columns * channels), static_cast<uint32_t>(channels), 0,
          0};
}

class PoolLowering final : public UndividedLowering {
 public:
  PoolLowering(const PoolLayer& layer, const VecPlan& plan, const WorkMemory& memory,
               Emitter& emitter)
      : layer_(layer),
        plan_(plan),
        emitter_(emitter),
        inputs_(memory.data, plan.a_bytes, plan.slots),
        outputs_(inputs_.end(), plan.out_bytes, plan.slots) {}

  void emit_rows(int64_t begin, int64_t end) override {
    for_each_outer(layer_.outer, [&](int64_t, const OuterDim& shift) {
      for (int64_t c = 0; c < layer_.channels; c += plan_.tile_c) {
        const int64_t count = ceil_div(end - begin, plan_.tile_h);
        for (int64_t i = 0; i < count; ++i) {
          // What is above the first tile comes from another core, which makes it last.
          const int64_t h = begin + (begin == 0 ? i : (i + 1) % count) * plan_.tile_h;
          for (int64_t w = 0; w < layer_.out_w; w += plan_.tile_w) {
            tile(shift, {h, w, c},
                 {std::min(plan_.tile_h, end - h), std::min(plan_.tile_w, layer_.out_w - w),
                  std::min(plan_.tile_c, layer_.channels - c)});
          }
        }
      }
    });
  }

 private:
  void tile(const OuterDim& shift, const Extent& at, const Extent& size) {
    emitter_.checkpoint();
    const Window& window = layer_.op.window;
    const PoolArithmetic& arithmetic = layer_.op.arithmetic;
    const int64_t whole[2] = {layer_.in_h, layer_.in_w};
    int64_t begin[2], end[2], pad[2];
    for (size_t i = 0; i < 2; ++i) {
      const int64_t first = at[i] * window.stride[i] - window.pad_before[i];
      const int64_t last = first + (size[i] - 1) * window.stride[i] + window.kernel[i];
      begin[i] = std::max<int64_t>(0, first);
      end[i] = std::min(whole[i], last);
      pad[i] = begin[i] - first;
    }
    npu_command_vec vec = {};
    const bool average = arithmetic.kind == PoolKind::kAverage;
    vec.function = average ? NPU_VEC_POOL_AVERAGE : NPU_VEC_POOL_MAX;
    vec.types = NPU_TYPES(command_type(layer_.input_type), 0, command_type(layer_.output_type), 0);
    vec.in_h = static_cast<uint16_t>(end[0] - begin[0]);
    vec.in_w = static_cast<uint16_t>(end[1] - begin[1]);
    vec.channels = static_cast<uint16_t>(size[2]);
    vec.out_h = static_cast<uint16_t>(size[0]);
    vec.out_w = static_cast<uint16_t>(size[1]);
    if (layer_.input.direct()) {
      vec.a = sram_view(shifted(layer_.input, shift.input), {begin[0], begin[1], at[2]});
    } else {
      vec.a = dense_tensor(inputs_.next(), vec.in_w, size[2]);
      emitter_.emit(fetch(shifted(layer_.input, shift.input), {begin[0], begin[1], at[2]},
                          {end[0] - begin[0], end[1] - begin[1], size[2]}, vec.a.address));
    }
    vec.out = layer_.output.direct() ? sram_view(shifted(layer_.output, shift.output), at)
                                     : dense_tensor(outputs_.next(), size[1], size[2]);
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
    emitter_.emit(vec);
    if (!layer_.output.direct())
      emitter_.emit(put(shifted(layer_.output, shift.output), at, size, vec.out.address));
  }

  const PoolLayer layer_;
  const VecPlan plan_;
  Emitter& emitter_;
  SlotPool inputs_, outputs_;
};

class GlobalLowering final : public UndividedLowering {
 public:
  GlobalLowering(const GlobalLayer& layer, const VecPlan& plan, const WorkMemory& memory,
                 Emitter& emitter)
      : layer_(layer),
        plan_(plan),
        emitter_(emitter),
        inputs_(memory.data, plan.a_bytes, plan.slots),
        outputs_(inputs_.end(), plan.out_bytes, plan.slots) {}

  void emit_rows(int64_t, int64_t) override {
    for_each_outer(layer_.outer, [&](int64_t, const OuterDim& shift) {
      for (int64_t at = 0; at < layer_.channels; at += plan_.tile_c) {
        emitter_.checkpoint();
        const int64_t size = std::min(plan_.tile_c, layer_.channels - at);
        npu_command_vec vec = {};
        vec.function = NPU_VEC_POOL_GLOBAL;
        vec.types =
            NPU_TYPES(command_type(layer_.input_type), 0, command_type(layer_.output_type), 0);
        vec.in_h = static_cast<uint16_t>(layer_.in_h);
        vec.in_w = static_cast<uint16_t>(layer_.in_w);
        vec.channels = static_cast<uint16_t>(size);
        vec.out_h = vec.out_w = 1;
        if (layer_.input.direct()) {
          vec.a = sram_view(shifted(layer_.input, shift.input), {0, 0, at});
        } else {
          vec.a = dense_tensor(inputs_.next(), layer_.in_w, size);
          emitter_.emit(fetch(shifted(layer_.input, shift.input), {0, 0, at},
                              {layer_.in_h, layer_.in_w, size}, vec.a.address));
        }
        if (layer_.output.direct()) {
          vec.out = dense_tensor(
              sram_view(shifted(layer_.output, shift.output), {0, 0, at}).address, 1, size);
        } else {
          vec.out = dense_tensor(outputs_.next(), 1, size);
        }
        vec.p0_f32 = arch::f32_bits(layer_.op.scale);
        vec.a_zero = static_cast<int16_t>(layer_.op.in_zero);
        vec.out_zero = static_cast<int16_t>(layer_.op.out_zero);
        vec.low = static_cast<int16_t>(layer_.op.clamp.low);
        vec.high = static_cast<int16_t>(layer_.op.clamp.high);
        emitter_.emit(vec);
        if (!layer_.output.direct())
          emitter_.emit(
              put(shifted(layer_.output, shift.output), {0, 0, at}, {1, 1, size}, vec.out.address));
      }
    });
  }

 private:
  const GlobalLayer layer_;
  const VecPlan plan_;
  Emitter& emitter_;
  SlotPool inputs_, outputs_;
};

}  // namespace

std::optional<VecPlan> plan_pool(const PoolLayer& layer, const npu_target& target,
                                 uint32_t sram_bytes, std::string& error) {
  const Window& window = layer.op.window;
  const int64_t outputs = layer.out_h * layer.out_w * layer.channels;
  return plan_image(
      {.out = {layer.out_h, layer.out_w, layer.channels},
       .input = layer.input,
       .output = layer.output,
       .outer = layer.outer,
       .operations = static_cast<uint64_t>(outputs * window.kernel[0] * window.kernel[1]),
       .rows_at_once = layer.stripe_rows,
       .reach =
           [&](int axis, int64_t count) {
             const int64_t whole = axis == 0 ? layer.in_h : layer.in_w;
             return std::min(whole, (count - 1) * window.stride[axis] + window.kernel[axis]);
           }},
      target, sram_bytes, error);
}

std::unique_ptr<LayerLowering> pool_lowering(const PoolLayer& layer, const VecPlan& plan,
                                             const WorkMemory& memory, Emitter& emitter) {
  return std::make_unique<PoolLowering>(layer, plan, memory, emitter);
}

std::optional<VecPlan> plan_global(const GlobalLayer& layer, const npu_target& target,
                                   uint32_t sram_bytes) {
  const int64_t pixels = layer.in_h * layer.in_w;
  if (layer.in_h > kMaxField || layer.in_w > kMaxField || pixels > (1 << 23) - 1)
    return std::nullopt;
  VecPlan plan;
  // Two tiles at once if more than a pass of channels fits that way.
  for (const uint32_t slots : {2u, 1u}) {
    int64_t c = layer.channels;
    const auto need = [&] {
      return int64_t{slots} * (int64_t{slot_size(layer.input.direct() ? 0 : pixels * c)} +
                               int64_t{slot_size(layer.output.direct() ? 0 : c)});
    };
    while (c > 1 && (need() > sram_bytes || c > kMaxField)) c = ceil_div(c, 2);
    if (need() > sram_bytes) continue;
    plan.tile_c = c;
    plan.slots = slots;
    plan.a_bytes = slot_size(layer.input.direct() ? 0 : pixels * c);
    plan.out_bytes = slot_size(layer.output.direct() ? 0 : c);
    plan.estimate.engine = static_cast<uint64_t>(pixels * layer.channels / target.mac_outputs);
    if (!layer.input.direct())
      plan.estimate.memory = channel_cycles(static_cast<uint64_t>(pixels * layer.channels),
                                            layer.input.region, target);
    plan.estimate.serial = c == layer.channels ? plan.estimate.memory : 0;
    return plan;
  }
  return std::nullopt;
}

std::unique_ptr<LayerLowering> global_lowering(const GlobalLayer& layer, const VecPlan& plan,
                                               const WorkMemory& memory, Emitter& emitter) {
  return std::make_unique<GlobalLowering>(layer, plan, memory, emitter);
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
