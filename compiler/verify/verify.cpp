// SPDX-License-Identifier: MIT
#include "compiler/verify/verify.h"

#include <fmt/format.h>
#include <libnpu/npu.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace npu::compiler {
namespace {

std::string last_error() {
  npu_error error = {};
  error.struct_size = sizeof(error);
  npu_last_error(&error);
  return error.text;
}

struct BufferDeleter {
  void operator()(npu_buffer* buffer) const { npu_buffer_destroy(buffer); }
};
using Buffer = std::unique_ptr<npu_buffer, BufferDeleter>;

struct NetworkDeleter {
  void operator()(npu_network* network) const { npu_network_unload(network); }
};

Buffer make_buffer(npu_device* device, uint64_t bytes) {
  npu_buffer_desc desc = {};
  desc.struct_size = sizeof(desc);
  desc.source = NPU_BUFFER_HOST;
  desc.size = bytes;
  npu_buffer* buffer = nullptr;
  return npu_buffer_create(device, &desc, &buffer) == NPU_OK ? Buffer(buffer) : Buffer();
}

}  // namespace

struct SimulatedCard::Impl {
  npu_device* device = nullptr;
  bool function_only = true;
  std::string error;
};

SimulatedCard::SimulatedCard(const npu_target& target, bool function_only)
    : impl_(std::make_unique<Impl>()) {
  uint32_t words[NPU_TARGET_WORDS];
  static_assert(sizeof(words) == sizeof(target));
  std::memcpy(words, &target, sizeof(words));
  npu_open_desc desc = {};
  desc.struct_size = sizeof(desc);
  desc.flags = function_only ? NPU_OPEN_FUNCTION_ONLY : 0;
  desc.sim_target = words;
  impl_->function_only = function_only;
  if (npu_device_open("sim", &desc, &impl_->device) != NPU_OK) impl_->error = last_error();
}

SimulatedCard::~SimulatedCard() {
  if (impl_->device != nullptr) npu_device_close(impl_->device);
}

std::string SimulatedCard::run(std::span<const std::byte> model, const std::vector<Bytes>& inputs,
                               std::vector<Bytes>& outputs) {
  if (impl_->device == nullptr) return impl_->error;
  npu_network_desc description = {};
  description.struct_size = sizeof(description);
  description.data = model.data();
  description.size = model.size();
  npu_network* loaded = nullptr;
  if (npu_network_load(impl_->device, &description, &loaded) != NPU_OK) return last_error();
  const std::unique_ptr<npu_network, NetworkDeleter> network(loaded);
  npu_network_info info = {};
  info.struct_size = sizeof(info);
  if (npu_network_query(loaded, &info) != NPU_OK) return last_error();
  if (info.inputs != inputs.size()) return fmt::format("the model has {} inputs", info.inputs);

  std::vector<Buffer> buffers;
  std::vector<npu_binding> bindings;
  std::vector<uint64_t> sizes;
  for (uint32_t i = 0; i < info.inputs + info.outputs; ++i) {
    npu_tensor_info tensor = {};
    tensor.struct_size = sizeof(tensor);
    if (npu_network_tensor(loaded, i, &tensor) != NPU_OK) return last_error();
    if (i < info.inputs && tensor.bytes != inputs[i].size()) {
      return fmt::format("input {} has {} bytes, not {}", i, tensor.bytes, inputs[i].size());
    }
    buffers.push_back(make_buffer(impl_->device, tensor.bytes));
    if (!buffers.back()) return last_error();
    bindings.push_back({buffers.back().get(), 0});
    sizes.push_back(tensor.bytes);
    void* memory = nullptr;
    if (npu_buffer_map(buffers.back().get(), &memory, nullptr) != NPU_OK) return last_error();
    if (i < info.inputs) {
      std::memcpy(memory, inputs[i].data(), inputs[i].size());
    } else {
      std::memset(memory, 0xa5, tensor.bytes);  // what is not written shows
    }
    npu_buffer_sync(buffers.back().get(), NPU_SYNC_TO_DEVICE, 0, tensor.bytes);
  }
  const Buffer profile = make_buffer(impl_->device, std::max<uint64_t>(info.profile_bytes, 1));
  if (!profile) return last_error();

  npu_queue* queue = nullptr;
  if (npu_queue_create(impl_->device, nullptr, &queue) != NPU_OK) return last_error();
  npu_run run = {};
  run.struct_size = sizeof(run);
  run.flags = NPU_RUN_PROFILE;
  run.network = loaded;
  run.bindings = bindings.data();
  run.binding_count = static_cast<uint32_t>(bindings.size());
  run.profile = profile.get();
  npu_fence done = {};
  std::string error;
  if (npu_submit(queue, &run, 1, nullptr, 0, &done) != NPU_OK ||
      npu_wait(impl_->device, &done, 1, NPU_WAIT_ALL, UINT64_MAX, nullptr) != NPU_OK) {
    error = last_error();
  }
  npu_run_report report = {};
  report.struct_size = sizeof(report);
  if (error.empty() && npu_profile_report(loaded, profile.get(), &report) == NPU_OK) {
    cycles_ = report.cycles;
  }
  npu_queue_destroy(queue);
  if (!error.empty()) return error;
  outputs.clear();
  for (uint32_t i = info.inputs; i < info.inputs + info.outputs; ++i) {
    npu_buffer_sync(buffers[i].get(), NPU_SYNC_FROM_DEVICE, 0, sizes[i]);
    void* memory = nullptr;
    if (npu_buffer_map(buffers[i].get(), &memory, nullptr) != NPU_OK) return last_error();
    const auto* bytes = static_cast<const uint8_t*>(memory);
    outputs.emplace_back(bytes, bytes + sizes[i]);
  }
  return {};
}

std::vector<Bytes> test_inputs(const Graph& graph, uint32_t pattern) {
  std::mt19937 random(pattern);
  std::vector<Bytes> out;
  for (const ValueId id : graph.inputs) {
    const Value& value = graph.value(id);
    const uint8_t low = static_cast<uint8_t>(byte_low(value.type));
    const uint8_t high = static_cast<uint8_t>(byte_high(value.type));
    Bytes bytes(static_cast<size_t>(elements(value.shape)));
    for (size_t i = 0; i < bytes.size(); ++i) {
      switch (pattern) {
        case 0:
          bytes[i] = low;
          break;
        case 1:
          bytes[i] = high;
          break;
        case 2:
          bytes[i] = i % 2 == 0 ? low : high;
          break;
        case 3:
          bytes[i] = static_cast<uint8_t>(value.quantization.zero);
          break;
        default:
          bytes[i] = static_cast<uint8_t>(random());
          break;
      }
    }
    out.push_back(std::move(bytes));
  }
  return out;
}

Verification verify(const Graph& graph, std::span<const std::byte> model, const npu_target& target,
                    uint32_t patterns, const std::function<void(uint32_t)>& progress) {
  SimulatedCard card(target);
  Verification result;
  for (uint32_t pattern = 0; pattern < patterns; ++pattern) {
    const std::vector<Bytes> inputs = test_inputs(graph, pattern);
    const std::vector<Bytes> expected = interpret(graph, inputs, [&] {
      if (progress) progress(pattern);
    });
    std::vector<Bytes> got;
    if (std::string error = card.run(model, inputs, got); !error.empty()) {
      result.text = "the simulated card refused the model: " + error;
      return result;
    }
    for (size_t i = 0; i < expected.size(); ++i) {
      result.values += expected[i].size();
      if (got[i] == expected[i]) continue;
      const auto [a, b] = std::mismatch(expected[i].begin(), expected[i].end(), got[i].begin());
      uint64_t differing = 0;
      for (size_t k = 0; k < expected[i].size(); ++k) differing += expected[i][k] != got[i][k];
      result.text = fmt::format(
          "output '{}', input pattern {}: {} of {} values differ, first at {}: {} instead of {}",
          graph.output_names[i], pattern, differing, expected[i].size(), a - expected[i].begin(),
          *b, *a);
      return result;
    }
  }
  result.ok = true;
  result.text = fmt::format("{} values of {} inputs equal the reference", result.values, patterns);
  return result;
}

}  // namespace npu::compiler
