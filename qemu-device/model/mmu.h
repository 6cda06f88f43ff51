// SPDX-License-Identifier: MIT
//
// Address translation: page walk and TLB. Only the TLB caches: an entry stays
// in use until it is evicted or invalidated, whatever the tables say by then;
// an entry that is not valid, or lacks the permission, is never taken from it.
// (Within one transfer the tables above the last one are read once.)
#ifndef NPU_MODEL_MMU_H_
#define NPU_MODEL_MMU_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bus.h"
#include "npu/mmu.h"
#include "npu/queue.h"
#include "npu/status.h"
#include "shared.h"

namespace npu::model {

struct Translation {
  npu_memory memory = NPU_MEMORY_HOST;
  uint64_t address = 0;
  uint64_t bytes = 0;  // from the address to the end of its page
};

struct TlbEntry {
  bool valid = false;
  bool read = false;
  bool write = false;
  bool card = false;
  uint8_t shift = 0;  // of the page: 12 or 21
  uint16_t asid = 0;
  uint64_t page = 0;  // va >> shift
  uint64_t address = 0;
};

// The entries, and a count of those with each hash of the page: most misses
// need no search.
class Tlb {
 public:
  explicit Tlb(size_t size) : entries_(size) {}
  size_t size() const { return entries_.size(); }
  const std::vector<TlbEntry>& entries() const { return entries_; }
  const TlbEntry& operator[](size_t slot) const { return entries_[slot]; }
  size_t find(uint16_t asid, uint64_t va) const;  // size(): none
  void set(size_t slot, const TlbEntry& entry);

 private:
  static constexpr size_t kHashes = 256;
  static size_t hash(uint64_t page, uint16_t asid) { return (page ^ page >> 9 ^ asid) % kHashes; }

  std::vector<TlbEntry> entries_;
  uint32_t counts_[kHashes] = {};
};

class Mmu {
 public:
  Mmu(Bus& bus, Shared& shared) : bus_(bus), shared_(shared), tlb_(shared.target.tlb_entries) {}

  // OK; MMU_FAULT; or DMA_ERROR/ECC when a table cannot be read. After a
  // failure fault_address() is the virtual address, or that of the table.
  npu_status_code translate(uint16_t asid, uint64_t va, npu_access access, Translation& out);
  // Without touching the TLB or reporting anything: where would `va` be read?
  bool probe(uint16_t asid, uint64_t va, Translation& out);

  // Copies through an address space. FETCH reads need the read permission.
  npu_status_code read(uint16_t asid, uint64_t va, void* data, size_t bytes, npu_access access);
  npu_status_code write(uint16_t asid, uint64_t va, const void* data, size_t bytes);
  // The same for rows of `bytes`, `stride` apart, to or from memory where they
  // are `data_stride` apart. Nothing between rows is touched.
  npu_status_code read_rows(uint16_t asid, uint64_t va, const Rows& rows, uint8_t* data,
                            size_t data_stride);
  npu_status_code write_rows(uint16_t asid, uint64_t va, const Rows& rows, const uint8_t* data,
                             size_t data_stride);
  uint64_t fault_address() const { return fault_address_; }

  void invalidate(uint16_t asid, uint64_t va, uint64_t bytes);  // bytes 0: all of the ASID
  void clear();

  const std::vector<TlbEntry>& entries() const { return tlb_.entries(); }
  void set_entries(const std::vector<TlbEntry>& entries, uint32_t next);
  uint32_t next_victim() const { return next_; }

 private:
  npu_status_code walk(uint16_t asid, uint64_t va, npu_access access, TlbEntry& out);
  npu_status_code fail(npu_status_code status, uint64_t address) {
    fault_address_ = address;
    return status;
  }
  template <typename Move>
  npu_status_code transfer_rows(uint16_t asid, uint64_t va, const Rows& rows, npu_access access,
                                Move move);
  template <typename Move>
  npu_status_code transfer(uint16_t asid, uint64_t va, size_t bytes, npu_access access, Move move);

  // The last table of the walk before, for pages that follow each other. Only
  // within one transfer: its walks may as well all have been made at its start.
  struct Table {
    bool valid = false;
    uint16_t asid = 0;
    uint64_t block = 0;  // of 2 MiB
    npu_memory memory = NPU_MEMORY_HOST;
    uint64_t address = 0;
  };
  class Transfer {
   public:
    explicit Transfer(Mmu& mmu) : mmu_(mmu) { ++mmu_.transfers_; }
    ~Transfer() {
      if (--mmu_.transfers_ == 0) mmu_.table_.valid = false;
    }

   private:
    Mmu& mmu_;
  };

  Bus& bus_;
  Shared& shared_;
  Table table_;
  unsigned transfers_ = 0;  // under way, one inside the other
  Tlb tlb_;
  uint32_t next_ = 0;  // victim: round robin
  size_t last_ = 0;    // most recent hit, tried first
  uint64_t fault_address_ = 0;
};

}  // namespace npu::model

#endif  // NPU_MODEL_MMU_H_
