// SPDX-License-Identifier: MIT
//
// A small host around the card model, for hostile scripts: memory with a fixed
// layout, a bus that can fail, a clock that the script moves, and the checks
// that hold whatever the script does. A check that fails aborts.
#ifndef NPU_TESTS_FUZZ_MACHINE_H_
#define NPU_TESTS_FUZZ_MACHINE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "ledger.h"
#include "npu/mmu.h"
#include "npu/queue.h"
#include "npu/registers.h"
#include "npu_model.h"

namespace npu::fuzz {

// Bus memory, in pages. Each queue has one page: ring, completions, indices.
inline constexpr uint64_t kPage = 4096;
inline constexpr uint64_t kContextTable = 1 * kPage;
inline constexpr uint64_t kQueueTable = 2 * kPage;
inline constexpr uint64_t kEventRing = 3 * kPage;
inline constexpr uint64_t kQueuePages = 4 * kPage;
inline constexpr uint64_t kSavePages = 8 * kPage;
inline constexpr uint64_t kHostTables = 16 * kPage;
inline constexpr uint64_t kHostData = 32 * kPage;
inline constexpr uint64_t kHostDataPages = 16;  // of each address space
inline constexpr uint64_t kHostBytes = 100 * kPage;
inline constexpr uint64_t kHostSecret = kHostBytes - kPage;  // nobody's
// Card memory.
inline constexpr uint64_t kCardBytes = 1 << 20;
inline constexpr uint64_t kCardSecret = 0;
inline constexpr uint64_t kCardTables = 1 * kPage;
inline constexpr uint64_t kCardData = 32 * kPage;
inline constexpr uint64_t kCardDataPages = 16;
inline constexpr uint64_t kCardReadOnly = 31 * kPage;
inline constexpr uint32_t kQueues = 4;
inline constexpr uint32_t kAsids = 4;
inline constexpr uint32_t kRingLog2 = 4;

// Virtual addresses: all in the first 2 MiB, so that four tables map them.
inline constexpr uint64_t kVaHost = 0;  // streams first, then the region table, then data
inline constexpr uint64_t kVaCard = 32 * kPage;
inline constexpr uint64_t kVaReadOnly = 64 * kPage;
inline constexpr uint64_t kVaRegion1 = kVaHost + 8 * kPage;
inline constexpr uint64_t kVaUnmapped = 80 * kPage;
inline constexpr uint64_t kVaRegions = kVaHost + 12 * kPage;
inline constexpr uint64_t kVaProfile = kVaHost + 13 * kPage;

// A card small enough for thousands of lives a second.
npu_target small_target();

// Bus and card memory, to be used again: getting it anew costs more than most
// scripts.
struct Memory {
  Memory();
  void clear();
  std::vector<uint8_t> host;
  std::vector<uint8_t> card;
};

class Machine {
 public:
  Machine(uint32_t mode, Memory& memory, Ledger* ledger);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  npu_model* model() { return model_; }
  // Tables, queues and registers as a driver sets them up; queues started.
  void set_up();
  void start(uint32_t queue, const npu_queue_context& context);
  npu_queue_context context(uint32_t queue) const;

  void write(uint64_t offset, uint64_t value, unsigned size = 4) {
    npu_model_write(model_, offset, value, size);
  }
  uint64_t read(uint64_t offset, unsigned size = 4) { return npu_model_read(model_, offset, size); }

  uint8_t* host(uint64_t address) { return memory_.host.data() + address; }
  uint8_t* card(uint64_t address) { return memory_.card.data() + address; }
  // False when the range is not all in that memory.
  bool poke(npu_memory memory, uint64_t address, const void* data, size_t bytes);
  bool peek(npu_memory memory, uint64_t address, void* data, size_t bytes);

  // Where the entry of `level` for `va` lies, from the tables as they are; false
  // when a table is missing.
  bool entry_address(uint32_t asid, uint64_t va, int level, npu_memory& memory, uint64_t& address);
  // Writes a leaf; the tables that set_up() made must reach it.
  void map(uint32_t asid, uint64_t va, uint64_t entry);

  // Puts `packet` into the ring, with or without the doorbell.
  void submit(uint32_t queue, const void* packet, bool ring);
  void ring(uint32_t queue);
  // A doorbell for `more` packets than the ring holds, while nothing is under way.
  void ring_too_much(uint32_t queue, uint32_t more);
  // `commands`: what the streams of the packet just submitted consist of.
  void expect(uint32_t queue, uint64_t va, std::vector<uint8_t> bytes);

  npu_model_run_result run(uint64_t budget);
  // Reads completions and events for the ledger.
  void observe();
  // What must be true at any time.
  void check();
  void save_and_load();
  // Saved state with bytes changed. False: refused, and the card is as after a reset.
  void load_changed(size_t position, uint8_t value, int cut);
  // The same for each of some positions, and some work after each; then as it was.
  void load_all_changed(size_t first, size_t stride, uint8_t value);

  // The script has named physical addresses: the card may rightly touch anything.
  void distrust() { trusted_ = false; }
  // Even what the card says in memory may be the script's own doing.
  void disbelieve() { trusted_ = believed_ = false; }

  uint64_t clock_ns = 1'000'000;
  uint32_t polls_left = kMaxPolls;  // questions "cancelled?" answered with no
  uint32_t fail_after = 0;          // bus accesses until one fails; 0: none does
  npu_model_bus failure = NPU_BUS_DECODE_ERROR;
  uint64_t produced[kQueues] = {};

  // A register that is written while the card works, as by another processor, when
  // it has asked the host that many things. 0: none is.
  uint32_t write_after = 0;
  uint64_t write_offset = 0;
  uint32_t write_value = 0;

  // Whether each packet has completed, and well, and nothing but jobs has had a
  // say: then what is in memory does not depend on how the card came there.
  bool all_well() const;

  // What bounds the time of a script: the card asks once a round of its loop and
  // after about 0.5 ms of work.
  static constexpr uint32_t kMaxPolls = 120;

 private:
  struct Expected {
    uint32_t queue;
    uint64_t packet;
    uint64_t host_address;
    std::vector<uint8_t> bytes;
  };

  npu_model_bus access(uint64_t address, void* data, size_t bytes, bool write);
  void check_write(uint64_t address, const void* data, size_t bytes);
  void check_owner(uint64_t address) const;
  void check_rings();
  void other_processor();
  void retired(const Expected& job);
  uint64_t new_table(npu_memory memory);

  Ledger* const ledger_;
  Memory& memory_;
  npu_model* model_ = nullptr;
  bool trusted_ = true;
  bool believed_ = true;
  uint64_t host_tables_ = kHostTables;
  uint64_t card_tables_ = kCardTables;
  uint64_t seen_[kQueues] = {};
  uint64_t completed_[kQueues] = {};  // as written by the card
  bool body_written_[kQueues][1u << kRingLog2] = {};
  bool well_ = true;
  uint32_t events_seen_ = 0;
  std::vector<Expected> expected_;
};

}  // namespace npu::fuzz

#endif  // NPU_TESTS_FUZZ_MACHINE_H_
