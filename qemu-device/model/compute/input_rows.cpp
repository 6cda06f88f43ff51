// SPDX-License-Identifier: MIT
#include "compute/input_rows.h"

#include <algorithm>
#include <cstring>

namespace npu::model {
namespace {

// Shorter pieces cost more in the kernels than gathering them.
constexpr unsigned kMinPiece = 32;
constexpr unsigned kMaxPieces = 64;
constexpr size_t kChunk = 16;

// Writes up to a chunk more than asked for, and reads as much where that is
// before `end`: most pieces are short.
void copy(uint8_t* to, const uint8_t* from, size_t bytes, const uint8_t* end) {
  if (bytes + kChunk > static_cast<size_t>(end - from)) {
    std::memcpy(to, from, bytes);
    return;
  }
  for (size_t i = 0; i < bytes; i += kChunk) std::memcpy(to + i, from + i, kChunk);
}

}  // namespace

void InputRows::begin(const MacShape& shape, bool totals) {
  with_totals_ = totals;
  const bool adjacent =
      shape.dilation_x == 1 && shape.groups == 1 && shape.input.pixel_stride == shape.group_in;
  const unsigned line = shape.kernel_w * shape.group_in;
  const unsigned taps = shape.kernel_h * shape.kernel_w;
  const auto long_enough = [&](unsigned bytes, unsigned pieces) {
    return bytes % kGemmDepth == 0 && (pieces == 1 || (pieces <= kMaxPieces && bytes >= kMinPiece));
  };
  lines_ = !totals && adjacent && long_enough(line, shape.kernel_h);
  direct_ = lines_ || (!totals && long_enough(shape.group_in, taps));
  pieces_ = lines_ ? shape.kernel_h : direct_ ? taps : 1;
  piece_groups_ =
      ((direct_ ? shape.depth / pieces_ : size_t{shape.depth}) + kGemmDepth - 1) / kGemmDepth;
  if (direct_) padding_.assign(piece_groups_ * kGemmDepth, static_cast<uint8_t>(shape.input_zero));
}

void InputRows::begin_taps(const MacShape& shape, size_t taps) {
  with_totals_ = lines_ = false;
  direct_ = true;
  pieces_ = taps;
  padding_.assign(MacShape::kMaxRange, static_cast<uint8_t>(shape.input_zero));
}

// A line of taps of which some lie in the padding.
void InputRows::copy_line(const MacShape& s, const uint8_t* line, int64_t first_x, uint8_t* out,
                          const uint8_t* end) const {
  for (unsigned kx = 0; kx < s.kernel_w; ++kx, out += s.group_in) {
    const int64_t x = first_x + int64_t{kx} * s.dilation_x;
    if (x < 0 || x >= s.in_w)
      std::memset(out, static_cast<uint8_t>(s.input_zero), s.group_in);
    else
      copy(out, line + static_cast<uint64_t>(x) * s.input.pixel_stride, s.group_in, end);
  }
}

void InputRows::set(const MacShape& s, CoreMemory& memory, const Pixel* pixels, unsigned count,
                    unsigned group) {
  rows_ = count;
  pointers_.assign(pieces_ * rows_, padding_.data());
  if (!direct_) {
    gather(s, memory, pixels, count, group);
    return;
  }
  const uint8_t* channel = memory.sram() + size_t{group} * s.group_in;
  // Windows inside the input, with their rows in order: one offset per piece.
  const unsigned last_y = (s.kernel_h - 1) * s.dilation_y, last_x = (s.kernel_w - 1) * s.dilation_x;
  first_.resize(count);
  outside_.clear();
  for (unsigned i = 0; i < count; ++i) {
    const int64_t y = int64_t{pixels[i].y} * s.stride_y - s.pad_top;
    const int64_t x = int64_t{pixels[i].x} * s.stride_x - s.pad_left;
    first_[i] = channel;
    if (y >= 0 && x >= 0 && y + last_y < s.in_h && x + last_x < s.in_w &&
        (s.input.ring_rows == 0 ||
         (s.input.ring_first + y) % s.input.ring_rows + last_y < s.input.ring_rows))
      first_[i] += tensor_offset(s.input, static_cast<uint64_t>(y), static_cast<uint64_t>(x));
    else
      outside_.push_back(i);
  }
  const unsigned pieces_x = lines_ ? 1 : s.kernel_w;
  if (outside_.size() < count) {
    const uint8_t** out = pointers_.data();
    for (unsigned ky = 0; ky < s.kernel_h; ++ky) {
      for (unsigned kx = 0; kx < pieces_x; ++kx, out += count) {
        const size_t offset = size_t{ky} * s.dilation_y * s.input.row_stride +
                              size_t{kx} * s.dilation_x * s.input.pixel_stride;
        for (unsigned i = 0; i < count; ++i) out[i] = first_[i] + offset;
      }
    }
  }
  const size_t piece_bytes = piece_groups_ * kGemmDepth;
  std::vector<uint8_t>& panel = memory.panel();
  if (lines_ && panel.size() < outside_.size() * pieces_ * piece_bytes + kChunk)
    panel.resize(outside_.size() * pieces_ * piece_bytes + kChunk);
  uint8_t* copied = panel.data();
  for (const unsigned i : outside_) {
    const int64_t first_x = int64_t{pixels[i].x} * s.stride_x - s.pad_left;
    for (unsigned ky = 0; ky < s.kernel_h; ++ky) {
      const uint8_t** out = pointers_.data() + size_t{ky} * pieces_x * count + i;
      const int64_t y = int64_t{pixels[i].y} * s.stride_y - s.pad_top + int64_t{ky} * s.dilation_y;
      if (y < 0 || y >= s.in_h) {
        for (unsigned kx = 0; kx < pieces_x; ++kx) out[size_t{kx} * count] = padding_.data();
        continue;
      }
      const uint8_t* line = channel + tensor_offset(s.input, static_cast<uint64_t>(y), 0);
      if (!lines_) {
        for (unsigned kx = 0; kx < pieces_x; ++kx) {
          const int64_t x = first_x + int64_t{kx} * s.dilation_x;
          out[size_t{kx} * count] = x < 0 || x >= s.in_w
                                        ? padding_.data()
                                        : line + static_cast<uint64_t>(x) * s.input.pixel_stride;
        }
      } else if (first_x >= 0 && first_x + last_x < s.in_w) {
        *out = line + static_cast<uint64_t>(first_x) * s.input.pixel_stride;
      } else {
        copy_line(s, line, first_x, copied, memory.sram() + memory.sram_bytes());
        *out = copied;
        copied += piece_bytes;
      }
    }
  }
}

void InputRows::gather(const MacShape& s, CoreMemory& memory, const Pixel* pixels, unsigned count,
                       unsigned group) {
  const size_t row_bytes = piece_groups_ * kGemmDepth;
  std::vector<uint8_t>& panel = memory.panel();
  if (panel.size() < count * row_bytes + kChunk) panel.resize(count * row_bytes + kChunk);
  totals_.resize(count);
  const auto zero = static_cast<uint8_t>(s.input_zero);
  const bool dense = s.dilation_x == 1 && s.groups == 1 && s.input.pixel_stride == s.group_in;
  const uint8_t* channel = memory.sram() + size_t{group} * s.group_in;
  const uint8_t* end = memory.sram() + memory.sram_bytes();
  const size_t line_bytes = size_t{s.kernel_w} * s.group_in;
  for (unsigned i = 0; i < count; ++i) {
    uint8_t* const row = panel.data() + i * row_bytes;
    uint8_t* out = row;
    const int64_t first_x = int64_t{pixels[i].x} * s.stride_x - s.pad_left;
    const bool inside = first_x >= 0 && first_x + s.kernel_w <= s.in_w;
    for (unsigned ky = 0; ky < s.kernel_h; ++ky, out += line_bytes) {
      const int64_t y = int64_t{pixels[i].y} * s.stride_y - s.pad_top + int64_t{ky} * s.dilation_y;
      if (y < 0 || y >= s.in_h) {
        std::memset(out, zero, line_bytes);
        continue;
      }
      const uint8_t* line = channel + tensor_offset(s.input, static_cast<uint64_t>(y), 0);
      if (dense && inside) {
        copy(out, line + first_x * s.group_in, line_bytes, end);
        continue;
      }
      copy_line(s, line, first_x, out, end);
    }
    std::memset(row + s.depth, 0, row_bytes - s.depth);
    pointers_[i] = row;
    if (!with_totals_) continue;
    const uint8_t flip = s.input_signed ? 0x80 : 0;
    const size_t depth = s.depth;
    uint32_t total = 0;
    for (size_t k = 0; k < depth; ++k) total += static_cast<uint8_t>(row[k] ^ flip);
    totals_[i] = total;
  }
}

}  // namespace npu::model
