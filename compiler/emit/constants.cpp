// SPDX-License-Identifier: MIT
#include "compiler/emit/constants.h"

#include <cassert>
#include <utility>

#include "compiler/schedule/mac_plan.h"

namespace npu::compiler {

Constants::Constants(std::vector<uint8_t> initial)
    : initial_(std::move(initial)), size_(initial_.size()) {}

uint64_t Constants::add(uint64_t bytes, Maker make) {
  const uint64_t offset = (size_ + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
  pieces_.push_back({offset, bytes, std::move(make)});
  size_ = offset + bytes;
  return offset;
}

uint64_t Constants::add(std::vector<uint8_t> bytes) {
  const uint64_t size = bytes.size();
  return add(size, [bytes = std::move(bytes)](std::vector<uint8_t>& out) {
    out.insert(out.end(), bytes.begin(), bytes.end());
  });
}

std::vector<uint8_t> Constants::bytes() const {
  std::vector<uint8_t> out;
  out.reserve(size_);
  out = initial_;
  for (const Piece& piece : pieces_) {
    out.resize(piece.offset);
    piece.make(out);
    assert(out.size() == piece.offset + piece.bytes);
  }
  return out;
}

}  // namespace npu::compiler
