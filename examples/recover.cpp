// SPDX-License-Identifier: MIT
//
// Survives a job that fails: a queue with a cycle limit that is too small is
// poisoned by its first run; a new queue goes on, in the same process.
//
//   npu-example-recover MODEL.npu [DEVICE]
#include <cstdio>
#include <fstream>
#include <iterator>
#include <libnpu/npu.hpp>

namespace {

std::vector<std::byte> read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(std::string(path) + ": cannot be read");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

// True if a new queue is all that a program needs after this error.
bool queue_is_lost(npu_result code) {
  return code == NPU_ERROR_JOB_FAULT || code == NPU_ERROR_JOB_HUNG || code == NPU_ERROR_VICTIM ||
         code == NPU_ERROR_JOB_ABORTED || code == NPU_ERROR_QUEUE_POISONED;
}

int recover(const char* model, const char* selector) {
  const auto device = npu::Device::open(selector).value();
  const auto network = device.load(read_file(model)).value();
  auto run = npu::Execution::create(device, network).value();
  npu_queue_desc desc = {};
  desc.cycle_limit = 100;  // far too few for any model
  auto queue = device.create_queue(desc).value();
  for (int attempt = 1; attempt <= 3; attempt++) {
    auto done = run.start(queue);
    auto ended = done ? run.wait() : npu::Result<>(done.error());
    if (ended) {
      std::printf("attempt %d: done\n", attempt);
      return attempt == 2 ? 0 : 1;
    }
    std::printf("attempt %d: %s\n", attempt, ended.error().text.c_str());
    if (!queue_is_lost(ended.code())) return 1;
    queue = device.create_queue().value();
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODEL.npu [DEVICE]\n", argv[0]);
    return 2;
  }
  return recover(argv[1], argc > 2 ? argv[2] : "");
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
