// SPDX-License-Identifier: MIT
#include "arch/testing/stepped_work.h"

#include <algorithm>

namespace npu::arch::testing {
namespace {

// Sizes of the pieces that `total` falls into when each has at most `limit`.
std::vector<unsigned> pieces(unsigned total, unsigned limit) {
  std::vector<unsigned> sizes;
  for (; total > limit; total -= limit) sizes.push_back(limit);
  sizes.push_back(total);
  return sizes;
}

// As even as possible, in as few pieces as possible, small ones first.
std::vector<unsigned> even_pieces(unsigned total, unsigned limit) {
  std::vector<unsigned> sizes(pieces(total, limit).size(), 0);
  for (unsigned i = 0; i < total; ++i) ++sizes[sizes.size() - 1 - i % sizes.size()];
  return sizes;
}

std::vector<Pass> dense(const npu_command_mac& mac, unsigned ext_flags, const npu_target& t) {
  const bool product = mac.header.opcode == NPU_OP_MATMUL;
  const unsigned groups = product ? 1 : mac.groups, channels = mac.in_c / groups;
  const unsigned load = t.mac_outputs * t.mac_inputs / t.sram_word_bytes;
  const unsigned tables = (mac.flags & NPU_MAC_BIAS ? 4 : 0) +
                          (mac.flags & NPU_MAC_SCALE_PER_CHANNEL ? 4 : 0) +
                          (ext_flags & NPU_EXT_WEIGHT_ZEROS ? 1 : 0);
  // Products of one output, in the order the array meets them: a packed row of
  // the kernel is one run of bytes, otherwise each tap is.
  const bool packed =
      !product && groups == 1 && mac.dilation_x == 1 && mac.input.pixel_stride == mac.in_c;
  std::vector<unsigned> steps;
  for (int run = product ? 1 : packed ? mac.kernel_h : mac.kernel_h * mac.kernel_w; run > 0; --run)
    for (unsigned n : pieces(packed ? mac.kernel_w * channels : channels, t.mac_inputs))
      steps.push_back(n);
  std::vector<Pass> passes;
  for (unsigned pixels : even_pieces(mac.out_h * mac.out_w, t.accumulator_rows))
    for (unsigned group = 0; group < groups; ++group)
      for (unsigned outputs : pieces(mac.out_c / groups, t.mac_outputs))
        for (size_t i = 0; i < steps.size(); ++i) {
          const unsigned extra = i == 0 ? quotient_up(tables * outputs, t.sram_word_bytes) : 0;
          passes.push_back({pixels, steps[i], outputs, steps[i], load + extra,
                            quotient_up(outputs * steps[i], load), i == 0,
                            i + 1 == steps.size() ? pixels : 0});
        }
  return passes;
}

// One filter per lane; what takes time is bringing the window's columns in, a
// word a cycle, each column once as the window moves.
std::vector<Pass> depthwise(const npu_command_mac& mac, const npu_target& t) {
  const unsigned held = std::max(0, mac.kernel_w - mac.stride_x);
  const auto words = [&](unsigned columns) {
    return static_cast<int>(quotient_up(columns * mac.kernel_h * t.mac_outputs, t.sram_word_bytes));
  };
  std::vector<Pass> passes;
  unsigned first = 0;  // column
  for (unsigned rows : even_pieces(mac.out_h * mac.out_w, t.accumulator_rows)) {
    for (unsigned lanes : pieces(mac.out_c, t.mac_outputs))
      for (unsigned left = rows, x = first, n; left > 0; left -= n, x = 0) {
        n = std::min(left, mac.out_w - x);
        passes.push_back({n, unsigned{mac.kernel_w} * mac.kernel_h, lanes, t.sram_word_bytes, 0, 0,
                          left == rows, left == n ? rows : 0, x == 0 ? words(held) : 0,
                          std::max(1, words(mac.kernel_w - held))});
      }
    first = (first + rows) % mac.out_w;
  }
  return passes;
}

std::vector<Pass> vector_unit(const npu_command_vec& vec, const npu_target& t) {
  const uint64_t in = uint64_t{vec.in_h} * vec.in_w * vec.channels;
  const uint64_t out = uint64_t{vec.out_h} * vec.out_w * vec.channels;
  const bool window = vec.function == NPU_VEC_POOL_MAX || vec.function == NPU_VEC_POOL_AVERAGE;
  const uint64_t taps = window ? out * vec.kernel_h * vec.kernel_w : in;
  const uint64_t b = vec.flags & NPU_VEC_BROADCAST_B ? vec.channels : in;
  const uint64_t bytes[3] = {
      taps * element_bytes(vec.types, 0) + (vec.function == NPU_VEC_LUT ? 256 : 0),
      b * element_bytes(vec.types, 1), out * element_bytes(vec.types, 2)};
  const unsigned cycles = std::max(quotient_up(taps, t.mac_outputs),
                                   quotient_up(std::ranges::max(bytes), t.sram_word_bytes));
  return {{cycles, 0, 0, quotient_up(bytes[0] + bytes[1] + bytes[2], cycles)}};
}

}  // namespace

std::vector<Pass> passes_of(const Command& command, const npu_target& target) {
  switch (command.opcode()) {
    case NPU_OP_VEC:
      return vector_unit(command.vec(), target);
    case NPU_OP_DEPTHWISE:
      return depthwise(command.mac(), target);
    default:
      return dense(command.mac(), command.extension().flags, target);
  }
}

Block block_of(const Command& command, const npu_target& t) {
  const npu_command_dma& dma = command.dma();
  const uint64_t granule = t.dma_granule_bytes;
  Block out;
  uint64_t size[4], run = out.sram = 1u << dma.element_log2;
  for (int i = 0; i < 4; ++i)
    out.sram *= dma.size[i] + (i < 3 ? dma.pad_before[i] + dma.pad_after[i] : 0u);
  if (command.opcode() != NPU_OP_LOAD && command.opcode() != NPU_OP_STORE) return out;
  for (int i = 0; i < 4; ++i) {
    size[i] = dma.size[i];
    if (dma.external_stride[i] == 1u << dma.element_log2) run *= std::exchange(size[i], 1);
  }
  std::vector<uint64_t> granules;
  for (uint64_t i = 0; i < size[0] * size[1] * size[2] * size[3]; ++i) {
    uint64_t at = dma.external_offset;
    for (uint64_t d = 0, rest = i; d < 4; rest /= size[d++])
      at += rest % size[d] * dma.external_stride[d];
    for (uint64_t g = at / granule; g <= (at + run - 1) / granule; ++g) granules.push_back(g);
  }
  std::ranges::sort(granules);
  granules.erase(std::unique(granules.begin(), granules.end()), granules.end());
  for (size_t i = 0; i < granules.size(); ++i) {
    const uint64_t g = granules[i];
    const uint64_t group = uint64_t{dma.region} << 32 | g * granule / group_bytes(t);
    if (out.groups.empty() || out.groups.back() != group) out.groups.push_back(group);
    if (i != 0 && granules[i - 1] + 1 == g && g % (t.dma_burst_bytes / granule) != 0)
      out.bursts.back().first += t.dma_granule_bytes;
    else
      out.bursts.push_back({t.dma_granule_bytes, out.groups.size()});
  }
  out.external = granules.size() * granule;
  return out;
}

}  // namespace npu::arch::testing
