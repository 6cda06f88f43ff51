// SPDX-License-Identifier: MIT
#include "compiler/schedule/mac_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "arch/timing.h"
#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

constexpr int64_t kMaxField = 65535;
constexpr int64_t kMaxSteps = 2048;  // keeps the commands between two checkpoints few
constexpr uint32_t kMaxSlots = 64;

// Output pixels per column, input extents of an output extent and kernel piece.
int64_t input_extent(const MacLayer& layer, int i, int64_t out, int64_t taps) {
  const Window& w = layer.op->window;
  const int64_t whole = i == 0 ? layer.in_h : layer.in_w;
  return std::min(whole, (out - 1) * w.stride[i] + (taps - 1) * w.dilation[i] + 1);
}

// size, size/2, ... 1, in multiples of `unit` (at least one unit).
std::vector<int64_t> halvings(int64_t size, int64_t unit, size_t limit = SIZE_MAX) {
  std::vector<int64_t> out;
  for (int64_t pieces = 1; out.size() < limit; pieces *= 2) {
    const int64_t piece = std::min(size, ceil_div(ceil_div(size, pieces), unit) * unit);
    if (out.empty() || piece < out.back()) out.push_back(piece);
    if (piece <= unit || pieces > size) break;
  }
  return out;
}

// Extents of a piece of a kernel: all of it or one tap of a usual kernel, any
// halving of a larger one, within what a command can say.
std::vector<int64_t> kernel_pieces(int64_t kernel) {
  std::vector<int64_t> out = kernel <= 7 ? std::vector<int64_t>{kernel} : halvings(kernel, 1, 16);
  if (out.back() != 1) out.push_back(1);
  std::erase_if(out, [](int64_t piece) { return piece > 255; });
  return out;
}

// Cycles of one MAC command of this size.
uint64_t command_cycles(const MacLayer& layer, int64_t h, int64_t w, int64_t c, int64_t kh,
                        int64_t kw, int64_t kc, bool split, const npu_target& target) {
  arch::Command command;
  std::memset(command.records, 0, sizeof(command.records));
  npu_command_mac mac = {};
  mac.header.records = 1;
  mac.header.engine = NPU_ENGINE_MAC;
  const int64_t group_outputs = layer.group_outputs();
  const int64_t groups = layer.depthwise ? c : std::max<int64_t>(1, c / group_outputs);
  mac.header.opcode = layer.op->matmul  ? NPU_OP_MATMUL
                      : layer.depthwise ? NPU_OP_DEPTHWISE
                                        : NPU_OP_CONV;
  mac.types = NPU_TYPES(command_type(layer.input_type), command_type(layer.op->weight_type),
                        command_type(layer.op->mac_type), 0);
  mac.out_h = static_cast<uint16_t>(h);
  mac.out_w = static_cast<uint16_t>(w);
  mac.out_c = static_cast<uint16_t>(c);
  mac.in_h = static_cast<uint16_t>(std::min(kMaxField, input_extent(layer, 0, h, kh)));
  mac.in_w = static_cast<uint16_t>(std::min(kMaxField, input_extent(layer, 1, w, kw)));
  mac.in_c = static_cast<uint16_t>(layer.depthwise ? c : groups * kc);
  mac.input.pixel_stride =
      layer.input.direct() ? static_cast<uint32_t>(layer.input.stride[1]) : mac.in_c;
  mac.input.row_stride = uint32_t{mac.in_w} * mac.input.pixel_stride;
  mac.output.pixel_stride = mac.out_c;
  mac.output.row_stride = uint32_t{mac.out_w} * mac.out_c;
  mac.kernel_h = static_cast<uint8_t>(kh);
  mac.kernel_w = static_cast<uint8_t>(kw);
  mac.stride_y = static_cast<uint8_t>(layer.op->window.stride[0]);
  mac.stride_x = static_cast<uint8_t>(layer.op->window.stride[1]);
  mac.dilation_y = static_cast<uint8_t>(layer.op->window.dilation[0]);
  mac.dilation_x = static_cast<uint8_t>(layer.op->window.dilation[1]);
  mac.groups = static_cast<uint16_t>(layer.depthwise ? c : groups);
  if (split) mac.accumulate = NPU_ACCUMULATE_KEEP;
  std::memcpy(command.records, &mac, sizeof(mac));
  const uint64_t preload =
      uint64_t{target.mac_outputs} * target.mac_inputs / std::max(1u, target.sram_word_bytes);
  return arch::mac_stage_cycles(command, target) + target.decode_cycles + preload +
         target.pipeline_cycles;
}

class Search {
 public:
  Search(const MacLayer& layer, const npu_target& target, uint32_t sram_bytes)
      : layer_(layer), target_(target), sram_(sram_bytes) {}

  std::vector<MacPlan> run(std::string& error) {
    const MacOp& op = *layer_.op;
    const int64_t kernel_h = op.window.kernel[0], kernel_w = op.window.kernel[1];
    const int64_t depth = layer_.depthwise ? 1 : layer_.group_inputs();
    const bool whole_sum_fits_fields = kernel_h <= 255 && kernel_w <= 255 && depth <= kMaxField;
    if (whole_sum_fits_fields) tilings(kernel_h, kernel_w, depth);
    // Splitting the sum costs passes over the output, so it is tried where the
    // rest found nothing, or nothing that fills the array.
    if (poor() && layer_.stripe_rows == 0) {
      for (const int64_t h : kernel_pieces(kernel_h)) {
        for (const int64_t w : kernel_pieces(kernel_w)) {
          for (const int64_t c :
               halvings(depth, std::min<int64_t>(depth, target_.mac_inputs), 12)) {
            if (h == kernel_h && w == kernel_w && c == depth) continue;
            tilings(h, w, c);
          }
        }
      }
      if (plans_.empty()) tilings(1, 1, 1);
    }
    if (plans_.empty()) error = fmt::format("its smallest tile needs {} bytes of SRAM", smallest_);
    return std::move(plans_);
  }

 private:
  bool poor() const {
    if (plans_.empty()) return true;
    const MacPlan& best = plans_.back();
    return best.tile_c < std::min<int64_t>(layer_.channels(), target_.mac_outputs) ||
           best.tile_h * best.tile_w < std::min<int64_t>(16, layer_.used_h() * layer_.used_w());
  }

  // Keeps the plan if none that needs no more SRAM is as fast.
  void offer(const MacPlan& plan) {
    const uint32_t bytes = plan.sram_bytes();
    const uint64_t cycles = plan.estimate.cycles();
    auto it = plans_.begin();
    for (; it != plans_.end() && it->sram_bytes() <= bytes; ++it) {
      if (it->estimate.cycles() <= cycles) return;
    }
    const auto beaten = std::find_if(
        it, plans_.end(), [&](const MacPlan& other) { return other.estimate.cycles() < cycles; });
    it = plans_.erase(it, beaten);
    // Of the same need but slower: the one before.
    if (it != plans_.begin() && std::prev(it)->sram_bytes() == bytes)
      it = plans_.erase(std::prev(it));
    plans_.insert(it, plan);
  }

  std::vector<int64_t> heights() const {
    if (layer_.stripe_rows == 0) return halvings(layer_.used_h(), layer_.pool(0));
    return {std::min(layer_.stripe_rows * layer_.pool(0), layer_.used_h())};
  }

  void tilings(int64_t step_h, int64_t step_w, int64_t step_c) {
    MacPlan plan;
    plan.step_h = step_h;
    plan.step_w = step_w;
    plan.step_c = step_c;
    const bool split = plan.splits_sum(layer_);
    const MacOp& op = *layer_.op;
    const int64_t outputs = target_.mac_outputs;
    // Whole groups, or a part of one group.
    std::vector<int64_t> channels;
    const int64_t group = layer_.group_outputs();
    if (op.groups == 1 || layer_.depthwise) {
      const int64_t all = layer_.channels();
      channels = halvings(all, std::min(outputs, all), 12);
      for (int64_t c = std::min(outputs, all) / 2; c >= 1; c /= 2) channels.push_back(c);
    } else {
      if (!split || step_c == layer_.group_inputs()) {
        for (const int64_t g : halvings(layer_.channels() / group, 1, 12))
          channels.push_back(g * group);
      } else {
        channels.push_back(group);
      }
      for (const int64_t c : halvings(group, 1, 12)) {
        if (c < group) channels.push_back(c);
      }
    }
    const std::vector<int64_t> widths = halvings(layer_.used_w(), layer_.pool(1));
    for (const int64_t c : channels) {
      if (c > kMaxField) continue;
      plan.tile_c = c;
      const auto channel_count = static_cast<int64_t>(channel_tiles(layer_, plan).size());
      for (const int64_t w : widths) {
        if (w > kMaxField || (input_extent(layer_, 1, w, step_w)) > kMaxField) continue;
        // Narrower tiles than the row only where the row alone is too much.
        bool row_fits = false;
        for (const int64_t h : heights()) {
          if (h > kMaxField || input_extent(layer_, 0, h, step_h) > kMaxField) continue;
          plan.tile_h = h;
          plan.tile_w = w;
          if (!fits_machine(plan, split)) continue;
          row_fits |= orders(plan, split, channel_count);
        }
        if (row_fits && w <= 512) break;
      }
    }
  }

  // Limits of one command, SRAM apart.
  bool fits_machine(const MacPlan& plan, bool split) const {
    const int64_t groups =
        layer_.depthwise ? 1 : std::max<int64_t>(1, plan.tile_c / layer_.group_outputs());
    const int64_t per_group = layer_.depthwise ? plan.tile_c : plan.tile_c / groups;
    const int64_t in_channels = layer_.depthwise ? plan.tile_c : groups * plan.step_c;
    if (in_channels > kMaxField) return false;
    const int64_t pixels = plan.tile_h * plan.tile_w;
    if (split &&
        pixels * groups * ceil_div(per_group, target_.mac_outputs) > target_.accumulator_rows) {
      return false;
    }
    if (split && groups > 1 && plan.step_c < layer_.group_inputs()) return false;
    const double macs = static_cast<double>(pixels) * static_cast<double>(plan.tile_c) *
                        static_cast<double>(plan.step_h * plan.step_w * plan.step_c);
    if (macs > static_cast<double>(NPU_COMMAND_MAX_MACS)) return false;
    return steps(plan) <= kMaxSteps;
  }

  int64_t steps(const MacPlan& plan) const {
    const MacOp& op = *layer_.op;
    return ceil_div(op.window.kernel[0], plan.step_h) * ceil_div(op.window.kernel[1], plan.step_w) *
           ceil_div(layer_.depthwise ? 1 : layer_.group_inputs(), plan.step_c);
  }

  // Tries loop orders and slot counts; true if any fits the SRAM.
  bool orders(MacPlan plan, bool split, int64_t channel_count) {
    const MacOp& op = *layer_.op;
    const int64_t rows = input_extent(layer_, 0, plan.tile_h, plan.step_h);
    const int64_t columns = input_extent(layer_, 1, plan.tile_w, plan.step_w);
    const int64_t groups =
        layer_.depthwise ? 1 : std::max<int64_t>(1, plan.tile_c / layer_.group_outputs());
    const int64_t in_channels = layer_.depthwise ? plan.tile_c : groups * plan.step_c;
    const int64_t parameters = parameter_bytes(layer_, plan.tile_c);
    const int64_t weights =
        layer_.direct_weights()
            ? 0
            : step_weight_bytes(layer_, plan.tile_c, plan.step_h, plan.step_w, plan.step_c);
    // What sees padding only reads one pixel of zero points.
    const int64_t in_bytes = !layer_.input.direct()       ? rows * columns * in_channels
                             : layer_.sees_padding_only() ? in_channels
                                                          : 0;
    const int64_t out_pixels = (plan.tile_h / layer_.pool(0)) * (plan.tile_w / layer_.pool(1));
    const int64_t out_bytes = layer_.output.direct() ? 0 : out_pixels * plan.tile_c;
    const int64_t residual_bytes = op.chain.residual && !layer_.residual.direct()
                                       ? plan.tile_h * plan.tile_w * plan.tile_c
                                       : 0;
    if (in_bytes + weights + parameters + out_bytes + residual_bytes > sram_) {
      note_need(in_bytes + weights + parameters + out_bytes + residual_bytes);
      return false;
    }
    plan.input_bytes = slot_size(in_bytes);
    plan.weight_bytes = split ? slot_size(weights) : slot_size(slot_size(parameters) + weights);
    plan.parameter_bytes = split ? slot_size(parameters) : 0;
    plan.output_bytes = slot_size(out_bytes);
    plan.residual_bytes = slot_size(residual_bytes);
    plan.table_bytes = 256u * ((op.chain.lut1 ? 1 : 0) + (op.chain.lut2 ? 1 : 0));

    Counts n;
    n.steps = steps(plan);
    n.space = ceil_div(layer_.used_h(), plan.tile_h) * ceil_div(layer_.used_w(), plan.tile_w);
    n.channels = channel_count;
    for (const OuterDim& dim : layer_.outer) n.repeats *= dim.extent;
    n.inputs = n.space * n.steps * (op.groups == 1 ? 1 : n.channels);
    n.weights = n.channels * n.steps;
    const uint64_t mac = array_cycles(plan, split, n);
    bool any = false;
    for (const bool channels_outer : {true, false}) {
      if (!channels_outer && n.channels == 1) continue;
      for (const int64_t inputs : {int64_t{1}, int64_t{2}, n.inputs}) {
        if (inputs > kMaxSlots || inputs > n.inputs * n.repeats) continue;
        if (in_bytes == 0 && inputs > 1) continue;
        for (const int64_t weight_slots : {int64_t{1}, int64_t{2}, n.weights}) {
          if (weights == 0 && weight_slots > 1) continue;
          if (weight_slots > kMaxSlots ||
              weight_slots > std::max<int64_t>(n.weights, 1) * (layer_.dynamic ? n.repeats : 1))
            continue;
          for (const int64_t outputs : {int64_t{1}, int64_t{2}}) {
            if (out_bytes + residual_bytes == 0 && outputs > 1) continue;
            plan.channels_outer = channels_outer;
            plan.input_slots = static_cast<uint32_t>(inputs);
            plan.weight_slots = static_cast<uint32_t>(weight_slots);
            plan.output_slots = static_cast<uint32_t>(outputs);
            // In 64 bits: sram_bytes() may wrap.
            const uint64_t total =
                slot_size(256 * 2) + uint64_t{plan.weight_bytes} * plan.weight_slots +
                2 * uint64_t{plan.parameter_bytes} + uint64_t{plan.input_bytes} * plan.input_slots +
                (uint64_t{plan.output_bytes} + plan.residual_bytes) * plan.output_slots;
            if (total > 2 * uint64_t{sram_} || plan.sram_bytes() > sram_) {
              note_need(static_cast<int64_t>(std::min<uint64_t>(total, plan.sram_bytes())));
              continue;
            }
            any = true;
            plan.estimate = estimate(plan, mac, n);
            offer(plan);
          }
        }
      }
    }
    return any;
  }

  void note_need(int64_t bytes) {
    if (smallest_ == 0 || bytes < smallest_) smallest_ = bytes;
  }

  // How many there are of everything.
  struct Counts {
    int64_t steps = 1, space = 1, channels = 1, repeats = 1;
    int64_t inputs = 1, weights = 1;  // different pieces of each
  };

  // Cycles of the array, all tiles of one repetition.
  uint64_t array_cycles(const MacPlan& plan, bool split, const Counts& n) const {
    const int64_t tail_h = layer_.used_h() % plan.tile_h, tail_w = layer_.used_w() % plan.tile_w;
    const int64_t tail_c =
        layer_.op->groups == 1 || layer_.depthwise ? layer_.channels() % plan.tile_c : 0;
    uint64_t mac = 0;
    const int64_t count_h = layer_.used_h() / plan.tile_h, count_w = layer_.used_w() / plan.tile_w;
    const int64_t count_c = tail_c > 0 ? n.channels - 1 : n.channels;
    const std::pair<int64_t, int64_t> hs[] = {{plan.tile_h, count_h}, {tail_h, tail_h > 0}};
    const std::pair<int64_t, int64_t> ws[] = {{plan.tile_w, count_w}, {tail_w, tail_w > 0}};
    const std::pair<int64_t, int64_t> cs[] = {{plan.tile_c, count_c}, {tail_c, tail_c > 0}};
    for (const auto& [h, nh] : hs) {
      for (const auto& [w, nw] : ws) {
        for (const auto& [c, nc] : cs) {
          if (nh * nw * nc == 0) continue;
          mac += static_cast<uint64_t>(nh * nw * nc * n.steps) *
                 command_cycles(layer_, h, w, c, plan.step_h, plan.step_w, plan.step_c, split,
                                target_);
        }
      }
    }
    return mac;
  }

  // Cycles to move `size` of an operand.
  uint64_t move_cycles(const Operand& operand, const Extent& size) const {
    if (operand.direct()) return 0;
    if (operand.on_chip())
      return static_cast<uint64_t>(size[0] * size[1] * size[2]) / target_.sram_word_bytes + 1;
    return channel_cycles(transfer_bytes(operand, size, target_.dma_granule_bytes), operand.region,
                          target_);
  }

  Estimate estimate(const MacPlan& plan, uint64_t mac, const Counts& n) const {
    const MacOp& op = *layer_.op;
    // Loads of each operand, with what stays in its slots.
    int64_t input_loads = n.space * n.steps * n.channels;
    if (op.groups == 1 &&
        (plan.input_slots >= n.inputs || (!plan.channels_outer && plan.input_slots >= n.steps))) {
      input_loads = n.space * n.steps;
    }
    int64_t weight_loads = n.space * n.steps * n.channels;
    const bool streams = layer_.stripe_rows > 0;  // space is the outermost loop
    if (plan.weight_slots >= n.weights ||
        (!streams && plan.channels_outer && plan.weight_slots >= n.steps)) {
      weight_loads = n.channels * n.steps;
    }
    if (plan.input_bytes == 0) input_loads = 0;
    const int64_t rows = input_extent(layer_, 0, plan.tile_h, plan.step_h);
    const int64_t columns = input_extent(layer_, 1, plan.tile_w, plan.step_w);
    const int64_t in_channels = std::max<int64_t>(
        1, static_cast<int64_t>(plan.input_bytes) / std::max<int64_t>(1, rows * columns));
    const uint64_t in = move_cycles(layer_.input, {rows, columns, in_channels});
    const uint64_t out = move_cycles(
        layer_.output, {std::max<int64_t>(1, plan.tile_h / layer_.pool(0)),
                        std::max<int64_t>(1, plan.tile_w / layer_.pool(1)), plan.tile_c});
    const uint64_t weights =
        channel_cycles(plan.weight_bytes, NPU_REGION_CONSTANTS, target_) / layer_.weight_sharers;
    const auto tiles = static_cast<uint64_t>(n.space * n.channels);
    if (plan.weight_bytes == 0) weight_loads = 0;
    uint64_t memory = static_cast<uint64_t>(input_loads) * in +
                      static_cast<uint64_t>(weight_loads) * weights + tiles * out;
    if (op.chain.residual)
      memory += tiles * move_cycles(layer_.residual, {plan.tile_h, plan.tile_w, plan.tile_c});
    const uint64_t commands = static_cast<uint64_t>(input_loads + weight_loads) +
                              tiles * static_cast<uint64_t>(n.steps + (out > 0 ? 1 : 0));
    memory += channel_cycles(commands * NPU_RECORD_BYTES, NPU_REGION_CONSTANTS, target_);

    const bool overlap = (plan.input_slots > 1 || input_loads <= 1) &&
                         (plan.weight_slots > 1 || weight_loads <= 1) &&
                         (plan.output_slots > 1 || tiles == 1 || out == 0);
    Estimate e;
    e.engine = mac;
    e.memory = memory;
    if (overlap) {
      e.serial = in + out + (in + out > 0 ? target_.card_latency_cycles : 0) + weights / 2;
    } else {
      e.serial = std::min(mac, memory) +
                 tiles * static_cast<uint64_t>(n.steps) * target_.card_latency_cycles;
    }
    const auto repeats = static_cast<uint64_t>(n.repeats);
    return {e.engine * repeats, e.memory * repeats, e.serial * repeats};
  }

  const MacLayer& layer_;
  const npu_target& target_;
  const uint32_t sram_;
  std::vector<MacPlan> plans_;  // by growing need of SRAM and falling cycles
  int64_t smallest_ = 0;
};

}  // namespace

uint64_t channel_cycles(uint64_t bytes, uint8_t region, const npu_target& target) {
  const bool host = region >= NPU_REGION_TENSORS;
  const uint64_t bandwidth =
      std::max(1u, host ? target.pcie_bytes_per_cycle : target.card_bytes_per_cycle);
  return (bytes + bandwidth - 1) / bandwidth;
}

std::vector<ChannelTile> channel_tiles(const MacLayer& layer, const MacPlan& plan) {
  std::vector<ChannelTile> out;
  const MacOp& op = *layer.op;
  const int64_t group_outputs = layer.group_outputs(), group_inputs = layer.group_inputs();
  const int64_t first = layer.channel_begin, last = layer.channels_end();
  if (layer.depthwise) {
    for (int64_t c = first; c < last; c += plan.tile_c) {
      const int64_t end = std::min(last, c + plan.tile_c);
      out.push_back({c, end, c, end, end - c});
    }
    return out;
  }
  if (op.groups == 1) {
    for (int64_t c = first; c < last; c += plan.tile_c)
      out.push_back({c, std::min(last, c + plan.tile_c), 0, group_inputs, 1});
    return out;
  }
  const int64_t first_group = first / group_outputs, groups_end = last / group_outputs;
  if (plan.tile_c >= group_outputs) {
    const int64_t groups = plan.tile_c / group_outputs;
    for (int64_t g = first_group; g < groups_end; g += groups) {
      const int64_t end = std::min(groups_end, g + groups);
      out.push_back(
          {g * group_outputs, end * group_outputs, g * group_inputs, end * group_inputs, end - g});
    }
    return out;
  }
  for (int64_t g = first_group; g < groups_end; ++g) {
    for (int64_t c = 0; c < group_outputs; c += plan.tile_c) {
      out.push_back({g * group_outputs + c,
                     g * group_outputs + std::min(group_outputs, c + plan.tile_c), g * group_inputs,
                     (g + 1) * group_inputs, 1});
    }
  }
  return out;
}

std::vector<SumStep> sum_steps(const MacLayer& layer, const MacPlan& plan) {
  std::vector<SumStep> out;
  const int64_t kernel_h = layer.op->window.kernel[0], kernel_w = layer.op->window.kernel[1];
  const int64_t depth = layer.depthwise ? 1 : layer.group_inputs();
  for (int64_t y = 0; y < kernel_h; y += plan.step_h) {
    for (int64_t x = 0; x < kernel_w; x += plan.step_w) {
      for (int64_t c = 0; c < depth; c += plan.step_c) {
        out.push_back({y, std::min(kernel_h, y + plan.step_h), x,
                       std::min(kernel_w, x + plan.step_w), c, std::min(depth, c + plan.step_c)});
      }
    }
  }
  return out;
}

int64_t step_weight_bytes(const MacLayer& layer, int64_t channels, int64_t kh, int64_t kw,
                          int64_t c) {
  return channels * kh * kw * (layer.depthwise ? 1 : c);
}

int64_t parameter_bytes(const MacLayer& layer, int64_t channels) {
  int64_t bytes = 0;
  if (!layer.op->bias.empty()) bytes += 4 * channels;
  if (layer.per_channel_scales()) bytes += 4 * channels;
  if (layer.per_channel_zeros()) bytes += channels;
  return bytes;
}

std::vector<MacPlan> plan_mac(const MacLayer& layer, const npu_target& target, uint32_t sram_bytes,
                              std::string& error) {
  return Search(layer, target, sram_bytes).run(error);
}

}  // namespace npu::compiler
