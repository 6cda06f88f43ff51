// SPDX-License-Identifier: MIT
#include "mmu.h"

#include <algorithm>

namespace npu::model {
namespace {

constexpr uint64_t kVaLimit = 1ull << NPU_VA_BITS;

bool allows(const TlbEntry& entry, npu_access access) {
  return access == NPU_ACCESS_WRITE ? entry.write : entry.read;
}

bool covers(const TlbEntry& entry, uint16_t asid, uint64_t va) {
  return entry.valid && entry.asid == asid && entry.page == va >> entry.shift;
}

Translation resolve(const TlbEntry& entry, uint64_t va) {
  const uint64_t size = 1ull << entry.shift;
  const uint64_t offset = va & (size - 1);
  return {entry.card ? NPU_MEMORY_CARD : NPU_MEMORY_HOST, entry.address + offset, size - offset};
}

}  // namespace

size_t Tlb::find(uint16_t asid, uint64_t va) const {
  if (counts_[hash(va >> NPU_MMU_PAGE_SHIFT, asid)] == 0 &&
      counts_[hash(va >> (NPU_MMU_PAGE_SHIFT + NPU_MMU_LEVEL_BITS), asid)] == 0)
    return size();
  size_t slot = 0;
  while (slot < size() && !covers(entries_[slot], asid, va)) ++slot;
  return slot;
}

void Tlb::set(size_t slot, const TlbEntry& entry) {
  TlbEntry& at = entries_[slot];
  if (at.valid) --counts_[hash(at.page, at.asid)];
  at = entry;
  if (at.valid) ++counts_[hash(at.page, at.asid)];
}

npu_status_code Mmu::walk(uint16_t asid, uint64_t va, npu_access access, TlbEntry& out) {
  const uint64_t block = va >> NPU_MMU_BLOCK_SHIFT;
  int level = NPU_MMU_LEVELS - 1;
  npu_memory memory = NPU_MEMORY_HOST;
  uint64_t table = 0;
  npu_status_code status;
  const auto valid = [](uint64_t entry) {
    return (entry & NPU_PTE_VALID) != 0 && (entry & NPU_PTE_RESERVED) == 0;
  };
  const auto descend = [&](uint64_t entry) {
    memory = (entry & NPU_PTE_CARD) != 0 ? NPU_MEMORY_CARD : NPU_MEMORY_HOST;
    table = entry & NPU_PTE_ADDRESS;
  };
  if (table_.valid && table_.asid == asid && table_.block == block) {
    level = 0;
    memory = table_.memory;
    table = table_.address;
  } else {
    const Settings settings = shared_.settings_copy();
    if (va >= kVaLimit || asid >= settings.context_count) return fail(NPU_STATUS_MMU_FAULT, va);
    npu_context context;
    status = bus_.read(NPU_MEMORY_HOST, settings.context_table + uint64_t{asid} * sizeof(context),
                       &context, sizeof(context));
    if (status != NPU_STATUS_OK) return fail(status, bus_.fault_address());
    if ((context.root & NPU_PTE_LEAF) != 0 || context.reserved != 0 || !valid(context.root))
      return fail(NPU_STATUS_MMU_FAULT, va);
    descend(context.root);
  }

  for (;; --level) {
    const unsigned shift = NPU_MMU_PAGE_SHIFT + static_cast<unsigned>(level) * NPU_MMU_LEVEL_BITS;
    uint64_t entry;
    status = bus_.read(memory, table + (va >> shift & (NPU_MMU_ENTRIES - 1)) * 8, &entry, 8);
    if (status != NPU_STATUS_OK) return fail(status, bus_.fault_address());
    const bool leaf = (entry & NPU_PTE_LEAF) != 0;
    if (!valid(entry) || (!leaf && level == 0)) return fail(NPU_STATUS_MMU_FAULT, va);
    if (level == 0 && transfers_ > 0) table_ = {true, asid, block, memory, table};
    if (!leaf) {
      descend(entry);
      continue;
    }
    // Leaves are 4 KiB or 2 MiB, and aligned.
    if (level > 1 || (entry & NPU_PTE_ADDRESS & ((1ull << shift) - 1)) != 0)
      return fail(NPU_STATUS_MMU_FAULT, va);
    out.valid = true;
    out.read = (entry & NPU_PTE_READ) != 0;
    out.write = (entry & NPU_PTE_WRITE) != 0;
    out.card = (entry & NPU_PTE_CARD) != 0;
    out.shift = static_cast<uint8_t>(shift);
    out.asid = asid;
    out.page = va >> shift;
    out.address = entry & NPU_PTE_ADDRESS;
    return allows(out, access) ? NPU_STATUS_OK : fail(NPU_STATUS_MMU_FAULT, va);
  }
}

npu_status_code Mmu::translate(uint16_t asid, uint64_t va, npu_access access, Translation& out) {
  if (covers(tlb_[last_], asid, va) && allows(tlb_[last_], access)) {
    out = resolve(tlb_[last_], va);
    return NPU_STATUS_OK;
  }
  size_t slot = tlb_.find(asid, va);
  const bool replace = slot < tlb_.size();
  if (replace && allows(tlb_[slot], access)) {
    last_ = slot;
    out = resolve(tlb_[slot], va);
    return NPU_STATUS_OK;
  }
  // The permission may have been widened since, which needs no invalidation.
  if (replace)
    tlb_.set(slot, {});
  else
    slot = next_;
  TlbEntry entry;
  const npu_status_code status = walk(asid, va, access, entry);
  if (status != NPU_STATUS_OK) return status;
  tlb_.set(slot, entry);
  if (!replace) next_ = (next_ + 1) % static_cast<uint32_t>(tlb_.size());
  last_ = slot;
  out = resolve(entry, va);
  return NPU_STATUS_OK;
}

bool Mmu::probe(uint16_t asid, uint64_t va, Translation& out) {
  if (const size_t slot = tlb_.find(asid, va); slot < tlb_.size()) {
    out = resolve(tlb_[slot], va);
    return true;
  }
  const uint32_t client = bus_.client();
  bus_.set_client(Bus::kDevice);  // an injected fault is not to strike here
  TlbEntry entry;
  walk(asid, va, NPU_ACCESS_READ, entry);
  bus_.set_client(client);
  if (entry.valid) out = resolve(entry, va);
  return entry.valid;
}

template <typename Move>
npu_status_code Mmu::transfer(uint16_t asid, uint64_t va, size_t bytes, npu_access access,
                              Move move) {
  const Transfer transfer(*this);
  size_t done = 0;
  while (done < bytes) {
    Translation first;
    npu_status_code status = translate(asid, va + done, access, first);
    if (status != NPU_STATUS_OK) return status;
    size_t run = static_cast<size_t>(std::min<uint64_t>(first.bytes, bytes - done));
    // Pages that are neighbours in memory make one bus access. A fault behind
    // this run is reported after what precedes it has been moved.
    npu_status_code behind = NPU_STATUS_OK;
    uint64_t behind_address = 0;
    while (done + run < bytes && run < Bus::kMaxHostBytes) {
      Translation next;
      behind = translate(asid, va + done + run, access, next);
      behind_address = fault_address_;
      if (behind != NPU_STATUS_OK) break;
      if (next.memory != first.memory || next.address != first.address + run) break;
      run += static_cast<size_t>(std::min<uint64_t>(next.bytes, bytes - done - run));
    }
    status = move(first, done, run);
    if (status != NPU_STATUS_OK) return fail(status, bus_.fault_address());
    if (behind != NPU_STATUS_OK) return fail(behind, behind_address);
    done += run;
  }
  return NPU_STATUS_OK;
}

npu_status_code Mmu::read(uint16_t asid, uint64_t va, void* data, size_t bytes, npu_access access) {
  auto* out = static_cast<uint8_t*>(data);
  return transfer(asid, va, bytes, access, [&](const Translation& t, size_t done, size_t run) {
    return bus_.read(t.memory, t.address, out + done, run);
  });
}

npu_status_code Mmu::write(uint16_t asid, uint64_t va, const void* data, size_t bytes) {
  const auto* in = static_cast<const uint8_t*>(data);
  return transfer(asid, va, bytes, NPU_ACCESS_WRITE,
                  [&](const Translation& t, size_t done, size_t run) {
                    return bus_.write(t.memory, t.address, in + done, run);
                  });
}

// Rows are moved together as far as their pages are neighbours in memory; a row
// whose own pages are not goes through transfer().
template <typename Move>
npu_status_code Mmu::transfer_rows(uint16_t asid, uint64_t va, const Rows& rows, npu_access access,
                                   Move move) {
  const Transfer transfer(*this);
  for (size_t i = 0; i < rows.count;) {
    const uint64_t at = va + i * rows.stride;
    Translation first;
    const npu_status_code status = translate(asid, at, access, first);
    if (status != NPU_STATUS_OK) return status;
    uint64_t run = first.bytes;  // from `at` on, known to be in one piece
    size_t n = 0;
    while (i + n < rows.count) {
      const uint64_t begin = n * rows.stride, end = begin + rows.bytes;
      if (end > Bus::kMaxHostBytes) break;
      if (end <= run) {
        ++n;
        continue;
      }
      const uint64_t behind = std::max(begin, run);
      Translation next;
      if (translate(asid, at + behind, access, next) != NPU_STATUS_OK ||
          next.memory != first.memory || next.address != first.address + behind)
        break;  // if it is a fault, it is met again
      run = behind + next.bytes;
    }
    Rows part = rows;
    part.count = n;
    const npu_status_code moved = move(first, i, part);
    if (moved != NPU_STATUS_OK) return moved;
    i += std::max<size_t>(n, 1);
  }
  return NPU_STATUS_OK;
}

npu_status_code Mmu::read_rows(uint16_t asid, uint64_t va, const Rows& rows, uint8_t* data,
                               size_t data_stride) {
  return transfer_rows(
      asid, va, rows, NPU_ACCESS_READ, [&](const Translation& t, size_t row, const Rows& part) {
        uint8_t* out = data + row * data_stride;
        if (part.count == 0)
          return read(asid, va + row * rows.stride, out, rows.bytes, NPU_ACCESS_READ);
        const npu_status_code status = bus_.read_rows(t.memory, t.address, part, out, data_stride);
        return status == NPU_STATUS_OK ? status : fail(status, bus_.fault_address());
      });
}

npu_status_code Mmu::write_rows(uint16_t asid, uint64_t va, const Rows& rows, const uint8_t* data,
                                size_t data_stride) {
  return transfer_rows(
      asid, va, rows, NPU_ACCESS_WRITE, [&](const Translation& t, size_t row, const Rows& part) {
        const uint8_t* in = data + row * data_stride;
        if (part.count == 0) return write(asid, va + row * rows.stride, in, rows.bytes);
        const npu_status_code status = bus_.write_rows(t.memory, t.address, part, in, data_stride);
        return status == NPU_STATUS_OK ? status : fail(status, bus_.fault_address());
      });
}

void Mmu::invalidate(uint16_t asid, uint64_t va, uint64_t bytes) {
  for (size_t slot = 0; slot < tlb_.size(); ++slot) {
    const TlbEntry& entry = tlb_[slot];
    if (!entry.valid || entry.asid != asid) continue;
    const uint64_t begin = entry.page << entry.shift;
    const uint64_t end = begin + (1ull << entry.shift);
    const bool after = bytes != 0 && begin >= va && begin - va >= bytes;
    const bool before = bytes != 0 && end <= va;
    if (!after && !before) tlb_.set(slot, {});
  }
}

void Mmu::clear() {
  for (size_t slot = 0; slot < tlb_.size(); ++slot) tlb_.set(slot, {});
}

void Mmu::set_entries(const std::vector<TlbEntry>& entries, uint32_t next) {
  for (size_t slot = 0; slot < tlb_.size(); ++slot) tlb_.set(slot, entries[slot]);
  next_ = next % static_cast<uint32_t>(tlb_.size());
  last_ = 0;
}

}  // namespace npu::model
