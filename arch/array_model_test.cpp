// SPDX-License-Identifier: MIT
//
// A second opinion on MAC-stage cycles: an array, its shadow weights, two
// accumulator banks and the output stage, stepped cycle by cycle. It shares no
// code with the formulas and multiplies nothing, but it counts every product,
// so that a tile that took too few steps would show.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

#include "arch/test_commands.h"
#include "arch/timing.h"

namespace npu::arch {
namespace {

using namespace test;

// One stay of a set of weights in the array.
struct Pass {
  unsigned pixels;
  unsigned products;  // per pixel and output; at most NK
  unsigned outputs;   // at most NO
  bool opens_bank;    // first pass of a block of output channels
  bool closes_bank;   // last one: the bank may drain
};

class SteppedArray {
 public:
  explicit SteppedArray(const npu_target& target) : target_(target) {}

  // Cycles from the first pass, its weights in place, until another command's
  // first pass could follow.
  uint64_t run(const std::vector<Pass>& passes) {
    const unsigned weights = target_.mac_outputs * target_.mac_inputs;
    uint64_t cycles = 0;
    unsigned bank = 1;
    for (const Pass& pass : passes) {
      if (pass.opens_bank) {
        bank ^= 1;
        while (draining_[bank]) tick(cycles);
      }
      unsigned shadow = 0;  // bytes of the next pass's weights
      unsigned pixel = 0;
      while (pixel < pass.pixels || shadow < weights) {
        shadow = std::min(weights, shadow + target_.sram_word_bytes);
        if (pixel < pass.pixels) {
          products += uint64_t{pass.products} * pass.outputs;
          ++pixel;
        }
        tick(cycles);
      }
      if (pass.closes_bank) {
        draining_[bank] = true;
        drains_.push_back({bank, pass.pixels});
      }
    }
    return cycles;
  }

  uint64_t products = 0;

 private:
  struct Drain {
    unsigned bank, pixels;
  };

  // The output stage takes NO values, one pixel, a cycle.
  void tick(uint64_t& cycles) {
    ++cycles;
    if (drains_.empty()) return;
    if (--drains_.front().pixels != 0) return;
    draining_[drains_.front().bank] = false;
    drains_.pop_front();
  }

  const npu_target& target_;
  bool draining_[2] = {false, false};
  std::deque<Drain> drains_;
};

// Sizes of the pieces that `total` falls into when each has at most `limit`.
std::vector<unsigned> pieces(unsigned total, unsigned limit) {
  std::vector<unsigned> sizes;
  for (; total > limit; total -= limit) sizes.push_back(limit);
  sizes.push_back(total);
  return sizes;
}

// As even as possible, in as few pieces as possible, small ones first.
std::vector<unsigned> even_pieces(unsigned total, unsigned limit) {
  unsigned count = 1;
  while ((total + count - 1) / count > limit) ++count;
  std::vector<unsigned> sizes(count, 0);
  for (unsigned i = 0; i < total; ++i) ++sizes[count - 1 - i % count];
  return sizes;
}

std::vector<Pass> schedule(const npu_command_mac& mac, const npu_target& target) {
  const bool product = mac.header.opcode == NPU_OP_MATMUL;
  const unsigned groups = product ? 1 : mac.groups;
  const unsigned channels = mac.in_c / groups;
  // Products of one output, in the order the array meets them: a packed row of
  // the kernel is one run of bytes, otherwise each tap is.
  std::vector<unsigned> steps;
  if (!product && groups == 1 && mac.dilation_x == 1 && mac.input.pixel_stride == mac.in_c) {
    for (unsigned y = 0; y < mac.kernel_h; ++y)
      for (unsigned n : pieces(mac.kernel_w * channels, target.mac_inputs)) steps.push_back(n);
  } else {
    for (unsigned tap = 0; tap < (product ? 1u : mac.kernel_h * mac.kernel_w); ++tap)
      for (unsigned n : pieces(channels, target.mac_inputs)) steps.push_back(n);
  }
  std::vector<Pass> passes;
  for (unsigned pixels : even_pieces(mac.out_h * mac.out_w, target.accumulator_rows))
    for (unsigned group = 0; group < groups; ++group)
      for (unsigned outputs : pieces(mac.out_c / groups, target.mac_outputs))
        for (size_t i = 0; i < steps.size(); ++i)
          passes.push_back({pixels, steps[i], outputs, i == 0, i + 1 == steps.size()});
  return passes;
}

// Depthwise: one filter per lane; what takes time is bringing the window's
// columns in, a word a cycle, each column once as the window moves.
uint64_t step_depthwise(const npu_command_mac& mac, const npu_target& target, uint64_t& products) {
  uint64_t cycles = 0;
  const auto fetch_columns = [&](unsigned columns) {
    unsigned bytes = columns * mac.kernel_h * target.mac_outputs;
    uint64_t words = 0;
    for (; bytes > 0; bytes -= std::min(bytes, target.sram_word_bytes)) ++words;
    return words;
  };
  for (unsigned lanes : pieces(mac.out_c, target.mac_outputs)) {
    for (unsigned y = 0; y < mac.out_h; ++y) {
      unsigned held = 0;  // columns of the window that are there already
      if (mac.kernel_w > mac.stride_x) {
        held = mac.kernel_w - mac.stride_x;
        cycles += fetch_columns(held);
      }
      for (unsigned x = 0; x < mac.out_w; ++x) {
        cycles += std::max<uint64_t>(1, fetch_columns(mac.kernel_w - held));
        products += uint64_t{lanes} * mac.kernel_h * mac.kernel_w;
      }
    }
  }
  return cycles;
}

Command decoded(const npu_command_mac& mac) {
  npu_target roomy = *find_target("card");
  roomy.sram_bytes = 16u << 20;
  StreamBuilder builder;
  builder.append(mac);
  Stream stream;
  StreamError error;
  EXPECT_TRUE(decode_stream(builder.bytes(), roomy, 0, 1, stream, error)) << error.text;
  return stream.at(0);
}

npu_command_mac random_command(std::mt19937& random) {
  const auto up_to = [&](unsigned n) { return static_cast<uint16_t>(1 + random() % n); };
  const unsigned kind = random() % 4;
  if (kind == 0) return matmul(up_to(300), up_to(200), up_to(150));
  ConvShape s = {};
  s.out_h = up_to(24), s.out_w = up_to(40);
  s.kernel_h = static_cast<uint8_t>(up_to(3)), s.kernel_w = static_cast<uint8_t>(up_to(4));
  s.stride = static_cast<uint8_t>(up_to(3));
  s.in_h = static_cast<uint16_t>(s.out_h * s.stride + s.kernel_h);
  s.in_w = static_cast<uint16_t>(s.out_w * s.stride + s.kernel_w);
  if (kind == 1) {
    s.in_c = s.out_c = up_to(150);
    return convolution(s, NPU_OP_DEPTHWISE);
  }
  s.groups = kind == 2 ? up_to(4) : 1;
  s.in_c = static_cast<uint16_t>(s.groups * up_to(70));
  s.out_c = static_cast<uint16_t>(s.groups * up_to(90));
  npu_command_mac mac = convolution(s);
  if (random() % 4 == 0) mac.dilation_x = 2;
  if (random() % 4 == 0) {  // pixels with a gap: not a dense row
    mac.input.pixel_stride += 3;
    mac.input.row_stride += 3u * s.in_w;
    mac.weights += 3u * s.in_w * s.in_h;
    mac.output.address += 3u * s.in_w * s.in_h;
  }
  return mac;
}

TEST(ArrayModel, StageCyclesEqualTheSteppedArray) {
  std::mt19937 random(6);
  npu_target small = *find_target("edge");  // several sub-tiles, weights that show
  small.mac_outputs = 8, small.mac_inputs = 16, small.accumulator_rows = 64;
  small.sram_word_bytes = 16;
  const npu_target* targets[] = {find_target("edge"), find_target("card"), &small};
  for (int round = 0; round < 1200; ++round) {
    const npu_target& target = *targets[round % 3];
    const npu_command_mac mac = random_command(random);
    const Command command = decoded(mac);
    uint64_t cycles, products = 0;
    if (mac.header.opcode == NPU_OP_DEPTHWISE) {
      cycles = step_depthwise(mac, target, products);
    } else {
      SteppedArray array(target);
      cycles = array.run(schedule(mac, target));
      products = array.products;
    }
    EXPECT_EQ(mac_stage_cycles(command, target), cycles)
        << "round " << round << " on " << target.name << ": " << disassemble(command);
    EXPECT_EQ(mac_count(command), products) << disassemble(command);
  }
}

}  // namespace
}  // namespace npu::arch
