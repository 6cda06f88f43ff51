// SPDX-License-Identifier: MIT
#include "sim_page_table.h"

#include <algorithm>

namespace npu::umd {
namespace {

uint64_t load(const uint64_t* entry) {
  return __atomic_load_n(entry, __ATOMIC_RELAXED);
}
void store(uint64_t* entry, uint64_t value) {
  __atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

unsigned index_of(uint64_t va, int level) {
  return va >> (NPU_MMU_PAGE_SHIFT + level * NPU_MMU_LEVEL_BITS) & (NPU_MMU_ENTRIES - 1);
}

}  // namespace

Result<uint64_t> SimPageTable::new_table() {
  return bus_.allocate(kPageBytes, false);
}

Status SimPageTable::init() {
  auto table = new_table();
  if (!table.ok()) return table.error();
  root_ = *table;
  return {};
}

Result<uint64_t*> SimPageTable::descend(uint64_t* entry, int level) {
  const uint64_t old = load(entry);
  if ((old & NPU_PTE_VALID) && !(old & NPU_PTE_LEAF)) {
    return static_cast<uint64_t*>(bus_.pointer(old & NPU_PTE_ADDRESS));
  }
  auto table = new_table();
  if (!table.ok()) return table.error();
  auto* entries = static_cast<uint64_t*>(bus_.pointer(*table));
  if ((old & NPU_PTE_VALID) && level == 1) {
    for (unsigned i = 0; i < NPU_MMU_ENTRIES; i++) entries[i] = old + i * kPageBytes;
  }
  store(entry, NPU_PTE_VALID | *table);
  return entries;
}

Status SimPageTable::change(uint64_t va, uint64_t size, uint64_t address, uint64_t flags,
                            bool present) {
  while (size > 0) {
    auto* table = static_cast<uint64_t*>(bus_.pointer(root_));
    for (int level = NPU_MMU_LEVELS - 1; level > 1; level--) {
      auto next = descend(&table[index_of(va, level)], level);
      if (!next.ok()) return next.error();
      table = *next;
    }
    uint64_t* block = &table[index_of(va, 1)];
    const uint64_t leaf = flags | NPU_PTE_VALID | NPU_PTE_LEAF;
    uint64_t step = kBlockBytes - va % kBlockBytes;
    if (step == kBlockBytes && size >= kBlockBytes && (!present || address % kBlockBytes == 0)) {
      // A table that this replaces stays allocated: it is found again by nobody,
      // but a walk may be in it.
      store(block, present ? address | leaf : 0);
    } else {
      step = std::min(step, size);
      if (present || (load(block) & NPU_PTE_VALID)) {
        auto pages = descend(block, 1);
        if (!pages.ok()) return pages.error();
        for (uint64_t done = 0; done < step; done += kPageBytes) {
          store(*pages + index_of(va + done, 0), present ? (address + done) | leaf : 0);
        }
      }
    }
    va += step;
    address += step;
    size -= step;
  }
  return {};
}

Status SimPageTable::map(uint64_t va, uint64_t size, uint64_t address, uint64_t flags) {
  return change(va, size, address, flags, true);
}

Status SimPageTable::unmap(uint64_t va, uint64_t size) {
  return change(va, size, 0, 0, false);
}

}  // namespace npu::umd
