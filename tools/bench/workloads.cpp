// SPDX-License-Identifier: MIT
#include "tools/bench/workloads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "arch/numerics.h"
#include "arch/stream.h"
#include "npu/compiled_model.h"
#include "tools/common/program.h"

namespace npu::tools {
namespace {

using umd::ModelDescription;

constexpr uint32_t kChunk = 64 << 10;
constexpr uint32_t kAlignment = 64;
constexpr unsigned kIn = NPU_REGION_TENSORS, kOut = NPU_REGION_TENSORS + 1;
constexpr int kOutputZero = 128;
constexpr unsigned kSamples = 256;

uint32_t aligned(uint64_t bytes) {
  return static_cast<uint32_t>((bytes + kAlignment - 1) / kAlignment * kAlignment);
}

npu_command_dma block(npu_opcode opcode, unsigned region, uint64_t offset, uint32_t sram,
                      uint32_t bytes) {
  npu_command_dma dma = {};
  dma.header.opcode = static_cast<uint8_t>(opcode);
  dma.region = static_cast<uint8_t>(region);
  dma.external_offset = offset;
  dma.size[0] = bytes;
  dma.size[1] = dma.size[2] = dma.size[3] = 1;
  dma.external_stride[0] = dma.sram_stride[0] = 1;
  dma.sram_address = sram;
  return dma;
}

std::vector<std::byte> random_weights(uint64_t bytes) {
  std::mt19937 random(1);
  std::vector<std::byte> weights(bytes);
  for (std::byte& weight : weights) weight = static_cast<std::byte>(random());
  return weights;
}

// Results then fill most of the output's range.
float scale_for(uint64_t terms) {
  return 1.0f / (100.0f * std::sqrt(static_cast<float>(terms)));
}

ModelDescription one_layer(const npu_target& target, const std::string& name, const char* type,
                           uint64_t in_bytes, uint64_t out_bytes, uint64_t macs) {
  ModelDescription model;
  model.name = name;
  model.target = target;
  model.inputs = {{"in", NPU_TYPE_UINT8, {static_cast<uint32_t>(in_bytes)}, in_bytes}};
  model.outputs = {{"out", NPU_TYPE_UINT8, {static_cast<uint32_t>(out_bytes)}, out_bytes}};
  model.operators = {{name, type, macs}};
  model.macs = macs;
  return model;
}

npu_command_mac mac_command(npu_opcode opcode, uint64_t terms) {
  npu_command_mac mac = {};
  mac.header.opcode = static_cast<uint8_t>(opcode);
  mac.types = NPU_TYPES(NPU_TYPE_UINT8, NPU_TYPE_INT8, NPU_TYPE_UINT8, 0);
  mac.kernel_h = mac.kernel_w = mac.stride_y = mac.stride_x = 1;
  mac.dilation_y = mac.dilation_x = 1;
  mac.groups = 1;
  mac.output_zero = kOutputZero;
  mac.clamp_low = 0;
  mac.clamp_high = 255;
  mac.scale_f32 = arch::f32_bits(scale_for(terms));
  return mac;
}

npu_sram_tensor tensor_at(uint32_t address, uint32_t width, uint32_t channels) {
  npu_sram_tensor tensor = {};
  tensor.address = address;
  tensor.pixel_stride = channels;
  tensor.row_stride = width * channels;
  return tensor;
}

uint8_t requantized(int32_t sum, uint64_t terms) {
  return static_cast<uint8_t>(arch::requantize(sum, scale_for(terms), kOutputZero, 0, 255));
}

}  // namespace

std::string Gemm::name() const {
  return fmt::format("gemm_{}x{}x{}", m, n, k);
}
std::string Conv::name() const {
  return fmt::format("conv_ic{}oc{}ih{}k{}s{}p{}", in_c, out_c, size, kernel, stride, pad);
}

ModelDescription empty_workload(const npu_target& target) {
  ModelDescription model;
  model.name = "empty";
  model.target = target;
  model.outputs = {{"out", NPU_TYPE_UINT8, {kAlignment}, kAlignment}};
  model.operators = {{"nothing", "Nop", 0}};
  npu_command_header nop = {};
  nop.records = 1;
  nop.opcode = NPU_OP_NOP;
  nop.engine = NPU_ENGINE_DISPATCH;
  std::vector<std::byte> stream(NPU_RECORD_BYTES);
  std::memcpy(stream.data(), &nop, sizeof nop);
  model.jobs = {{{stream}, true}};
  return model;
}

const char* transfer_name(Transfer transfer) {
  switch (transfer) {
    case Transfer::kCardRead:
      return "card_read";
    case Transfer::kCardWrite:
      return "card_write";
    case Transfer::kHostRead:
      return "host_read";
    default:
      return "host_write";
  }
}

ModelDescription transfer_workload(const npu_target& target, Transfer transfer, uint64_t bytes) {
  const bool card = transfer == Transfer::kCardRead || transfer == Transfer::kCardWrite;
  const bool read = transfer == Transfer::kCardRead || transfer == Transfer::kHostRead;
  ModelDescription model = one_layer(target, transfer_name(transfer), "Transfer",
                                     card ? kChunk : bytes, card ? kChunk : bytes, 0);
  model.scratch_bytes = card ? bytes : 0;
  const unsigned region = card ? NPU_REGION_SCRATCH : read ? kIn : kOut;
  arch::StreamBuilder builder;
  for (uint64_t at = 0; at < bytes; at += kChunk) {
    builder.append(block(read ? NPU_OP_LOAD : NPU_OP_STORE, region, at, 0, kChunk));
  }
  model.jobs = {{{builder.bytes()}, false}};
  return model;
}

// SRAM: rows of A | two tiles of B | two tiles of the output. B's next tile
// arrives while the array works on this one.
ModelDescription gemm_workload(const npu_target& target, const Gemm& g) {
  uint32_t rows = g.m, columns = std::min(g.n, 4 * target.mac_outputs);
  const auto need = [&] {
    return uint64_t{aligned(uint64_t{rows} * g.k)} + 2ull * aligned(uint64_t{columns} * g.k) +
           2ull * aligned(uint64_t{rows} * columns);
  };
  while (need() > target.sram_bytes || rows > 65535) {
    if (rows > target.accumulator_rows || (columns <= target.mac_outputs && rows > 1)) {
      rows = (rows + 1) / 2;
    } else if (columns > target.mac_outputs) {
      columns = std::max(target.mac_outputs, columns / 2);
    } else {
      throw ToolError(
          kExitUnsupported,
          fmt::format("{}: k is too large for {} bytes of SRAM: this benchmark does not "
                      "split k",
                      g.name(), target.sram_bytes));
    }
  }
  ModelDescription model =
      one_layer(target, g.name(), "MatMul", uint64_t{g.m} * g.k, uint64_t{g.m} * g.n, g.macs());
  model.constants = random_weights(uint64_t{g.n} * g.k);
  const uint32_t b_at = aligned(uint64_t{rows} * g.k), b_bytes = aligned(uint64_t{columns} * g.k);
  const uint32_t out_at = b_at + 2 * b_bytes, out_bytes = aligned(uint64_t{rows} * columns);
  arch::StreamBuilder builder;
  uint32_t tile = 0;
  for (uint32_t row = 0; row < g.m; row += rows) {
    const uint32_t r = std::min(rows, g.m - row);
    npu_command_dma a = block(NPU_OP_LOAD, kIn, uint64_t{row} * g.k, 0, r * g.k);
    a.header.wait[0] = arch::encode_wait(NPU_ENGINE_MAC, builder.count(NPU_ENGINE_MAC));
    builder.append(a);
    for (uint32_t column = 0; column < g.n; column += columns, tile++) {
      const uint32_t c = std::min(columns, g.n - column), slot = tile % 2;
      const uint32_t before = tile < 2 ? 0 : tile - 1;  // commands that used this slot are over
      npu_command_dma b = block(NPU_OP_LOAD, NPU_REGION_CONSTANTS, uint64_t{column} * g.k,
                                b_at + slot * b_bytes, c * g.k);
      b.header.wait[0] = arch::encode_wait(NPU_ENGINE_MAC, before);
      const uint32_t loaded = builder.append(b);
      npu_command_mac mac = mac_command(NPU_OP_MATMUL, g.k);
      mac.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, loaded);
      mac.header.wait[1] = arch::encode_wait(NPU_ENGINE_STORE, before);
      mac.in_h = mac.out_h = 1;
      mac.in_w = mac.out_w = static_cast<uint16_t>(r);
      mac.in_c = static_cast<uint16_t>(g.k);
      mac.out_c = static_cast<uint16_t>(c);
      mac.input = tensor_at(0, r, g.k);
      mac.output = tensor_at(out_at + slot * out_bytes, r, c);
      mac.weights = b_at + slot * b_bytes;
      mac.weight_stride = g.k;
      mac.weight_bytes = c * g.k;
      const uint32_t computed = builder.append(mac);
      npu_command_dma store =
          block(NPU_OP_STORE, kOut, uint64_t{row} * g.n + column, out_at + slot * out_bytes, c);
      store.size[1] = r;
      store.external_stride[1] = g.n;
      store.sram_stride[1] = c;
      store.header.wait[0] = arch::encode_wait(NPU_ENGINE_MAC, computed);
      builder.append(store);
    }
  }
  model.jobs = {{{builder.bytes()}, true}};
  return model;
}

// SRAM: the input | two tiles of weights | two tiles of the output, by output
// channels.
ModelDescription conv_workload(const npu_target& target, const Conv& s) {
  const uint32_t out = s.out_size();
  const uint64_t in_bytes = uint64_t{s.size} * s.size * s.in_c,
                 filter = uint64_t{s.kernel} * s.kernel * s.in_c;
  uint32_t channels = std::min(s.out_c, 4 * target.mac_outputs);
  const auto need = [&] {
    return uint64_t{aligned(in_bytes)} + 2ull * aligned(channels * filter) +
           2ull * aligned(uint64_t{out} * out * channels);
  };
  while (in_bytes <= target.sram_bytes && channels > 1 && need() > target.sram_bytes) {
    channels = (channels + 1) / 2;
  }
  if (in_bytes > target.sram_bytes || need() > target.sram_bytes) {
    throw ToolError(kExitUnsupported,
                    fmt::format("{}: the input does not fit {} bytes of SRAM: this benchmark does "
                                "not split it",
                                s.name(), target.sram_bytes));
  }
  ModelDescription model =
      one_layer(target, s.name(), "Conv", in_bytes, uint64_t{out} * out * s.out_c, s.macs());
  model.constants = random_weights(s.out_c * filter);
  const uint32_t w_at = aligned(in_bytes), w_bytes = aligned(channels * filter);
  const uint32_t out_at = w_at + 2 * w_bytes, out_bytes = aligned(uint64_t{out} * out * channels);
  arch::StreamBuilder builder;
  builder.append(block(NPU_OP_LOAD, kIn, 0, 0, static_cast<uint32_t>(in_bytes)));
  uint32_t tile = 0;
  for (uint32_t channel = 0; channel < s.out_c; channel += channels, tile++) {
    const uint32_t c = std::min(channels, s.out_c - channel), slot = tile % 2;
    const uint32_t before = tile < 2 ? 0 : tile - 1;
    npu_command_dma w = block(NPU_OP_LOAD, NPU_REGION_CONSTANTS, channel * filter,
                              w_at + slot * w_bytes, static_cast<uint32_t>(c * filter));
    w.header.wait[0] = arch::encode_wait(NPU_ENGINE_MAC, before);
    const uint32_t loaded = builder.append(w);
    npu_command_mac mac = mac_command(NPU_OP_CONV, filter);
    mac.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, loaded);
    mac.header.wait[1] = arch::encode_wait(NPU_ENGINE_STORE, before);
    mac.in_h = mac.in_w = static_cast<uint16_t>(s.size);
    mac.in_c = static_cast<uint16_t>(s.in_c);
    mac.out_h = mac.out_w = static_cast<uint16_t>(out);
    mac.out_c = static_cast<uint16_t>(c);
    mac.kernel_h = mac.kernel_w = static_cast<uint8_t>(s.kernel);
    mac.stride_y = mac.stride_x = static_cast<uint8_t>(s.stride);
    mac.pad_top = mac.pad_left = static_cast<uint8_t>(s.pad);
    mac.input = tensor_at(0, s.size, s.in_c);
    mac.output = tensor_at(out_at + slot * out_bytes, out, c);
    mac.weights = w_at + slot * w_bytes;
    mac.weight_stride = static_cast<uint32_t>(filter);
    mac.weight_bytes = static_cast<uint32_t>(c * filter);
    const uint32_t computed = builder.append(mac);
    npu_command_dma store = block(NPU_OP_STORE, kOut, channel, out_at + slot * out_bytes, c);
    store.size[1] = out * out;
    store.external_stride[1] = s.out_c;
    store.sram_stride[1] = c;
    store.header.wait[0] = arch::encode_wait(NPU_ENGINE_MAC, computed);
    builder.append(store);
  }
  model.jobs = {{{builder.bytes()}, true}};
  return model;
}

unsigned check_gemm(const Gemm& g, const ModelDescription& model, std::span<const uint8_t> input,
                    std::span<const uint8_t> output) {
  std::mt19937_64 random(2);
  unsigned wrong = 0;
  for (unsigned i = 0; i < kSamples; i++) {
    const uint64_t row = random() % g.m, column = random() % g.n;
    int32_t sum = 0;
    for (uint32_t k = 0; k < g.k; k++) {
      sum += input[row * g.k + k] * static_cast<int8_t>(model.constants[column * g.k + k]);
    }
    wrong += output[row * g.n + column] != requantized(sum, g.k);
  }
  return wrong;
}

unsigned check_conv(const Conv& s, const ModelDescription& model, std::span<const uint8_t> input,
                    std::span<const uint8_t> output) {
  std::mt19937_64 random(2);
  unsigned wrong = 0;
  const uint32_t out = s.out_size();
  const uint64_t filter = uint64_t{s.kernel} * s.kernel * s.in_c;
  for (unsigned i = 0; i < kSamples; i++) {
    const uint64_t y = random() % out, x = random() % out, o = random() % s.out_c;
    int32_t sum = 0;
    for (uint32_t ky = 0; ky < s.kernel; ky++) {
      for (uint32_t kx = 0; kx < s.kernel; kx++) {
        const int64_t iy = int64_t(y * s.stride + ky) - s.pad,
                      ix = int64_t(x * s.stride + kx) - s.pad;
        if (iy < 0 || ix < 0 || iy >= s.size || ix >= s.size) continue;  // zero point 0
        for (uint32_t c = 0; c < s.in_c; c++) {
          sum +=
              input[(uint64_t(iy) * s.size + uint64_t(ix)) * s.in_c + c] *
              static_cast<int8_t>(model.constants[o * filter + (ky * s.kernel + kx) * s.in_c + c]);
        }
      }
    }
    wrong += output[(y * out + x) * s.out_c + o] != requantized(sum, filter);
  }
  return wrong;
}

}  // namespace npu::tools
