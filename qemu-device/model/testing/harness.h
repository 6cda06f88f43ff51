// SPDX-License-Identifier: MIT
//
// A host around the card model: the front end of the card without a machine. Flat
// bus memory, a clock that the test moves, and a bus that can fail. For tests only.
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

#include "npu_model.h"
#include "testing/card_driver.h"

namespace npu::model::testing {

struct HarnessOptions {
  npu_target target = default_target();
  uint32_t mode = NPU_MODEL_FULL;
  uint64_t host_bytes = 8u << 20;
  uint32_t dma_bits = 64;

  static npu_target default_target();  // preset "card" with little memory
};

class Harness : public CardPort, public CardDriver {
 public:
  explicit Harness(HarnessOptions options = {});
  ~Harness() override;
  Harness(const Harness&) = delete;
  Harness& operator=(const Harness&) = delete;

  npu_model* model() { return model_; }

  // Bus memory from address 0.
  uint8_t* host(uint64_t address) { return host_.data() + address; }
  uint64_t host_bytes() const { return host_.size(); }
  uint8_t* card(uint64_t address) {
    return static_cast<uint8_t*>(npu_model_card_memory(model_)) + address;
  }

  npu_model_run_result run(uint64_t budget = 0) { return npu_model_run(model_, budget); }

  // CardPort.
  uint64_t bar_read(unsigned bar, uint64_t offset, unsigned bytes) override;
  void bar_write(unsigned bar, uint64_t offset, uint64_t value, unsigned bytes) override;
  void read_card(uint64_t offset, void* data, size_t bytes) override;
  void write_card(uint64_t offset, const void* data, size_t bytes) override;
  void read_memory(uint64_t address, void* data, size_t bytes) override;
  void write_memory(uint64_t address, const void* data, size_t bytes) override;
  uint64_t memory_begin() override { return 4096; }
  uint64_t memory_end() override { return host_.size(); }
  unsigned take_messages(unsigned vector) override;
  void mask_vector(unsigned vector, bool masked) override;
  // A command or packet at a time.
  bool run_until(const std::function<bool()>& done) override;
  void settle() override { run(); }
  void advance(uint64_t ns) override;
  void reset(ResetKind kind) override;
  void set_bus_master(bool on) override;

  // What the host offers.
  uint64_t clock_ns = 1'000'000;
  std::vector<uint32_t> interrupts;  // vectors that were raised, in order
  std::atomic<uint64_t> kicks{0};
  std::function<bool()> cancelled;
  std::function<npu_model_bus(uint64_t address, size_t bytes, bool write)> filter;
  std::string log;
  uint64_t bus_accesses = 0;

 private:
  struct Vector {
    unsigned messages = 0;
    bool masked = false, pending = false;
  };

  void raise(uint32_t vector);
  npu_model_bus access(uint64_t address, void* data, size_t bytes, bool write);

  std::vector<uint8_t> host_;
  std::vector<Vector> vectors_;
  bool bus_master_ = true;
  npu_model* model_ = nullptr;
};

// A queue 1 with address space 1, a stream area, and regions in card or host
// memory: what most tests of commands need.
class JobBench {
 public:
  static constexpr uint32_t kQueue = 1;
  static constexpr uint16_t kAsid = 1;
  static constexpr uint64_t kStreamVa = JobSpace::kStreamVa;
  static constexpr uint64_t kTableVa = JobSpace::kTableVa;
  static constexpr uint64_t kDataVa = JobSpace::kDataVa;  // region 0
  static constexpr uint64_t kDataBytes = 4u << 20;

  explicit JobBench(HarnessOptions options = {}, npu_memory data = NPU_MEMORY_CARD);

  Harness& h() { return harness_; }
  uint8_t* data() { return data_; }  // region 0

  // As JobSpace::packet.
  npu_packet_job packet(std::span<const std::byte> stream, uint8_t flags = 0, uint64_t at = 0) {
    return space_.packet(stream, flags, at);
  }
  npu_packet_job packet(const std::vector<std::vector<std::byte>>& streams, uint8_t flags = 0,
                        uint64_t at = 0) {
    return space_.packet(streams, flags, at);
  }
  npu_completion run(std::span<const std::byte> stream, uint8_t flags = 0) {
    return harness_.submit(kQueue, packet(stream, flags));
  }

 private:
  Harness harness_;
  JobSpace space_;
  uint8_t* data_;
};

}  // namespace npu::model::testing

#endif  // NPU_MODEL_TESTING_HARNESS_H_
