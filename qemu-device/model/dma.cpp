// SPDX-License-Identifier: MIT
#include "dma.h"

#include <algorithm>
#include <cstring>

#include "npu/mmu.h"

namespace npu::model {
namespace {

constexpr uint64_t kPage = 1ull << NPU_MMU_PAGE_SHIFT;
constexpr uint32_t kPieceElements = 2048;
constexpr uint64_t kVaLimit = 1ull << NPU_VA_BITS;

// Fills `count` elements of `element` bytes, `stride` apart.
void fill_elements(uint8_t* at, uint64_t count, uint64_t stride, uint32_t element, uint32_t value) {
  if (element == 1 && stride == 1) {
    std::memset(at, static_cast<int>(value & 0xff), count);
    return;
  }
  for (uint64_t i = 0; i < count; ++i) std::memcpy(at + i * stride, &value, element);
}

}  // namespace

void DmaOp::begin(const arch::Command& command, uint64_t region_base, uint16_t asid,
                  std::span<CoreMemory* const> gang, unsigned core) {
  dma_ = command.dma();
  opcode_ = command.opcode();
  sram_ = gang[core]->sram();
  const bool from_peer = opcode_ == NPU_OP_PEER_LOAD;
  const bool from_sram = from_peer || opcode_ == NPU_OP_SRAM_COPY;
  source_ = from_peer ? gang[dma_.peer_core]->sram() : sram_;
  asid_ = asid;
  element_ = 1u << dma_.element_log2;
  base_ = from_sram ? dma_.source_address : region_base + dma_.external_offset;
  if (region_base >= kVaLimit) base_ = kVaLimit;  // beyond every mapping: faults

  uint64_t padded[4];
  bool padding = false;
  for (int i = 0; i < 4; ++i) {
    const uint32_t extra = i < 3 ? dma_.pad_before[i] + dma_.pad_after[i] : 0;
    padded[i] = uint64_t{dma_.size[i]} + extra;
    padding = padding || extra != 0;
  }
  fill_rows_ =
      opcode_ == NPU_OP_FILL || (opcode_ == NPU_OP_LOAD && padding) ? padded[2] * padded[3] : 0;
  copies_.clear();
  if (opcode_ != NPU_OP_STORE) {
    const uint64_t rows = dma_.ring_rows != 0 ? dma_.ring_rows : padded[2];
    const uint64_t end = dma_.sram_address + (padded[0] - 1) * dma_.sram_stride[0] +
                         (padded[1] - 1) * dma_.sram_stride[1] + (rows - 1) * dma_.sram_stride[2] +
                         (padded[3] - 1) * dma_.sram_stride[3] + element_;
    for (unsigned position = 0; position < gang.size(); ++position) {
      const bool copied = (dma_.multicast >> position & 1) != 0;
      if (copied) copies_.push_back(gang[position]->sram());
      if (copied || position == core) gang[position]->note_sram(dma_.sram_address, end);
    }
  }

  units_ = fill_rows_;
  inner_ = {};
  for (Dimension& d : outer_) d = {};
  run_bytes_ = element_;
  if (opcode_ == NPU_OP_FILL) return;

  std::vector<Dimension> dims;
  for (int i = 3; i >= 0; --i) {
    const bool row = i == 2 && dma_.ring_rows != 0;
    if (dma_.size[i] > 1 || row)
      dims.push_back({dma_.size[i], dma_.external_stride[i], dma_.sram_stride[i], row});
  }
  const auto take = [&](auto wanted) {
    for (size_t i = dims.size(); i-- > 0;) {
      if (dims[i].row || !wanted(dims[i])) continue;
      inner_ = dims[i];
      dims.erase(dims.begin() + static_cast<std::ptrdiff_t>(i));
      return true;
    }
    return false;
  };
  while (take([&](const Dimension& d) { return d.external == run_bytes_ && d.sram == run_bytes_; }))
    run_bytes_ *= inner_.size;
  inner_ = {};
  if (!take([&](const Dimension& d) { return d.external == run_bytes_; }) && dims.size() > 0)
    take([](const Dimension&) { return true; });
  units_ += 1;
  uint64_t data_units = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    outer_[3 - dims.size() + i] = dims[i];
    data_units *= dims[i].size;
  }
  // An element may cost a page walk of bus accesses.
  const bool scattered = !from_sram && inner_.external != run_bytes_;
  piece_ = scattered ? std::min(inner_.size, kPieceElements) : inner_.size;
  pieces_ = (inner_.size + piece_ - 1) / piece_;
  element_ns_ = run_bytes_ / 8 + (scattered && inner_.external >= kPage ? 500 : 20);
  units_ = fill_rows_ + data_units * pieces_;
}

void DmaOp::fill(uint8_t* sram, uint64_t unit, uint64_t rows) const {
  const uint64_t row = unit % rows;
  const uint64_t plane = unit / rows;
  const uint64_t n0 = uint64_t{dma_.size[0]} + dma_.pad_before[0] + dma_.pad_after[0];
  const uint64_t n1 = uint64_t{dma_.size[1]} + dma_.pad_before[1] + dma_.pad_after[1];
  const uint64_t at_row = dma_.ring_rows != 0 ? (dma_.ring_first + row) % dma_.ring_rows : row;
  uint8_t* at =
      sram + dma_.sram_address + at_row * dma_.sram_stride[2] + plane * dma_.sram_stride[3];
  if (dma_.sram_stride[0] == element_ && (n1 == 1 || dma_.sram_stride[1] == n0 * element_)) {
    fill_elements(at, n0 * n1, element_, element_, dma_.pad_value);
    return;
  }
  for (uint64_t i = 0; i < n1; ++i)
    fill_elements(at + i * dma_.sram_stride[1], n0, dma_.sram_stride[0], element_, dma_.pad_value);
}

npu_status_code DmaOp::move(Mmu& mmu, uint64_t va, uint64_t sram, uint32_t count) {
  if (opcode_ == NPU_OP_SRAM_COPY || opcode_ == NPU_OP_PEER_LOAD) {
    for (uint32_t i = 0; i < count; ++i)
      std::memmove(sram_ + sram + i * inner_.sram, source_ + va + i * inner_.external, run_bytes_);
    return NPU_STATUS_OK;
  }
  const Rows rows = {count, run_bytes_, inner_.external};
  const bool load = opcode_ == NPU_OP_LOAD;
  if (rows.count == 1)
    return load ? mmu.read(asid_, va, sram_ + sram, run_bytes_, NPU_ACCESS_READ)
                : mmu.write(asid_, va, sram_ + sram, run_bytes_);
  return load ? mmu.read_rows(asid_, va, rows, sram_ + sram, inner_.sram)
              : mmu.write_rows(asid_, va, rows, sram_ + sram, inner_.sram);
}

bool DmaOp::run(uint64_t& cursor, Mmu& mmu, Progress& progress, Fault& fault) {
  const uint64_t fill_per_plane = uint64_t{dma_.size[2]} + dma_.pad_before[2] + dma_.pad_after[2];
  // The origin of the data in the padded block.
  const uint64_t origin = opcode_ == NPU_OP_FILL
                              ? 0
                              : uint64_t{dma_.sram_address} +
                                    uint64_t{dma_.pad_before[0]} * dma_.sram_stride[0] +
                                    uint64_t{dma_.pad_before[1]} * dma_.sram_stride[1];
  while (cursor < units_) {
    if (progress.pause()) return false;
    if (cursor < fill_rows_) {
      fill(sram_, cursor, fill_per_plane);
      for (uint8_t* copy : copies_) fill(copy, cursor, fill_per_plane);
      progress.work(64 + uint64_t{dma_.size[1]} * dma_.size[0] * element_ / 16);
      ++cursor;
      continue;
    }
    uint64_t rest = cursor - fill_rows_;
    const uint64_t first = rest % pieces_ * piece_;
    const auto count = static_cast<uint32_t>(std::min<uint64_t>(piece_, inner_.size - first));
    rest /= pieces_;
    uint64_t va = base_ + first * inner_.external;
    uint64_t sram = origin + first * inner_.sram;
    bool ring = false;
    for (int i = 2; i >= 0; --i) {
      const Dimension& d = outer_[i];
      const uint64_t index = rest % d.size;
      rest /= d.size;
      va += index * d.external;
      if (d.row) {
        ring = true;
        sram += (dma_.ring_first + dma_.pad_before[2] + index) % dma_.ring_rows * d.sram;
      } else {
        sram += index * d.sram;
      }
    }
    if (!ring) sram += uint64_t{dma_.pad_before[2]} * dma_.sram_stride[2];
    const npu_status_code status = move(mmu, va, sram, count);
    if (status != NPU_STATUS_OK) {
      fault.status = status;
      fault.access = opcode_ == NPU_OP_STORE ? NPU_ACCESS_WRITE : NPU_ACCESS_READ;
      fault.address = mmu.fault_address();
      return true;
    }
    for (uint8_t* copy : copies_)
      for (uint64_t at = sram, i = 0; i < count; ++i, at += inner_.sram)
        std::memcpy(copy + at, sram_ + at, run_bytes_);
    progress.work(100 + (1 + copies_.size()) * count * element_ns_);
    ++cursor;
  }
  return true;
}

}  // namespace npu::model
