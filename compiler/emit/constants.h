// SPDX-License-Identifier: MIT
//
// What a network's streams load besides tensors: weights, parameters, tables.
#ifndef NPU_COMPILER_EMIT_CONSTANTS_H_
#define NPU_COMPILER_EMIT_CONSTANTS_H_

#include <cstdint>
#include <functional>
#include <vector>

namespace npu::compiler {

// The content of region 0. Places are given as streams are made, the bytes are made only when they
// are asked for: of many schedules that are tried, one is written.
class Constants {
 public:
  // Appends to `out` what is to lie there; what it refers to must live as long as the Constants.
  using Maker = std::function<void(std::vector<uint8_t>& out)>;

  explicit Constants(std::vector<uint8_t> initial);
  // Puts `bytes` behind what there is, aligned to a DMA granule; returns the offset. `make` appends
  // as many.
  uint64_t add(uint64_t bytes, Maker make);
  uint64_t add(std::vector<uint8_t> bytes);
  uint64_t size() const { return size_; }
  std::vector<uint8_t> bytes() const;

 private:
  struct Piece {
    uint64_t offset, bytes;
    Maker make;
  };
  std::vector<uint8_t> initial_;
  std::vector<Piece> pieces_;
  uint64_t size_;
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_CONSTANTS_H_
