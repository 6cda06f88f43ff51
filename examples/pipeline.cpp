// SPDX-License-Identifier: MIT
//
// Keeps a queue busy: several runs in flight, each reused when it has ended.
//
//   npu-example-pipeline MODEL.npu [DEVICE] [RUNS]
#include <chrono>
#include <cstdio>
#include <cstdlib>
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

void pipeline(const char* model, const char* selector, unsigned runs) {
  constexpr unsigned kInFlight = 4;
  const auto device = npu::Device::open(selector).value();
  const auto network = device.load(read_file(model)).value();
  const auto queue = device.create_queue().value();
  std::vector<npu::Execution> slots;
  for (unsigned i = 0; i < kInFlight; i++) {
    slots.push_back(npu::Execution::create(device, network).value());
  }
  const auto start = std::chrono::steady_clock::now();
  for (unsigned i = 0; i < runs; i++) {
    npu::Execution& slot = slots[i % kInFlight];
    if (i >= kInFlight) slot.wait().value();  // its run before this one
    // Here a program would read slot.output() and fill slot.input().
    slot.start(queue).value();
  }
  for (unsigned i = 0; i < kInFlight && i < runs; i++) slots[i].wait().value();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  std::printf("%u runs, %.0f a second\n", runs, runs / time.count());
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODEL.npu [DEVICE] [RUNS]\n", argv[0]);
    return 2;
  }
  pipeline(argv[1], argc > 2 ? argv[2] : "", argc > 3 ? unsigned(std::atoi(argv[3])) : 100);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
