// SPDX-License-Identifier: MIT
#include <algorithm>

#include "arch/command_cost.h"
#include "arch/mac_shape.h"
#include "arch/timing.h"

namespace npu::arch {
namespace {

// Pixels are worked through in `tiles` sub-tiles of at most one accumulator
// bank, as even as possible: the last `longer` of them have one pixel more than
// `pixels`. (Last, because a bank then never drains longer than the next tile
// takes to fill the other.)
struct SubTiles {
  uint64_t tiles, pixels, longer;
};

SubTiles sub_tiles(uint64_t pixels, uint32_t bank_rows) {
  const uint64_t tiles = ceil_div(pixels, bank_rows);
  return {tiles, pixels / tiles, pixels % tiles};
}

uint64_t weight_load_cycles(const npu_target& target) {
  return uint64_t{target.mac_outputs} * target.mac_inputs / target.sram_word_bytes;
}

// Array steps per pixel and pass: products of one output, mac_inputs a step.
uint64_t steps(const npu_command_mac& mac, const MacShape& shape, const npu_target& target) {
  const bool dense_row = mac.header.opcode == NPU_OP_CONV && mac.dilation_x == 1 &&
                         shape.groups == 1 && (mac.input.pixel_stride == mac.in_c || mac.in_w == 1);
  if (dense_row)
    return shape.kernel_h * ceil_div(shape.kernel_w * shape.group_inputs, target.mac_inputs);
  return shape.taps() * ceil_div(shape.group_inputs, target.mac_inputs);
}

// Bytes of one depthwise pass: each new column of the window at every pixel,
// the rest of the window at the start of every row.
struct DepthwisePass {
  uint64_t pixel_bytes, row_bytes;
};

DepthwisePass depthwise_pass(const npu_command_mac& mac, const npu_target& target) {
  const uint64_t fresh = std::min(mac.kernel_w, mac.stride_x);
  return {uint64_t{mac.kernel_h} * fresh * target.mac_outputs,
          mac.kernel_h * (mac.kernel_w - fresh) * target.mac_outputs};
}

uint64_t depthwise_cycles(const npu_command_mac& mac, const MacShape& shape,
                          const npu_target& target) {
  const DepthwisePass pass = depthwise_pass(mac, target);
  const uint64_t word = target.sram_word_bytes;
  return shape.passes(target.mac_outputs) *
         (shape.pixels * std::max<uint64_t>(1, ceil_div(pass.pixel_bytes, word)) +
          mac.out_h * ceil_div(pass.row_bytes, word));
}

uint64_t dense_cycles(const npu_command_mac& mac, const MacShape& shape, const npu_target& target) {
  const uint64_t steps_per_pixel = steps(mac, shape, target);
  const uint64_t load = weight_load_cycles(target);
  const auto tile = [&](uint64_t pixels) {
    return std::max(steps_per_pixel * std::max(pixels, load), pixels);
  };
  const SubTiles tiles = sub_tiles(shape.pixels, target.accumulator_rows);
  return shape.passes(target.mac_outputs) * (tiles.longer * tile(tiles.pixels + 1) +
                                             (tiles.tiles - tiles.longer) * tile(tiles.pixels));
}

// With the left operand held: a pass holds up to mac_outputs pixels, and the
// output channels of a group go by one a cycle.
struct HeldPasses {
  uint64_t full, last_pixels;  // passes of mac_outputs pixels, and what remains (0: nothing)
  SubTiles channels;

  HeldPasses(const MacShape& shape, const npu_target& target)
      : full(shape.pixels / target.mac_outputs),
        last_pixels(shape.pixels % target.mac_outputs),
        channels(sub_tiles(shape.group_outputs, target.accumulator_rows)) {}
  uint64_t passes() const { return full + (last_pixels != 0); }
};

// A bank of `channels` sums of each of `pixels` pixels drains pixel by pixel.
uint64_t held_drain(uint64_t pixels, uint64_t channels, const npu_target& target) {
  return pixels * ceil_div(channels, target.mac_outputs);
}

uint64_t held_cycles(const npu_command_mac& mac, const MacShape& shape, const npu_target& target) {
  const uint64_t steps_per_channel = steps(mac, shape, target);
  const uint64_t load = weight_load_cycles(target);
  const HeldPasses held(shape, target);
  const auto pass = [&](uint64_t pixels) {
    const auto tile = [&](uint64_t channels) {
      return std::max(steps_per_channel * std::max(channels, load),
                      held_drain(pixels, channels, target));
    };
    return held.channels.longer * tile(held.channels.pixels + 1) +
           (held.channels.tiles - held.channels.longer) * tile(held.channels.pixels);
  };
  return shape.groups * (held.full * pass(target.mac_outputs) +
                         (held.last_pixels != 0 ? pass(held.last_pixels) : 0));
}

// What one run of a command moves and leaves to drain.
struct Traffic {
  uint64_t activations, weights;  // bytes
  uint64_t table_reads;           // of the channel tables, per channel
  uint64_t banks;                 // accumulator banks filled
  uint64_t drain_rows;            // of the last one
};

Traffic dense_traffic(const npu_command_mac& mac, const MacShape& shape, const npu_target& target) {
  const SubTiles tiles = sub_tiles(shape.pixels, target.accumulator_rows);
  const uint64_t passes = shape.passes(target.mac_outputs);
  Traffic traffic;
  traffic.table_reads = tiles.tiles;
  traffic.banks = tiles.tiles * passes;
  // What a bank holds: one pass of a sub-tile, or all sums of a split command.
  traffic.drain_rows =
      mac.accumulate != 0 ? shape.pixels * passes : tiles.pixels + (tiles.longer != 0);
  if (shape.depthwise) {
    const DepthwisePass pass = depthwise_pass(mac, target);
    traffic.activations = passes * (shape.pixels * pass.pixel_bytes + mac.out_h * pass.row_bytes);
    traffic.weights = shape.outputs() * shape.taps();
  } else {
    traffic.activations = passes * shape.pixels * shape.taps() * shape.group_inputs;
    traffic.weights = tiles.tiles * shape.outputs() * shape.taps() * shape.group_inputs;
  }
  return traffic;
}

Traffic held_traffic(const MacShape& shape, const npu_target& target) {
  const HeldPasses held(shape, target);
  const uint64_t products = shape.taps() * shape.group_inputs;
  const uint64_t last = held.last_pixels != 0 ? held.last_pixels : target.mac_outputs;
  const uint64_t channels = held.channels.pixels + (held.channels.longer != 0);
  Traffic traffic;
  traffic.activations = held.channels.tiles * shape.groups * shape.pixels * products;
  traffic.weights = held.passes() * shape.outputs() * products;
  traffic.table_reads = held.passes();
  traffic.banks = held.channels.tiles * shape.groups * held.passes();
  traffic.drain_rows = held_drain(last, channels, target);
  return traffic;
}

bool activations_held(const npu_command_mac& mac) {
  return (mac.flags & NPU_MAC_ACTIVATION_STATIONARY) != 0;
}

// Of one run of a command.
uint64_t stage_cycles(const npu_command_mac& mac, const MacShape& shape, const npu_target& target) {
  return shape.depthwise         ? depthwise_cycles(mac, shape, target)
         : activations_held(mac) ? held_cycles(mac, shape, target)
                                 : dense_cycles(mac, shape, target);
}

}  // namespace

uint64_t mac_stage_cycles(const Command& command, const npu_target& target) {
  const npu_command_mac& mac = command.mac();
  return mac_batch(command.extension()) * stage_cycles(mac, mac_shape(mac), target);
}

uint64_t mac_count(const Command& command) {
  return mac_batch(command.extension()) * mac_shape(command.mac()).macs();
}

CommandCost mac_cost(const Command& command, const npu_target& target) {
  const npu_command_mac& mac = command.mac();
  const npu_mac_extension& extension = command.extension();
  const MacShape shape = mac_shape(mac);
  const uint64_t batch = mac_batch(extension);
  const Traffic traffic =
      activations_held(mac) ? held_traffic(shape, target) : dense_traffic(mac, shape, target);

  // Bytes through each port.
  const uint64_t activations = batch * traffic.activations;
  uint64_t channel_tables = 0;
  if (mac.flags & NPU_MAC_BIAS) channel_tables += 4;
  if (mac.flags & NPU_MAC_SCALE_PER_CHANNEL) channel_tables += 4;
  if (extension.flags & NPU_EXT_WEIGHT_ZEROS) channel_tables += 1;
  uint64_t weights =
      batch * (traffic.weights + traffic.table_reads * shape.outputs() * channel_tables);
  if (extension.flags & NPU_EXT_LUT1) weights += 256;
  if (extension.flags & NPU_EXT_LUT2) weights += 256;

  uint64_t residual = 0, output = 0;
  CommandCost cost;
  if (!(mac.accumulate & NPU_ACCUMULATE_KEEP)) {
    const uint64_t element = data_type_bits(NPU_TYPE_AT(mac.types, 2)) / 8;
    uint64_t pixels = shape.pixels;
    if (extension.pool_kind != NPU_POOL_NONE)
      pixels = uint64_t{mac.out_h} / extension.pool_h * (mac.out_w / extension.pool_w);
    output = batch * pixels * shape.outputs() * element;
    if (extension.flags & NPU_EXT_RESIDUAL) residual = batch * shape.pixels * shape.outputs();
    cost.drain_cycles = traffic.drain_rows *
                        ceil_div(target.mac_outputs * element,
                                 std::max<uint64_t>(target.sram_word_bytes, target.mac_outputs));
  }
  cost.macs = batch * shape.macs();
  cost.stage_cycles = batch * stage_cycles(mac, shape, target);
  const uint64_t busiest = std::max({activations, weights, residual, output});
  cost.busy_cycles = std::max(cost.stage_cycles, ceil_div(busiest, target.sram_word_bytes));
  // Where the output is the limit it never rests but while the first bank fills.
  if (busiest == output && cost.busy_cycles > cost.stage_cycles)
    cost.drain_cycles =
        std::min(cost.drain_cycles, ceil_div(cost.stage_cycles, batch * traffic.banks));
  cost.sram_bytes = activations + weights + residual + output;
  return cost;
}

}  // namespace npu::arch
