// SPDX-License-Identifier: MIT
//
// The ways to compute the sums of a MAC command.
#include <algorithm>
#include <cstring>

#include "compute/mac.h"
#include "compute/tensor.h"

namespace npu::model {

bool MacOp::accumulate(const Pixel* pixels, unsigned count, const ChannelRange& range,
                       Progress& progress) {
  const bool done = path_ == Path::kGemm ? accumulate_gemm(pixels, count, range, progress)
                    : path_ == Path::kDepthwise
                        ? accumulate_depthwise(pixels, count, range, progress)
                        : accumulate_reference(pixels, count, range, progress);
  if (!done) return false;
  if ((mac_.accumulate & NPU_ACCUMULATE_ADD) == 0) return true;
  // Instead of the bias, what an earlier command kept.
  for (unsigned i = 0; i < count; ++i) {
    int32_t* row = sums(i);
    with_kept(pixels[i], range, [&](const int32_t* kept, unsigned channel, unsigned n) {
      for (unsigned c = 0; c < n; ++c)
        row[channel + c] = static_cast<int32_t>(
            static_cast<uint32_t>(row[channel + c]) + static_cast<uint32_t>(kept[c]) -
            static_cast<uint32_t>(bias_[range.first + channel + c]));
    });
  }
  return true;
}

bool MacOp::accumulate_reference(const Pixel* pixels, unsigned count, const ChannelRange& range,
                                 Progress& progress) {
  const MacShape& s = shape_;
  for (unsigned i = 0; i < count; ++i) {
    for (unsigned c = 0; c < range.count; ++c) {
      const unsigned oc = range.first + c;
      const unsigned channel = oc / s.group_out * s.group_in;
      const int32_t zero = weight_zero(oc);
      auto sum = static_cast<uint32_t>(bias_[oc]);
      unsigned k = 0;
      for (unsigned ky = 0; ky < s.kernel_h; ++ky) {
        for (unsigned kx = 0; kx < s.kernel_w; ++kx) {
          uint64_t y, x;
          if (!s.tap(pixels[i], ky, kx, y, x)) {
            k += s.group_in;
            continue;
          }
          const uint8_t* in = sram_ + tensor_offset(mac_.input, y, x) + channel;
          for (unsigned ic = 0; ic < s.group_in; ++ic, ++k) {
            const int32_t w = value_of(weight_byte(oc, k), s.weight_signed) - zero;
            sum += static_cast<uint32_t>((value_of(in[ic], s.input_signed) - s.input_zero) * w);
          }
        }
      }
      sums(i)[c] = static_cast<int32_t>(sum);
      if (!progress.work(s.depth + 1)) return false;
    }
  }
  return true;
}

// With x' = x + 128 for int8 input (else x), w' = w - 128 for uint8 weights
// (else w), X = zero of x', W = w - zero - w':
//   sum (x - zx)(w - zw) = sum x'w' + W sum x' - X sum w' - depth X W   (mod 2^32)
void MacOp::prepare_gemm() {
  const MacShape& s = shape_;
  const WeightLayout layout = {mac_.weights, mac_.weight_stride, s.depth,     s.groups,
                               s.group_out,  s.weight_signed,    s.weights_kn};
  packed_ = memory_->packed_weights().get(layout, sram_, *kernels_);
  const auto x_zero = static_cast<uint32_t>(s.input_zero + (s.input_signed ? 128 : 0));
  start_.assign(layout.padded_group() * s.groups, 0);
  const bool any_factor =
      !s.weight_signed || mac_.weight_zero != 0 || (ext_.flags & NPU_EXT_WEIGHT_ZEROS) != 0;
  input_factor_.assign(any_factor ? start_.size() : 0, 0);
  for (unsigned group = 0, oc = 0; group < s.groups; ++group) {
    const int32_t* totals = packed_->total(group, 0);
    const size_t at = group * layout.padded_group();
    for (unsigned column = 0; column < s.group_out; ++column, ++oc)
      start_[at + column] = static_cast<int32_t>(static_cast<uint32_t>(bias_[oc]) -
                                                 x_zero * static_cast<uint32_t>(totals[column]));
    if (!any_factor) continue;
    for (unsigned column = 0; column < s.group_out; ++column) {
      const auto factor = static_cast<uint32_t>((s.weight_signed ? 0 : 128) -
                                                weight_zero(group * s.group_out + column));
      input_factor_[at + column] = static_cast<int32_t>(factor);
      start_[at + column] = static_cast<int32_t>(static_cast<uint32_t>(start_[at + column]) -
                                                 s.depth * x_zero * factor);
    }
  }
  input_.begin(shape_, any_factor);
}

bool MacOp::accumulate_gemm(const Pixel*, unsigned count, const ChannelRange& range,
                            Progress& progress) {
  const size_t padded_group = packed_->layout.padded_group();
  const size_t at = range.group * padded_group + range.column;
  const int8_t* panel = packed_->panel(range.group, range.column);
  const size_t piece_bytes = input_.piece_groups() * kGemmDepth;
  GemmTask task;
  task.flip = shape_.input_signed ? 0x80 : 0;
  task.rows = count;
  task.piece_stride = input_.piece_stride();
  task.columns = std::min(kPanelColumns, padded_group - range.column);
  task.start = start_.data() + at;
  task.start_stride = 0;
  task.sums = sums(0);
  task.sums_stride = kSumsStride;
  const size_t block = std::min(piece_bytes, depth_block_);
  const size_t pieces = std::max<size_t>(1, depth_block_ / piece_bytes);
  for (size_t piece = 0; piece < input_.pieces(); piece += pieces) {
    for (size_t k = 0; k < piece_bytes; k += block) {
      task.inputs = input_.pointers() + piece * task.piece_stride;
      task.offset = k;
      task.pieces = std::min(pieces, input_.pieces() - piece);
      task.groups = std::min(block, piece_bytes - k) / kGemmDepth;
      task.panel = panel + (piece * piece_bytes + k) * task.columns;
      kernels_->gemm(task);
      task.start = task.sums;
      task.start_stride = task.sums_stride;
      const size_t products = count * task.columns * task.pieces * task.groups * kGemmDepth;
      if (!progress.work(products / per_ns_)) return false;
    }
  }
  if (input_factor_.empty()) return true;
  for (unsigned i = 0; i < count; ++i)
    for (unsigned c = 0; c < range.count; ++c)
      sums(i)[c] =
          static_cast<int32_t>(static_cast<uint32_t>(sums(i)[c]) +
                               input_.total(i) * static_cast<uint32_t>(input_factor_[at + c]));
  return true;
}

// Taps in pairs, of weights less their zero points, or in fours where the
// weights are bytes without; a tap outside the input reads its zero point. With
// x' and X as above,
//   sum (x - zx) w = sum x' w - X sum w
void MacOp::prepare_depthwise() {
  const MacShape& s = shape_;
  quads_ = kernels_->depthwise_quads != nullptr && s.weight_signed && mac_.weight_zero == 0 &&
           (ext_.flags & NPU_EXT_WEIGHT_ZEROS) == 0;
  const size_t step = quads_ ? 4 : 2;
  const size_t steps = (s.depth + step - 1) / step;
  const size_t blocks = (size_t{mac_.out_c} + kQuadBlock - 1) / kQuadBlock;
  quad_weights_.assign(quads_ ? blocks * steps * kQuadBlock * 4 : 0, 0);
  pair_weights_.assign(quads_ ? 0 : steps * mac_.out_c * 2, 0);
  start_.assign(bias_.begin(), bias_.end());
  const auto x_zero = static_cast<uint32_t>(s.input_zero + (quads_ && s.input_signed ? 128 : 0));
  for (unsigned oc = 0; oc < mac_.out_c; ++oc) {
    const int32_t zero = weight_zero(oc);
    int32_t total = 0;
    const size_t quads =
        (oc / kQuadBlock * steps * kQuadBlock + quad_position(oc % kQuadBlock)) * 4;
    for (unsigned k = 0; k < s.depth; ++k) {
      const int32_t w = value_of(weight_byte(oc, k), s.weight_signed) - zero;
      if (quads_)
        quad_weights_[quads + k / 4 * kQuadBlock * 4 + k % 4] = static_cast<int8_t>(w);
      else
        pair_weights_[(size_t{k} / 2 * mac_.out_c + oc) * 2 + k % 2] = static_cast<int16_t>(w);
      total += w;
    }
    start_[oc] = static_cast<int32_t>(static_cast<uint32_t>(bias_[oc]) -
                                      x_zero * static_cast<uint32_t>(total));
  }
  input_.begin_taps(shape_, steps * step);
}

bool MacOp::accumulate_depthwise(const Pixel*, unsigned count, const ChannelRange& range,
                                 Progress& progress) {
  const size_t taps = input_.pieces();
  if (quads_)
    kernels_->depthwise_quads({input_.pointers(), input_.piece_stride(),
                               static_cast<uint8_t>(shape_.input_signed ? 0x80 : 0), taps / 4,
                               count, quad_weights_.data() + size_t{range.first} * taps,
                               range.count, start_.data() + range.first, sums(0), kSumsStride});
  else
    kernels_->depthwise({input_.pointers(), input_.piece_stride(), shape_.input_signed, taps / 2,
                         count, pair_weights_.data() + size_t{range.first} * 2, mac_.out_c,
                         range.count, start_.data() + range.first, sums(0), kSumsStride});
  return progress.work(size_t{shape_.depth} * range.count * count / per_ns_ + 1);
}

}  // namespace npu::model
