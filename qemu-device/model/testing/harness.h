// SPDX-License-Identifier: MIT
//
// A host around the card model: flat bus memory, page tables, queues with
// rings, a clock that the test moves. For tests only.
#ifndef NPU_MODEL_TESTING_HARNESS_H_
#define NPU_MODEL_TESTING_HARNESS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "npu/command.h"
#include "npu/mmu.h"
#include "npu/queue.h"
#include "npu/registers.h"
#include "npu/status.h"
#include "npu_model.h"

namespace npu::model::testing {

struct HarnessOptions {
  npu_target target = default_target();
  uint32_t mode = NPU_MODEL_FULL;
  uint64_t host_bytes = 8u << 20;

  static npu_target default_target();  // preset "card" with little memory
};

class Harness {
 public:
  explicit Harness(HarnessOptions options = {});
  ~Harness();
  Harness(const Harness&) = delete;
  Harness& operator=(const Harness&) = delete;

  npu_model* model() { return model_; }
  const npu_target& target() const { return options_.target; }

  uint32_t read(uint32_t offset) {
    return static_cast<uint32_t>(npu_model_read(model_, offset, 4));
  }
  uint64_t read64(uint32_t offset) { return npu_model_read(model_, offset, 8); }
  void write(uint32_t offset, uint32_t value) { npu_model_write(model_, offset, value, 4); }
  void write64(uint32_t offset, uint64_t value) { npu_model_write(model_, offset, value, 8); }
  uint32_t queue_reg(uint32_t queue, uint32_t reg) { return read(NPU_QUEUE_PAGE(queue) + reg); }

  // Bus memory from address 0.
  uint8_t* host(uint64_t address) { return host_.data() + address; }
  uint64_t host_bytes() const { return host_.size(); }
  uint8_t* card(uint64_t address) {
    return static_cast<uint8_t*>(npu_model_card_memory(model_)) + address;
  }
  template <typename T>
  T load(uint64_t address) {
    T value;
    std::memcpy(&value, host(address), sizeof(value));
    return value;
  }
  template <typename T>
  void store(uint64_t address, const T& value) {
    std::memcpy(host(address), &value, sizeof(value));
  }

  // Never freed. alignment is a power of two.
  uint64_t allocate(uint64_t bytes, uint64_t alignment = 4096);
  uint64_t allocate_card(uint64_t bytes, uint64_t alignment = 4096);

  // Tables in bus memory; va, address and bytes are page aligned.
  void map(uint16_t asid, uint64_t va, npu_memory memory, uint64_t address, uint64_t bytes,
           uint64_t rights = NPU_PTE_READ | NPU_PTE_WRITE);
  void map_block(uint16_t asid, uint64_t va, npu_memory memory, uint64_t address,
                 uint64_t rights = NPU_PTE_READ | NPU_PTE_WRITE);
  void unmap(uint16_t asid, uint64_t va, uint64_t bytes);
  uint64_t pte_address(uint16_t asid, uint64_t va, int level = 0);
  // Allocates and maps; returns the bus (or card) address.
  uint64_t map_new(uint16_t asid, uint64_t va, uint64_t bytes, npu_memory memory = NPU_MEMORY_HOST,
                   uint64_t rights = NPU_PTE_READ | NPU_PTE_WRITE);

  // Points the card at the tables and enables it, as after a reset.
  void program();

  // Writes the context and STARTs the queue; run() makes it take effect.
  npu_queue_context make_context(uint32_t queue, uint16_t asid);
  void start(uint32_t queue, const npu_queue_context& context);
  void start(uint32_t queue, uint16_t asid) { start(queue, make_context(queue, asid)); }

  // Writes a packet into the ring; ring() announces everything written.
  template <typename T>
  uint64_t put(uint32_t queue, const T& packet) {
    static_assert(sizeof(T) == sizeof(npu_packet));
    return put_bytes(queue, &packet);
  }
  void ring(uint32_t queue);
  uint64_t produced(uint32_t queue) const { return queues_[queue].produced; }

  npu_model_run_result run(uint64_t budget = 0) { return npu_model_run(model_, budget); }
  template <typename T>
  npu_completion submit(uint32_t queue, const T& packet) {
    const uint64_t index = put(queue, packet);
    ring(queue);
    run();
    return completion(queue, index);
  }
  npu_completion completion(uint32_t queue, uint64_t index);
  bool completed(uint32_t queue, uint64_t index) {
    return completion(queue, index).sequence == index + 1;
  }
  uint64_t consumer(uint32_t queue);
  const npu_queue_context& context(uint32_t queue) const { return queues_[queue].context; }
  // Events since the last call.
  std::vector<npu_event> events();

  // What the host offers.
  uint64_t clock_ns = 1'000'000;
  std::vector<uint32_t> interrupts;  // vectors, in order
  std::atomic<uint64_t> kicks{0};
  std::function<bool()> cancelled;
  std::function<npu_model_bus(uint64_t address, size_t bytes, bool write)> filter;
  std::string log;
  uint64_t bus_accesses = 0;

  static constexpr uint32_t kRingLog2 = 6;
  static constexpr uint32_t kEventLog2 = 6;

 private:
  struct QueueState {
    npu_queue_context context{};
    uint64_t produced = 0;
  };

  uint64_t put_bytes(uint32_t queue, const void* packet);
  npu_model_bus access(uint64_t address, void* data, size_t bytes, bool write);

  HarnessOptions options_;
  std::vector<uint8_t> host_;
  uint64_t host_next_ = 4096;
  uint64_t card_next_ = 4096;
  uint64_t context_table_ = 0, queue_table_ = 0, event_ring_ = 0;
  uint32_t events_seen_ = 0;
  std::vector<QueueState> queues_;
  npu_model* model_ = nullptr;
};

// Packets.
npu_packet_job job_packet(uint64_t stream_va, uint32_t stream_bytes, uint64_t region_va,
                          uint8_t regions, uint8_t flags = 0);

// A queue 1 with address space 1, a stream area, and regions in card or host
// memory: what most tests of commands need.
class JobBench {
 public:
  static constexpr uint32_t kQueue = 1;
  static constexpr uint16_t kAsid = 1;
  static constexpr uint64_t kStreamVa = 0x10000000;
  static constexpr uint64_t kTableVa = 0x20000000;
  static constexpr uint64_t kDataVa = 0x40000000;  // region 0
  static constexpr uint64_t kDataBytes = 4u << 20;

  explicit JobBench(HarnessOptions options = {}, npu_memory data = NPU_MEMORY_CARD);

  Harness& h() { return harness_; }
  uint8_t* data() { return data_; }  // region 0

  // Puts the streams in place; the packet runs them with region 0.
  npu_packet_job packet(std::span<const std::byte> stream, uint8_t flags = 0);
  npu_packet_job packet(const std::vector<std::vector<std::byte>>& streams, uint8_t flags = 0);
  npu_completion run(std::span<const std::byte> stream, uint8_t flags = 0) {
    return harness_.submit(kQueue, packet(stream, flags));
  }

 private:
  Harness harness_;
  uint8_t* data_ = nullptr;
};

// One contiguous LOAD or STORE between region 0 at `offset` and SRAM.
npu_command_dma contiguous(npu_opcode opcode, uint64_t offset, uint32_t sram, uint32_t bytes);

}  // namespace npu::model::testing

#endif  // NPU_MODEL_TESTING_HARNESS_H_
