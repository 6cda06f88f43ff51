// SPDX-License-Identifier: MIT
//
// Convolutions and products. For each output tile: LOADs of what its slots do
// not hold, one MAC command per piece of the sum, a STORE. Slots decide what
// overlaps; the emitter finds the waits.
#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <memory>

#include "arch/numerics.h"
#include "compiler/emit/lower.h"
#include "compiler/emit/mac_constants.h"
#include "compiler/emit/slots.h"
#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

// Input rows (or columns) that a range of outputs and kernel taps needs.
struct Reach {
  int64_t begin, end;  // inside the input; empty if begin >= end
  int64_t pad;         // taps before `begin`
};

Reach reach(const Window& w, int i, int64_t size, int64_t out0, int64_t out1, int64_t tap0,
            int64_t tap1) {
  const int64_t first = out0 * w.stride[i] - w.pad_before[i] + tap0 * w.dilation[i];
  const int64_t last = (out1 - 1) * w.stride[i] - w.pad_before[i] + (tap1 - 1) * w.dilation[i];
  Reach r;
  r.begin = std::max<int64_t>(0, first);
  r.end = std::min(size, last + 1);
  r.pad = r.begin - first;
  return r;
}

class MacLowering final : public LayerLowering {
 public:
  MacLowering(const MacLayer& layer, const MacPlan& plan, const WorkMemory& memory,
              const npu_target& target, Constants& constants, Emitter& emitter)
      : layer_(layer),
        op_(*layer.op),
        plan_(plan),
        target_(target),
        constants_(constants),
        emitter_(emitter),
        split_(plan.splits_sum(layer)),
        tables_(memory.constants),
        places_(std::make_shared<WeightPlaces>(tables_ + plan.table_bytes, plan)),
        inputs_(memory.data, plan.input_bytes, plan.input_slots),
        outputs_(inputs_.end(), plan.output_bytes, plan.output_slots),
        residuals_(outputs_.end(), plan.residual_bytes, plan.output_slots),
        channels_(channel_tiles(layer_, plan_)),
        steps_(sum_steps(layer_, plan_)) {}

  size_t pieces(int64_t begin_row, int64_t end_row) override {
    row_end_ = std::min(end_row * layer_.pool(0), layer_.used_h());
    pieces_.clear();
    for_each_outer(layer_.outer, [&](int64_t number, const OuterDim& shift) {
      const auto for_each_space = [&](auto&& body) {
        for (int64_t h = begin_row * layer_.pool(0); h < row_end_; h += plan_.tile_h)
          for (int64_t w = 0; w < layer_.used_w(); w += plan_.tile_w) body(h, w);
      };
      if (plan_.channels_outer) {
        for (size_t c = 0; c < channels_.size(); ++c)
          for_each_space([&](int64_t h, int64_t w) {
            pieces_.push_back({number, shift, c, h, w});
          });
      } else {
        for_each_space([&](int64_t h, int64_t w) {
          for (size_t c = 0; c < channels_.size(); ++c) pieces_.push_back({number, shift, c, h, w});
        });
      }
    });
    return pieces_.size();
  }

  void emit_piece(size_t index) override {
    begin();
    const Piece& piece = pieces_[index];
    repeat_ = piece.repeat;
    shift_ = piece.shift;
    tile(piece.channel, piece.h, piece.w);
  }

  void prefetch(uint64_t cycles) override {
    begin();
    if (layer_.dynamic) return;
    const size_t most = std::min<size_t>(channels_.size() * steps_.size(), plan_.weight_slots);
    for (uint64_t loading = 0; prefetched_ < most && loading < cycles; ++prefetched_) {
      weight_slot(prefetched_ / steps_.size(), prefetched_ % steps_.size());
      loading += channel_cycles(plan_.weight_bytes, NPU_REGION_CONSTANTS, target_);
    }
  }

  void share_weights(LayerLowering& other, unsigned cores) override {
    if (layer_.dynamic) return;  // each has its own
    // Of the same layer.
    places_ = static_cast<MacLowering&>(other).places_;
    places_->cores = cores;
  }

 private:
  struct Piece {
    int64_t repeat;
    OuterDim shift;
    size_t channel;
    int64_t h, w;
  };

  void begin() {
    if (begun_) return;
    begun_ = true;
    generation_ = emitter_.generation();
    load_tables();
  }

  void load_tables() {
    if (plan_.table_bytes == 0) return;
    if (table_offset_ == ~uint64_t{0}) {
      std::vector<uint8_t> bytes;
      if (op_.chain.lut1) bytes.insert(bytes.end(), op_.chain.lut1->begin(), op_.chain.lut1->end());
      if (op_.chain.lut2) bytes.insert(bytes.end(), op_.chain.lut2->begin(), op_.chain.lut2->end());
      table_offset_ = constants_.add(bytes);
    }
    emitter_.emit(linear_load(NPU_REGION_CONSTANTS, table_offset_, plan_.table_bytes, tables_));
  }

  // Everything in SRAM was lost: another job has begun.
  void after_checkpoint() {
    if (emitter_.generation() == generation_) return;
    generation_ = emitter_.generation();
    load_tables();
  }

  void tile(size_t channel, int64_t h, int64_t w) {
    emitter_.checkpoint();
    after_checkpoint();
    const ChannelTile& channels = channels_[channel];
    const int64_t h_end = std::min(row_end_, h + plan_.tile_h);
    const int64_t w_end = std::min(layer_.used_w(), w + plan_.tile_w);
    const int64_t width = channels.end - channels.begin;

    std::vector<size_t> active;
    for (size_t s = 0; s < steps_.size(); ++s) {
      const Reach rows = reach(op_.window, 0, layer_.in_h, h, h_end, steps_[s].ky0, steps_[s].ky1);
      const Reach columns =
          reach(op_.window, 1, layer_.in_w, w, w_end, steps_[s].kx0, steps_[s].kx1);
      // A piece of the sum that sees only padding adds nothing.
      if (rows.begin < rows.end && columns.begin < columns.end) active.push_back(s);
    }
    if (active.empty()) active.push_back(0);

    uint32_t parameters = 0;
    if (split_ && plan_.parameter_bytes > 0) parameters = parameter_slot(channel);
    const uint32_t residual =
        op_.chain.residual && !layer_.residual.direct() ? residuals_.next() : 0;
    const uint32_t output = layer_.output.direct() ? 0 : outputs_.next();
    for (size_t i = 0; i < active.size(); ++i) {
      step(channel, active[i], h, h_end, w, w_end, i == 0, i + 1 == active.size(), parameters,
           residual, output);
    }
    bank_ = 1 - bank_;
    if (layer_.output.direct()) return;
    const int64_t ph = layer_.pool(0), pw = layer_.pool(1);
    emitter_.emit(put(shifted(layer_.output, shift_.output), {h / ph, w / pw, channels.begin},
                      {(h_end - h) / ph, (w_end - w) / pw, width}, output));
  }

  void step(size_t channel, size_t index, int64_t h, int64_t h_end, int64_t w, int64_t w_end,
            bool first, bool last, uint32_t parameters, uint32_t residual, uint32_t output) {
    const ChannelTile& channels = channels_[channel];
    const SumStep& step = steps_[index];
    const int64_t width = channels.end - channels.begin;
    Reach rows = reach(op_.window, 0, layer_.in_h, h, h_end, step.ky0, step.ky1);
    Reach columns = reach(op_.window, 1, layer_.in_w, w, w_end, step.kx0, step.kx1);
    // Input channels of this piece.
    int64_t c0 = channels.in_begin, c1 = channels.in_end;
    if (!layer_.depthwise && channels.groups == 1) {
      c1 = c0 + step.c1;
      c0 += step.c0;
    }
    const bool empty = rows.begin >= rows.end || columns.begin >= columns.end;
    // First what depends on no earlier layer: it may be loaded while that runs.
    const uint32_t weights = layer_.direct_weights() ? 0 : weight_slot(channel, index);
    npu_sram_tensor input = {};
    if (empty) {
      // Only padding: one pixel of zero points, which adds nothing wherever it is read.
      rows = {0, 1, 0};
      columns = {0, 1, 0};
      input.address = inputs_.next();
      npu_command_dma fill = linear_load(0, 0, static_cast<uint32_t>(c1 - c0), input.address);
      fill.header.opcode = NPU_OP_FILL;
      std::fill(std::begin(fill.external_stride), std::end(fill.external_stride), 0);
      fill.pad_value = static_cast<uint8_t>(op_.input_zero);
      emitter_.emit(fill);
    } else if (layer_.input.direct()) {
      input = sram_view(shifted(layer_.input, shift_.input), {rows.begin, columns.begin, c0});
    } else {
      const SlotPool::Place place = inputs_.acquire(
          {repeat_ * 2, h * layer_.out_w + w, c0, static_cast<int64_t>(index)}, generation_);
      input.address = place.address;
      if (!place.present) {
        emitter_.emit(fetch(shifted(layer_.input, shift_.input), {rows.begin, columns.begin, c0},
                            {rows.end - rows.begin, columns.end - columns.begin, c1 - c0},
                            place.address));
      }
    }
    if (empty || !layer_.input.direct()) {
      input.pixel_stride = static_cast<uint32_t>(c1 - c0);
      input.row_stride = static_cast<uint32_t>((columns.end - columns.begin) * (c1 - c0));
    }

    if (last && op_.chain.residual && !layer_.residual.direct()) {
      emitter_.emit(fetch(shifted(layer_.residual, shift_.residual), {h, w, channels.begin},
                          {h_end - h, w_end - w, width}, residual));
    }

    npu_command_mac mac = {};
    npu_mac_extension extension = {};
    bool extended = false;
    mac.header.opcode = op_.matmul         ? NPU_OP_MATMUL
                        : layer_.depthwise ? NPU_OP_DEPTHWISE
                                           : NPU_OP_CONV;
    const uint32_t in_h = static_cast<uint32_t>(rows.end - rows.begin);
    const uint32_t in_w = static_cast<uint32_t>(columns.end - columns.begin);
    const uint32_t in_c = static_cast<uint32_t>(c1 - c0);
    mac.input = input;
    mac.in_h = static_cast<uint16_t>(in_h);
    mac.in_w = static_cast<uint16_t>(in_w);
    mac.in_c = static_cast<uint16_t>(in_c);
    mac.out_h = static_cast<uint16_t>(h_end - h);
    mac.out_w = static_cast<uint16_t>(w_end - w);
    mac.out_c = static_cast<uint16_t>(width);
    if (!op_.matmul) {
      mac.kernel_h = static_cast<uint8_t>(step.ky1 - step.ky0);
      mac.kernel_w = static_cast<uint8_t>(step.kx1 - step.kx0);
      mac.stride_y = static_cast<uint8_t>(op_.window.stride[0]);
      mac.stride_x = static_cast<uint8_t>(op_.window.stride[1]);
      mac.dilation_y = static_cast<uint8_t>(op_.window.dilation[0]);
      mac.dilation_x = static_cast<uint8_t>(op_.window.dilation[1]);
      mac.pad_top = static_cast<uint8_t>(rows.pad);
      mac.pad_left = static_cast<uint8_t>(columns.pad);
      mac.groups = static_cast<uint16_t>(layer_.depthwise ? width : channels.groups);
    }
    mac.input_zero = static_cast<int16_t>(op_.input_zero);

    // Weights, and in front of them the parameters if the sum is not split.
    const int64_t parameter_size = parameter_bytes(layer_, width);
    const uint32_t in_front = split_ || layer_.dynamic ? 0 : slot_size(parameter_size);
    if (!split_) parameters = weights;
    mac.weights = weights + in_front;
    const int64_t depth = layer_.depthwise ? 1 : step.c1 - step.c0;
    const int64_t row = (step.ky1 - step.ky0) * (step.kx1 - step.kx0) * depth;
    mac.weight_bytes = static_cast<uint32_t>(row * width);
    mac.weight_stride = static_cast<uint32_t>(row);
    if (layer_.dynamic) second_operand(mac, step, channels);
    uint32_t parameter = parameters;
    if (!op_.bias.empty()) {
      if (first) {
        mac.flags |= NPU_MAC_BIAS;
        mac.bias = parameter;
      }
      parameter += static_cast<uint32_t>(4 * width);
    }
    if (layer_.per_channel_scales()) {
      if (last) {
        mac.flags |= NPU_MAC_SCALE_PER_CHANNEL;
        mac.scales = parameter;
      }
      parameter += static_cast<uint32_t>(4 * width);
    } else if (last) {
      mac.scale_f32 = arch::f32_bits(op_.scales[0]);
    }
    if (layer_.per_channel_zeros()) {
      extension.flags |= NPU_EXT_WEIGHT_ZEROS;
      extension.weight_zeros = parameter;
      extended = true;
    } else {
      mac.weight_zero = static_cast<int16_t>(op_.weight_zeros[0]);
    }

    if (!first) mac.accumulate |= NPU_ACCUMULATE_ADD;
    if (!last) mac.accumulate |= NPU_ACCUMULATE_KEEP;
    if (mac.accumulate != 0) {
      mac.accumulator_base = static_cast<uint16_t>(bank_ == 0 ? 0 : target_.accumulator_rows);
    }
    const npu_data_type out_type = last ? command_type(op_.mac_type) : NPU_TYPE_NONE;
    npu_data_type residual_type = NPU_TYPE_NONE;
    if (last) {
      if (layer_.output.direct()) {
        mac.output = sram_view(shifted(layer_.output, shift_.output),
                               {h / layer_.pool(0), w / layer_.pool(1), channels.begin});
      } else {
        const uint32_t out_w = static_cast<uint32_t>((w_end - w) / layer_.pool(1));
        mac.output = {output, out_w * mac.out_c, mac.out_c, 0, 0};
      }
      mac.output_zero = static_cast<int16_t>(op_.output_zero);
      mac.clamp_low = static_cast<int16_t>(op_.clamp.low);
      mac.clamp_high = static_cast<int16_t>(op_.clamp.high);
      npu_sram_tensor added = {residual, uint32_t{mac.out_w} * mac.out_c, mac.out_c, 0, 0};
      if (op_.chain.residual && layer_.residual.direct())
        added = sram_view(shifted(layer_.residual, shift_.residual), {h, w, channels.begin});
      if (chain(extension, added)) extended = true;
      if (op_.chain.residual) residual_type = command_type(layer_.residual_type);
    }
    mac.types = NPU_TYPES(command_type(layer_.input_type), command_type(op_.weight_type), out_type,
                          residual_type);
    emitter_.emit(mac, extended ? &extension : nullptr);
  }

  // Where a computed second operand lies: [k][n] in its slot, either way on chip.
  void second_operand(npu_command_mac& mac, const SumStep& step,
                      const ChannelTile& channels) const {
    const int64_t depth = step.c1 - step.c0, width = channels.end - channels.begin;
    int64_t stride = width;
    bool rows_of_n = true;
    if (layer_.direct_weights()) {
      const Operand operand = shifted(layer_.weights, shift_.weights);
      mac.weights = sram_view(operand, {0, step.c0, channels.begin}).address;
      rows_of_n =
          operand.stride[2] == 1 && (op_.in_channels == 1 || operand.stride[1] >= op_.out_channels);
      stride = operand.stride[rows_of_n ? 1 : 2];
    }
    const int64_t rows = rows_of_n ? depth : width, row = rows_of_n ? width : depth;
    if (rows_of_n) mac.flags |= NPU_MAC_WEIGHTS_KN;
    mac.weight_stride = static_cast<uint32_t>(stride);
    mac.weight_bytes = static_cast<uint32_t>((rows - 1) * stride + row);
  }

  // The output chain; true if there is one.
  bool chain(npu_mac_extension& extension, const npu_sram_tensor& residual) const {
    const OutputChain& chain = op_.chain;
    uint32_t table = tables_;
    if (chain.lut1) {
      extension.flags |= NPU_EXT_LUT1;
      extension.lut1 = table;
      table += 256;
    }
    if (chain.residual) {
      extension.flags |= NPU_EXT_RESIDUAL;
      if (chain.residual->first) extension.flags |= NPU_EXT_RESIDUAL_FIRST;
      extension.residual = residual;
      extension.ra_f32 = arch::f32_bits(chain.residual->add.ra);
      extension.rb_f32 = arch::f32_bits(chain.residual->add.rb);
      extension.fix_f32 = arch::f32_bits(chain.residual->add.fix);
      extension.residual_low = static_cast<int16_t>(chain.residual->add.clamp.low);
      extension.residual_high = static_cast<int16_t>(chain.residual->add.clamp.high);
    }
    if (chain.lut2) {
      extension.flags |= NPU_EXT_LUT2;
      extension.lut2 = table;
    }
    if (chain.pool) {
      const PoolArithmetic& pool = chain.pool->arithmetic;
      extension.pool_kind = pool.kind == PoolKind::kMax ? NPU_POOL_MAX : NPU_POOL_AVERAGE;
      extension.pool_h = static_cast<uint8_t>(chain.pool->window[0]);
      extension.pool_w = static_cast<uint8_t>(chain.pool->window[1]);
      if (pool.kind == PoolKind::kAverage) {
        extension.pool_in_scale_f32 = arch::f32_bits(pool.in_scale);
        extension.pool_out_scale_f32 = arch::f32_bits(pool.out_scale);
        extension.pool_in_zero = static_cast<int16_t>(pool.in_zero);
        extension.pool_out_zero = static_cast<int16_t>(pool.out_zero);
      }
    }
    return chain.lut1 || chain.residual || chain.lut2 || chain.pool;
  }

  // ---- weights and parameters -----------------------------------------------

  struct Blob {
    uint64_t offset = 0;
    uint32_t bytes = 0;
  };

  // Where weights and parameters lie, outside and in SRAM. Cores with the same work have one.
  struct WeightPlaces {
    WeightPlaces(uint32_t base, const MacPlan& plan)
        : weights(base, plan.weight_bytes, plan.weight_slots),
          parameters(weights.end(), plan.parameter_bytes, 2) {}
    SlotPool weights, parameters;
    unsigned cores = 1;
    std::map<std::pair<size_t, size_t>, Blob> weight_offsets;
    std::map<size_t, Blob> parameter_offsets;
  };

  void load_constants(const Blob& blob, uint32_t address) {
    npu_command_dma load = linear_load(NPU_REGION_CONSTANTS, blob.offset, blob.bytes, address);
    const unsigned all = (1u << places_->cores) - 1;
    if (places_->cores > 1) load.multicast = static_cast<uint16_t>(all & ~(1u << emitter_.core()));
    emitter_.emit(load);
  }

  uint32_t weight_slot(size_t channel, size_t index) {
    const int64_t repeat = layer_.dynamic ? repeat_ : 0;
    const SlotPool::Place place = places_->weights.acquire(
        {static_cast<int64_t>(channel), static_cast<int64_t>(index), repeat, 0}, generation_);
    if (place.present) return place.address;
    const ChannelTile& channels = channels_[channel];
    const SumStep& step = steps_[index];
    if (layer_.dynamic) {
      // Rows are k, columns n: one row of the box per k.
      emitter_.emit(fetch(shifted(layer_.weights, shift_.weights), {0, step.c0, channels.begin},
                          {1, step.c1 - step.c0, channels.end - channels.begin}, place.address));
      return place.address;
    }
    const auto [it, fresh] = places_->weight_offsets.try_emplace({channel, index}, Blob{});
    if (fresh) {
      const int64_t width = channels.end - channels.begin;
      // Parameters stand in front, unless they are loaded once for several pieces.
      const uint32_t parameters = split_ ? 0 : slot_size(parameter_bytes(layer_, width));
      const auto bytes = static_cast<uint32_t>(
          parameters + step_weight_bytes(layer_, width, step.ky1 - step.ky0, step.kx1 - step.kx0,
                                         step.c1 - step.c0));
      const auto make = [constants = MacConstants(layer_), channels, step,
                         parameters](std::vector<uint8_t>& out) {
        const size_t begin = out.size();
        if (parameters > 0) constants.append_parameters(channels, out);
        out.resize(begin + parameters);
        constants.append_weights(channels, step, out);
      };
      it->second = {constants_.add(bytes, make), bytes};
    }
    load_constants(it->second, place.address);
    return place.address;
  }

  uint32_t parameter_slot(size_t channel) {
    const SlotPool::Place place =
        places_->parameters.acquire({static_cast<int64_t>(channel), 0, 0, 0}, generation_);
    if (place.present) return place.address;
    const auto [it, fresh] = places_->parameter_offsets.try_emplace(channel, Blob{});
    if (fresh) {
      const ChannelTile& channels = channels_[channel];
      const auto bytes =
          static_cast<uint32_t>(parameter_bytes(layer_, channels.end - channels.begin));
      const auto make = [constants = MacConstants(layer_), channels](std::vector<uint8_t>& out) {
        constants.append_parameters(channels, out);
      };
      it->second = {constants_.add(bytes, make), bytes};
    }
    load_constants(it->second, place.address);
    return place.address;
  }

  const MacLayer layer_;
  const MacOp& op_;
  const MacPlan plan_;
  const npu_target& target_;
  Constants& constants_;
  Emitter& emitter_;
  const bool split_;
  const uint32_t tables_;
  std::shared_ptr<WeightPlaces> places_;
  SlotPool inputs_, outputs_, residuals_;
  const std::vector<ChannelTile> channels_;
  const std::vector<SumStep> steps_;
  std::vector<Piece> pieces_;
  size_t prefetched_ = 0;  // pieces of weights
  int64_t row_end_ = 0;
  bool begun_ = false;
  uint64_t table_offset_ = ~uint64_t{0};
  uint32_t generation_ = 0;
  int bank_ = 0;
  int64_t repeat_ = 0;
  OuterDim shift_;
};

}  // namespace

std::unique_ptr<LayerLowering> mac_lowering(const MacLayer& layer, const MacPlan& plan,
                                            const WorkMemory& memory, const npu_target& target,
                                            Constants& constants, Emitter& emitter) {
  return std::make_unique<MacLowering>(layer, plan, memory, target, constants, emitter);
}

}  // namespace npu::compiler
