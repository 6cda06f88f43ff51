// SPDX-License-Identifier: MIT
#include "compiler/schedule/mac_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "arch/timing.h"

namespace npu::compiler {
namespace {

constexpr int64_t kMaxField = 65535;
constexpr int64_t kMaxSteps = 2048;  // keeps the commands between two checkpoints few
constexpr uint32_t kMaxSlots = 64;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Output pixels per column, input extents of an output extent and kernel piece.
int64_t input_extent(const MacLayer& layer, int i, int64_t out, int64_t taps) {
  const Window& w = layer.op->window;
  const int64_t whole = i == 0 ? layer.in_h : layer.in_w;
  return std::min(whole, (out - 1) * w.stride[i] + (taps - 1) * w.dilation[i] + 1);
}

// size, size/2, ... 1, in multiples of `unit` (at least one unit).
std::vector<int64_t> halvings(int64_t size, int64_t unit, size_t limit) {
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
  mac.input.pixel_stride = mac.in_c;
  mac.input.row_stride = uint32_t{mac.in_w} * mac.in_c;
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
  Search(const MacLayer& layer, const npu_target& target) : layer_(layer), target_(target) {}

  std::optional<MacPlan> run(std::string& error) {
    const MacOp& op = *layer_.op;
    const int64_t kernel_h = op.window.kernel[0], kernel_w = op.window.kernel[1];
    const int64_t depth = layer_.depthwise ? 1 : layer_.group_inputs();
    const bool whole_sum_fits_fields = kernel_h <= 255 && kernel_w <= 255 && depth <= kMaxField;
    if (whole_sum_fits_fields) tilings(kernel_h, kernel_w, depth);
    // Splitting the sum costs passes over the output, so it is tried where the
    // rest found nothing, or nothing that fills the array.
    const bool poor =
        !best_ || (best_->tile_c < std::min<int64_t>(op.out_channels, target_.mac_outputs)) ||
        best_->tile_h * best_->tile_w < std::min<int64_t>(16, layer_.used_h() * layer_.used_w());
    if (poor) {
      for (const int64_t h : kernel_pieces(kernel_h)) {
        for (const int64_t w : kernel_pieces(kernel_w)) {
          for (const int64_t c :
               halvings(depth, std::min<int64_t>(depth, target_.mac_inputs), 12)) {
            if (h == kernel_h && w == kernel_w && c == depth) continue;
            tilings(h, w, c);
          }
        }
      }
      if (!best_) tilings(1, 1, 1);
    }
    if (!best_) {
      error = fmt::format("its smallest tile needs {} bytes of SRAM", smallest_);
      return std::nullopt;
    }
    return best_;
  }

 private:
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
      channels = halvings(op.out_channels, std::min(outputs, op.out_channels), 12);
      for (int64_t c = std::min(outputs, op.out_channels) / 2; c >= 1; c /= 2)
        channels.push_back(c);
    } else {
      if (!split || step_c == layer_.group_inputs()) {
        for (const int64_t g : halvings(op.groups, 1, 12)) channels.push_back(g * group);
      } else {
        channels.push_back(group);
      }
      for (const int64_t c : halvings(group, 1, 12)) {
        if (c < group) channels.push_back(c);
      }
    }
    const int64_t pool_h = layer_.pool(0), pool_w = layer_.pool(1);
    const std::vector<int64_t> widths = halvings(layer_.used_w(), pool_w, 12);
    for (const int64_t c : channels) {
      if (c > kMaxField) continue;
      for (const int64_t w : widths) {
        if (w > kMaxField || (input_extent(layer_, 1, w, step_w)) > kMaxField) continue;
        // Narrower tiles than the row only where the row alone is too much.
        bool row_fits = false;
        for (const int64_t h : halvings(layer_.used_h(), pool_h, 16)) {
          if (h > kMaxField || input_extent(layer_, 0, h, step_h) > kMaxField) continue;
          plan.tile_h = h;
          plan.tile_w = w;
          plan.tile_c = c;
          if (!fits_machine(plan, split)) continue;
          row_fits |= orders(plan, split);
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
  bool orders(MacPlan plan, bool split) {
    const MacOp& op = *layer_.op;
    const int64_t rows = input_extent(layer_, 0, plan.tile_h, plan.step_h);
    const int64_t columns = input_extent(layer_, 1, plan.tile_w, plan.step_w);
    const int64_t groups =
        layer_.depthwise ? 1 : std::max<int64_t>(1, plan.tile_c / layer_.group_outputs());
    const int64_t in_channels = layer_.depthwise ? plan.tile_c : groups * plan.step_c;
    const int64_t parameters = parameter_bytes(layer_, plan.tile_c);
    const int64_t weights =
        step_weight_bytes(layer_, plan.tile_c, plan.step_h, plan.step_w, plan.step_c);
    const int64_t out_pixels = (plan.tile_h / layer_.pool(0)) * (plan.tile_w / layer_.pool(1));
    const int64_t sram = target_.sram_bytes;
    if (rows * columns * in_channels > sram || weights + parameters > sram ||
        out_pixels * plan.tile_c > sram) {
      note_need(rows * columns * in_channels + weights + parameters + out_pixels * plan.tile_c);
      return false;
    }
    plan.input_bytes = slot_size(rows * columns * in_channels);
    plan.weight_bytes = split ? slot_size(weights) : slot_size(slot_size(parameters) + weights);
    plan.parameter_bytes = split ? slot_size(parameters) : 0;
    plan.output_bytes = slot_size(out_pixels * plan.tile_c);
    plan.residual_bytes =
        op.chain.residual ? slot_size(plan.tile_h * plan.tile_w * plan.tile_c) : 0;
    const int64_t tables = 256 * ((op.chain.lut1 ? 1 : 0) + (op.chain.lut2 ? 1 : 0));

    const int64_t n_steps = steps(plan);
    const int64_t n_space =
        ceil_div(layer_.used_h(), plan.tile_h) * ceil_div(layer_.used_w(), plan.tile_w);
    const int64_t n_channels = static_cast<int64_t>(channel_tiles(layer_, plan).size());
    int64_t repeats = 1;
    for (const OuterDim& dim : layer_.outer) repeats *= dim.extent;
    const bool shared_input = op.groups == 1;
    const int64_t all_inputs = n_space * n_steps * (shared_input ? 1 : n_channels);
    const int64_t all_weights = n_channels * n_steps;
    bool any = false;
    for (const bool channels_outer : {true, false}) {
      if (!channels_outer && n_channels == 1) continue;
      for (const int64_t inputs : {int64_t{1}, int64_t{2}, all_inputs}) {
        if (inputs > kMaxSlots || inputs > all_inputs * repeats) continue;
        for (const int64_t weight_slots : {int64_t{1}, int64_t{2}, all_weights}) {
          if (weight_slots > kMaxSlots ||
              weight_slots > std::max<int64_t>(all_weights, 1) * (layer_.dynamic ? repeats : 1))
            continue;
          for (const int64_t outputs : {int64_t{1}, int64_t{2}}) {
            const int64_t total = inputs * plan.input_bytes + weight_slots * plan.weight_bytes +
                                  2 * int64_t{plan.parameter_bytes} + outputs * plan.output_bytes +
                                  outputs * plan.residual_bytes + tables;
            if (total > sram) {
              note_need(total);
              continue;
            }
            any = true;
            plan.channels_outer = channels_outer;
            plan.input_slots = static_cast<uint32_t>(inputs);
            plan.weight_slots = static_cast<uint32_t>(weight_slots);
            plan.output_slots = static_cast<uint32_t>(outputs);
            plan.sram_bytes = static_cast<uint32_t>(total);
            plan.cost =
                cost(plan, split, n_space, n_channels, n_steps, repeats, all_inputs, all_weights);
            if (!best_ || plan.cost < best_->cost) best_ = plan;
          }
        }
      }
    }
    return any;
  }

  void note_need(int64_t bytes) {
    if (smallest_ == 0 || bytes < smallest_) smallest_ = bytes;
  }

  // Estimated cycles: the longer of array and memory channel where both
  // overlap, their sum where they do not.
  uint64_t cost(const MacPlan& plan, bool split, int64_t n_space, int64_t n_channels,
                int64_t n_steps, int64_t repeats, int64_t all_inputs, int64_t all_weights) const {
    const MacOp& op = *layer_.op;
    const int64_t tail_h = layer_.used_h() % plan.tile_h, tail_w = layer_.used_w() % plan.tile_w;
    const int64_t tail_c = op.groups == 1 || layer_.depthwise ? op.out_channels % plan.tile_c : 0;
    uint64_t mac = 0;
    const int64_t count_h = layer_.used_h() / plan.tile_h, count_w = layer_.used_w() / plan.tile_w;
    const int64_t count_c = tail_c > 0 ? n_channels - 1 : n_channels;
    const std::pair<int64_t, int64_t> hs[] = {{plan.tile_h, count_h}, {tail_h, tail_h > 0}};
    const std::pair<int64_t, int64_t> ws[] = {{plan.tile_w, count_w}, {tail_w, tail_w > 0}};
    const std::pair<int64_t, int64_t> cs[] = {{plan.tile_c, count_c}, {tail_c, tail_c > 0}};
    for (const auto& [h, nh] : hs) {
      for (const auto& [w, nw] : ws) {
        for (const auto& [c, nc] : cs) {
          if (nh * nw * nc == 0) continue;
          mac += static_cast<uint64_t>(nh * nw * nc * n_steps) *
                 command_cycles(layer_, h, w, c, plan.step_h, plan.step_w, plan.step_c, split,
                                target_);
        }
      }
    }

    // Loads of each operand, with what stays in its slots.
    const bool shared_input = op.groups == 1;
    int64_t input_loads = n_space * n_steps * n_channels;
    if (shared_input) {
      if (plan.input_slots >= all_inputs || (!plan.channels_outer && plan.input_slots >= n_steps)) {
        input_loads = n_space * n_steps;
      }
    }
    int64_t weight_loads = n_space * n_steps * n_channels;
    if (plan.weight_slots >= all_weights || (plan.channels_outer && plan.weight_slots >= n_steps)) {
      weight_loads = n_channels * n_steps;
    }
    const Extent in_size{
        input_extent(layer_, 0, plan.tile_h, plan.step_h),
        input_extent(layer_, 1, plan.tile_w, plan.step_w),
        static_cast<int64_t>(plan.input_bytes) /
            std::max<int64_t>(1, input_extent(layer_, 0, plan.tile_h, plan.step_h) *
                                     input_extent(layer_, 1, plan.tile_w, plan.step_w))};
    const uint64_t in_bytes =
        transfer_bytes(layer_.input, {in_size[0], in_size[1], std::max<int64_t>(1, in_size[2])},
                       target_.dma_granule_bytes);
    const Extent out_size{std::max<int64_t>(1, plan.tile_h / layer_.pool(0)),
                          std::max<int64_t>(1, plan.tile_w / layer_.pool(1)), plan.tile_c};
    const uint64_t out_bytes = transfer_bytes(layer_.output, out_size, target_.dma_granule_bytes);
    uint64_t bytes = static_cast<uint64_t>(input_loads) * in_bytes +
                     static_cast<uint64_t>(weight_loads) * plan.weight_bytes +
                     static_cast<uint64_t>(n_space * n_channels) * out_bytes;
    if (op.chain.residual) {
      bytes += static_cast<uint64_t>(n_space * n_channels) *
               transfer_bytes(layer_.residual, {plan.tile_h, plan.tile_w, plan.tile_c},
                              target_.dma_granule_bytes);
    }
    const uint64_t commands =
        static_cast<uint64_t>(input_loads + weight_loads + n_space * n_channels * (n_steps + 2));
    bytes += commands * NPU_RECORD_BYTES;
    const uint64_t bandwidth = std::max(1u, target_.card_bytes_per_cycle);
    const uint64_t dma = bytes / bandwidth + commands * 4;
    const bool loads_overlap =
        (plan.input_slots > 1 || input_loads == 1) && (plan.weight_slots > 1 || weight_loads == 1);
    const uint64_t edge =
        target_.card_latency_cycles + (in_bytes + plan.weight_bytes + out_bytes) / bandwidth;
    uint64_t cycles;
    if (loads_overlap && (plan.output_slots > 1 || n_space * n_channels == 1)) {
      cycles = std::max(mac, dma) + edge;
    } else {
      cycles = mac + dma +
               static_cast<uint64_t>(n_space * n_channels * n_steps) * target_.card_latency_cycles;
    }
    return cycles * static_cast<uint64_t>(repeats);
  }

  const MacLayer& layer_;
  const npu_target& target_;
  std::optional<MacPlan> best_;
  int64_t smallest_ = 0;
};

}  // namespace

std::vector<ChannelTile> channel_tiles(const MacLayer& layer, const MacPlan& plan) {
  std::vector<ChannelTile> out;
  const MacOp& op = *layer.op;
  const int64_t group_outputs = layer.group_outputs(), group_inputs = layer.group_inputs();
  if (layer.depthwise) {
    for (int64_t c = 0; c < op.out_channels; c += plan.tile_c) {
      const int64_t end = std::min(op.out_channels, c + plan.tile_c);
      out.push_back({c, end, c, end, end - c});
    }
  } else if (plan.tile_c >= group_outputs && op.groups > 1) {
    const int64_t groups = plan.tile_c / group_outputs;
    for (int64_t g = 0; g < op.groups; g += groups) {
      const int64_t end = std::min(op.groups, g + groups);
      out.push_back(
          {g * group_outputs, end * group_outputs, g * group_inputs, end * group_inputs, end - g});
    }
  } else {
    for (int64_t g = 0; g < op.groups; ++g) {
      for (int64_t c = 0; c < group_outputs; c += plan.tile_c) {
        out.push_back({g * group_outputs + c,
                       g * group_outputs + std::min(group_outputs, c + plan.tile_c),
                       g * group_inputs, (g + 1) * group_inputs, 1});
      }
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

std::optional<MacPlan> plan_mac(const MacLayer& layer, const npu_target& target,
                                std::string& error) {
  return Search(layer, target).run(error);
}

}  // namespace npu::compiler
