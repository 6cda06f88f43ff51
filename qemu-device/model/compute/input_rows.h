// SPDX-License-Identifier: MIT
//
// The inputs of output pixels as the rows that the matrix kernels multiply:
// every tap's channels. Where SRAM holds them like that they
// are read from it, a piece per tap or, where neighbours are adjacent, per line
// of taps; only lines that reach into the padding are copied. Otherwise rows
// are gathered into a panel.
#ifndef NPU_MODEL_COMPUTE_INPUT_ROWS_H_
#define NPU_MODEL_COMPUTE_INPUT_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "compute/mac_shape.h"
#include "core.h"

namespace npu::model {

class InputRows {
 public:
  // totals: the sum of each row will be asked for.
  void begin(const MacShape& shape, bool totals);
  // For channel by channel: `taps` pieces, at least as many as there are, that
  // start with channel `group`.
  void begin_taps(const MacShape& shape, size_t taps);
  void set(const MacShape& shape, CoreMemory& memory, const Pixel* pixels, unsigned count,
           unsigned group);

  // Piece p of row i: at pointers()[p * piece_stride() + i].
  const uint8_t* const* pointers() const { return pointers_.data(); }
  size_t piece_stride() const { return rows_; }
  size_t pieces() const { return pieces_; }
  size_t piece_groups() const { return piece_groups_; }        // of 4 bytes
  uint32_t total(unsigned row) const { return totals_[row]; }  // of the unsigned bytes

 private:
  void gather(const MacShape& s, CoreMemory& memory, const Pixel* pixels, unsigned count,
              unsigned group);

  void copy_line(const MacShape& s, const uint8_t* line, int64_t first_x, uint8_t* out,
                 const uint8_t* end) const;

  bool direct_ = false;
  bool lines_ = false;  // a piece is a line of taps
  bool with_totals_ = false;
  size_t pieces_ = 1, piece_groups_ = 0, rows_ = 0;
  std::vector<const uint8_t*> pointers_;
  std::vector<const uint8_t*> first_;  // tap 0 of each row
  std::vector<unsigned> outside_;      // rows whose windows need a look at every tap
  std::vector<uint8_t> padding_;       // a tap outside the input
  std::vector<uint32_t> totals_;
};

}  // namespace npu::model

#endif  // NPU_MODEL_COMPUTE_INPUT_ROWS_H_
