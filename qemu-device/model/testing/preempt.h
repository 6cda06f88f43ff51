// SPDX-License-Identifier: MIT
//
// Jobs with YIELDs, and a card on which they overtake each other.
#ifndef NPU_MODEL_TESTING_PREEMPT_H_
#define NPU_MODEL_TESTING_PREEMPT_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "arch/timing.h"
#include "testing/streams.h"

namespace npu::model::testing {

inline constexpr uint32_t kLow = 2, kHigh = 3, kOther = 4;
inline constexpr uint32_t kSumBytes = 64 * 1024;
inline constexpr uint64_t kOutput = 2u << 20;  // of the long job
inline constexpr uint64_t kUrgentOutput = 3u << 20;
inline constexpr uint64_t kUrgentStream = 512 * 1024;

inline npu_command_yield yield_keeping(const std::vector<std::pair<uint32_t, uint32_t>>& ranges) {
  npu_command_yield yield = {};
  for (const auto& [address, bytes] : ranges) {
    yield.live[yield.range_count].address = address;
    yield.live[yield.range_count++].bytes = bytes;
  }
  return yield;
}

// sum = mix(sum, part i) for every part, and a YIELD that keeps the sum between
// each two; then the sum is stored. Between YIELDs lies a product that nobody reads.
struct Network {
  StreamBuilder builder;
  std::vector<uint32_t> yields;  // commands

  // `core`: of a gang, on which it runs.
  explicit Network(int parts = 6, uint64_t output = kOutput, bool with_yields = true,
                   unsigned core = 0) {
    builder.append(load(0, 0, kSumBytes));
    uint32_t added = 0;
    for (int i = 0; i < parts; ++i) {
      npu_command_dma part = load(uint64_t{kSumBytes} * (i + 1), 2 * kSumBytes, kSumBytes);
      part.header.wait[0] = arch::encode_wait(NPU_ENGINE_VEC, added, core);
      const uint32_t loads = builder.append(part);
      npu_command_mac product = arch::test::matmul(64 + 16 * i, 256, 256);
      product.input.address = 8 * kSumBytes;
      product.weights = 9 * kSumBytes;
      product.output.address = 10 * kSumBytes;
      builder.append(product);
      npu_command_vec mix = arch::test::elementwise(NPU_VEC_ADD, 16, 64, 64);
      mix.b.address = 2 * kSumBytes;
      mix.out = mix.a;
      mix.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, loads, core);
      added = builder.append(mix);
      if (!with_yields || i + 1 == parts) continue;
      yields.push_back(builder.commands());
      builder.append(yield_keeping({{0, kSumBytes / 2}, {kSumBytes / 2, kSumBytes / 2}}));
    }
    npu_command_dma out = contiguous(NPU_OP_STORE, output, 0, kSumBytes);
    out.header.wait[0] = arch::encode_wait(NPU_ENGINE_VEC, added, core);
    builder.append(out);
  }
  uint64_t saved_bytes() const { return sizeof(npu_save_header) + kSumBytes; }
  // The longest time between two places where it can be put aside, start and end
  // included.
  uint64_t longest_gap(const npu_target& target) const {
    std::vector<arch::Stream> streams(1);
    arch::StreamError error;
    EXPECT_TRUE(arch::decode_stream(builder.bytes(), target, 0, 1, streams[0], error));
    arch::TimingInput input;
    input.streams = streams;
    input.region_memory = [](unsigned region) {  // as JobBench has them
      return region == arch::kRegionCommands ? arch::External::kHost : arch::External::kCard;
    };
    std::vector<npu_profile_command> trace;
    const arch::JobTiming timing = arch::simulate_job(input, target, &trace);
    uint64_t longest = 0, last = 0;
    for (const uint32_t yield : yields) {
      longest = std::max(longest, trace[yield].start_cycle - last);
      last = trace[yield].start_cycle;
    }
    return std::max(longest, timing.cycles - last);
  }
};

inline StreamBuilder urgent_stream(unsigned core = 0) {
  StreamBuilder s;
  s.append(load(0, 0, 4096));
  npu_command_dma out = contiguous(NPU_OP_STORE, kUrgentOutput + 4096 * core, 0, 4096);
  out.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1, core);
  s.append(out);
  return s;
}

inline HarnessOptions with_cores(uint32_t cores, uint32_t mode = NPU_MODEL_FULL) {
  HarnessOptions options;
  options.target.cores = cores;
  options.mode = mode;
  return options;
}

// Queues kLow and kOther at priority 0, kHigh at 2, with save areas.
class PreemptBench : public JobBench {
 public:
  explicit PreemptBench(uint32_t cores = 1, uint32_t mode = NPU_MODEL_FULL, uint64_t quantum = 0)
      : JobBench(with_cores(cores, mode)) {
    std::mt19937 random(7);
    for (uint32_t i = 0; i < 1u << 20; ++i) data()[i] = static_cast<uint8_t>(random());
    for (const uint32_t queue : {kLow, kHigh, kOther}) {
      npu_queue_context c = h().make_context(queue, kAsid);
      c.priority = queue == kHigh ? 2 : 0;
      c.save_bytes = sizeof(npu_save_header) + 4 * kSumBytes;
      c.save_area = h().allocate(c.save_bytes, 64);
      c.quantum = quantum;
      h().start(queue, c);
    }
    h().run();
  }

  void restart(uint32_t queue, const npu_queue_context& context) {
    h().write(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP);
    h().run();
    h().start(queue, context);
    h().run();
  }
  // Puts the packet on the queue; it runs with the next run().
  uint64_t submit(uint32_t queue, const npu_packet_job& packet) {
    const uint64_t index = h().put(queue, packet);
    h().ring(queue);
    return index;
  }
  uint64_t urgent(uint32_t queue = kHigh) {
    return submit(queue, packet(urgent_stream().bytes(), NPU_PACKET_IRQ, kUrgentStream));
  }
  // Runs the network on kLow up to `commands`, then lets kHigh overtake it: until
  // the first of the two has ended.
  void overtake(const Network& network, uint64_t commands) {
    submit(kLow, packet(network.builder.bytes(), NPU_PACKET_IRQ));
    h().run(commands);
    urgent();
    while (!h().completed(kHigh, 0) && !h().completed(kLow, 0)) h().run(1);
  }
  // Until the job on `queue` is aside.
  void until_aside(uint32_t queue = kLow) {
    while (state(queue) != NPU_QUEUE_PREEMPTED && h().run(1) == NPU_MODEL_MORE) {
    }
    ASSERT_EQ(state(queue), uint32_t{NPU_QUEUE_PREEMPTED});
  }
  uint32_t state(uint32_t queue) { return h().queue_reg(queue, NPU_QUEUE_STATE); }
  uint32_t preemptions(uint32_t queue) { return h().queue_reg(queue, NPU_QUEUE_PREEMPTIONS); }
  uint64_t waited(uint32_t queue) { return h().read64(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_WAITED); }
  uint64_t saved(uint32_t queue) {
    return h().read64(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_SAVED_BYTES);
  }
  std::vector<uint8_t> result(uint64_t output = kOutput) {
    return {data() + output, data() + output + kSumBytes};
  }
};

struct Reference {
  npu_completion completion;
  std::vector<uint8_t> result;

  explicit Reference(const Network& network, uint32_t cores = 1) {
    PreemptBench bench(cores);
    bench.submit(kLow, bench.packet(network.builder.bytes()));
    bench.h().run();
    completion = bench.h().completion(kLow, 0);
    EXPECT_EQ(completion.sequence, 1u);
    EXPECT_EQ(completion.status, 0u) << bench.h().log;
    EXPECT_EQ(completion.cycles_solo, completion.cycles_observed);
    result = bench.result();
  }
};

}  // namespace npu::model::testing

#endif  // NPU_MODEL_TESTING_PREEMPT_H_
