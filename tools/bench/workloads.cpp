// SPDX-License-Identifier: MIT
#include "tools/bench/workloads.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <random>
#include <utility>

#include "arch/numerics.h"
#include "arch/stream.h"
#include "compiler/compile.h"
#include "npu/compiled_model.h"
#include "tools/common/program.h"

namespace npu::tools {
namespace {

using umd::ModelDescription;

constexpr uint32_t kChunk = 64 << 10;
constexpr uint32_t kOutputBytes = 64;  // of an empty job
constexpr unsigned kIn = NPU_REGION_TENSORS, kOut = NPU_REGION_TENSORS + 1;
constexpr unsigned kSamples = 256;

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

ModelDescription one_operator(const npu_target& target, const std::string& name, const char* type,
                              uint64_t in_bytes, uint64_t out_bytes) {
  ModelDescription model;
  model.name = name;
  model.target = target;
  model.inputs = {{"in", NPU_TYPE_UINT8, {static_cast<uint32_t>(in_bytes)}, in_bytes}};
  model.outputs = {{"out", NPU_TYPE_UINT8, {static_cast<uint32_t>(out_bytes)}, out_bytes}};
  model.operators = {{name, type, 0}};
  return model;
}

void fill(Layer& layer) {
  layer.scale = 1.0f / (100.0f * std::sqrt(static_cast<float>(layer.terms())));
  std::mt19937 random(1);
  layer.weights.resize(layer.out_c * layer.terms());
  for (int8_t& weight : layer.weights) weight = static_cast<int8_t>(random());
}

}  // namespace

ModelDescription empty_workload(const npu_target& target) {
  ModelDescription model;
  model.name = "empty";
  model.target = target;
  model.outputs = {{"out", NPU_TYPE_UINT8, {kOutputBytes}, kOutputBytes}};
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
  ModelDescription model = one_operator(target, transfer_name(transfer), "Transfer",
                                        card ? kChunk : bytes, card ? kChunk : bytes);
  model.scratch_bytes = card ? bytes : 0;
  const unsigned region = card ? NPU_REGION_SCRATCH : read ? kIn : kOut;
  arch::StreamBuilder builder;
  for (uint64_t at = 0; at < bytes; at += kChunk) {
    builder.append(block(read ? NPU_OP_LOAD : NPU_OP_STORE, region, at, 0, kChunk));
  }
  model.jobs = {{{builder.bytes()}, false}};
  return model;
}

Layer Layer::gemm(uint32_t m, uint32_t n, uint32_t k) {
  Layer layer{.name = fmt::format("gemm_{}x{}x{}", m, n, k),
              .product = true,
              .height = 1,
              .width = m,
              .in_c = k,
              .out_c = n};
  fill(layer);
  return layer;
}

Layer Layer::conv(uint32_t in_c, uint32_t out_c, uint32_t size, uint32_t kernel, uint32_t stride,
                  uint32_t pad) {
  Layer layer{
      .name = fmt::format("conv_ic{}oc{}ih{}k{}s{}p{}", in_c, out_c, size, kernel, stride, pad),
      .product = false,
      .height = size,
      .width = size,
      .in_c = in_c,
      .out_c = out_c,
      .kernel = kernel,
      .stride = stride,
      .pad = pad};
  fill(layer);
  return layer;
}

std::vector<std::byte> compile_layer(const Layer& layer, const npu_target& target) {
  compiler::Graph graph;
  graph.name = layer.name;
  graph.sources = {{layer.name, layer.product ? "MatMul" : "Conv", layer.macs()}};
  const auto add = [&](const char* name, compiler::Shape shape, std::vector<uint32_t> inputs,
                       compiler::OpDetail detail) {
    compiler::Value value;
    value.name = name;
    value.shape = std::move(shape);
    compiler::Op op;
    op.inputs = std::move(inputs);
    op.output = graph.add_value(std::move(value));
    op.detail = std::move(detail);
    if (!op.inputs.empty()) graph.ops.push_back(op);
    return op.output;
  };
  compiler::MacOp mac;
  mac.matmul = layer.product;
  for (int i = 0; i < 2; i++) {
    mac.window.kernel[i] = layer.kernel;
    mac.window.stride[i] = layer.stride;
    mac.window.pad_before[i] = mac.window.pad_after[i] = layer.pad;
  }
  mac.in_channels = layer.in_c;
  mac.out_channels = layer.out_c;
  mac.weights.assign(layer.weights.begin(), layer.weights.end());
  mac.weight_zeros = {0};
  mac.scales = {layer.scale};
  const int64_t in_c = layer.in_c, out_c = layer.out_c, in_h = layer.height, in_w = layer.width,
                out_h = layer.out_h(), out_w = layer.out_w();
  if (layer.product) {
    graph.inputs = {add("in", {in_w, in_c}, {}, {})};
    graph.outputs = {add("out", {in_w, out_c}, graph.inputs, mac)};
  } else {
    // Channels last, as between the layers of a network.
    graph.inputs = {add("in", {1, in_h, in_w, in_c}, {}, {})};
    const auto x = add("x", {1, in_c, in_h, in_w}, graph.inputs,
                       compiler::TransposeOp{.permutation = {0, 3, 1, 2}});
    const auto y = add("y", {1, out_c, out_h, out_w}, {x}, mac);
    graph.outputs = {add("out", {1, out_h, out_w, out_c}, {y},
                         compiler::TransposeOp{.permutation = {0, 2, 3, 1}})};
  }
  graph.input_names = {"in"};
  graph.output_names = {"out"};
  compiler::Diagnostics diagnostics;
  const std::optional<compiler::CompiledModel> model =
      compiler::compile_graph(graph, {.target = target}, diagnostics);
  if (!model) throw ToolError(kExitUnsupported, diagnostics.text());
  return model->file;
}

unsigned check_layer(const Layer& layer, std::span<const uint8_t> input,
                     std::span<const uint8_t> output) {
  std::mt19937_64 random(2);
  unsigned wrong = 0;
  for (unsigned i = 0; i < kSamples; i++) {
    const uint64_t y = random() % layer.out_h(), x = random() % layer.out_w(),
                   o = random() % layer.out_c;
    int32_t sum = 0;
    const int8_t* weight = layer.weights.data() + o * layer.terms();
    for (uint32_t ky = 0; ky < layer.kernel; ky++) {
      for (uint32_t kx = 0; kx < layer.kernel; kx++, weight += layer.in_c) {
        const int64_t iy = int64_t(y * layer.stride + ky) - layer.pad,
                      ix = int64_t(x * layer.stride + kx) - layer.pad;
        if (iy < 0 || ix < 0 || iy >= layer.height || ix >= layer.width) continue;
        const uint8_t* pixel =
            input.data() + (uint64_t(iy) * layer.width + uint64_t(ix)) * layer.in_c;
        for (uint32_t c = 0; c < layer.in_c; c++) sum += pixel[c] * weight[c];
      }
    }
    wrong += output[(y * layer.out_w() + x) * layer.out_c + o] !=
             static_cast<uint8_t>(arch::requantize(sum, layer.scale, 0, 0, 255));
  }
  return wrong;
}

}  // namespace npu::tools
