// SPDX-License-Identifier: MIT
#include "sim_queue.h"

#include <cstring>

namespace npu::umd {
namespace {

constexpr uint64_t kCompletionsAt = SimQueue::kRingSize * sizeof(npu_packet);
constexpr uint64_t kIndicesAt = kCompletionsAt + SimQueue::kRingSize * sizeof(npu_completion);
constexpr uint64_t kSaveAt = round_up(kIndicesAt + sizeof(npu_queue_indices), kPageBytes);

}  // namespace

SimQueue::~SimQueue() {
  if (address_ != 0) bus_.release(address_);
}

Status SimQueue::init(uint64_t save_bytes) {
  auto memory = bus_.allocate(kSaveAt + round_up(save_bytes, kPageBytes), false);
  if (!memory.ok()) return memory.error();
  save_bytes_ = save_bytes;
  address_ = *memory;
  auto* base = static_cast<std::byte*>(bus_.pointer(address_));
  ring_ = reinterpret_cast<npu_packet*>(base);
  completions_ = reinterpret_cast<npu_completion*>(base + kCompletionsAt);
  indices_ = reinterpret_cast<npu_queue_indices*>(base + kIndicesAt);
  return {};
}

npu_queue_context SimQueue::context() const {
  npu_queue_context context = {};
  context.ring = address_;
  context.completions = address_ + kCompletionsAt;
  context.indices = address_ + kIndicesAt;
  context.ring_log2 = kRingLog2;
  context.save_area = address_ + kSaveAt;
  context.save_bytes = save_bytes_;
  return context;
}

void SimQueue::push(const void* packet) {
  std::memcpy(&ring_[producer_ % kRingSize], packet, sizeof(npu_packet));
  producer_++;
}

uint32_t SimQueue::announce() {
  __atomic_store_n(&indices_->producer, producer_, __ATOMIC_RELEASE);
  return static_cast<uint32_t>(producer_);
}

bool SimQueue::pop_completion(npu_completion& out) {
  if (retired_ == producer_) return false;
  const npu_completion& slot = completions_[retired_ % kRingSize];
  if (__atomic_load_n(&slot.sequence, __ATOMIC_ACQUIRE) != retired_ + 1) return false;
  out = slot;
  retired_++;
  return true;
}

bool SimQueue::drop_oldest() {
  if (retired_ == producer_) return false;
  retired_++;
  __atomic_store_n(&indices_->consumer, retired_, __ATOMIC_RELEASE);
  return true;
}

}  // namespace npu::umd
