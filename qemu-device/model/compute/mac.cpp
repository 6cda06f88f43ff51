// SPDX-License-Identifier: MIT
#include "compute/mac.h"

#include <algorithm>
#include <cstring>

#include "compute/tensor.h"

namespace npu::model {
namespace {

constexpr unsigned kTilePixels = 48;
constexpr size_t kMaxTileSums = 256 * 1024;
constexpr size_t kMaxPanelBytes = 4 << 20;

}  // namespace

bool MacOp::begin(const arch::Command& command, CoreMemory& memory) {
  memory_ = &memory;
  sram_ = memory.sram();
  mac_ = command.mac();
  ext_ = command.header().records == 2 ? command.extension() : npu_mac_extension{};
  isa_ = current_isa();
  kernels_ = &current_kernels();

  const unsigned input = NPU_TYPE_AT(mac_.types, 0);
  const unsigned weight = NPU_TYPE_AT(mac_.types, 1);
  const unsigned output = NPU_TYPE_AT(mac_.types, 2);
  const unsigned residual = NPU_TYPE_AT(mac_.types, 3);
  const bool keep = (mac_.accumulate & NPU_ACCUMULATE_KEEP) != 0;
  if (!is_8bit(input) || !is_8bit(weight) || mac_.weight_format != NPU_WEIGHTS_RAW) return false;
  if (!keep && !is_8bit(output) && output != NPU_TYPE_INT32 && output != NPU_TYPE_FP32)
    return false;
  const bool has_residual = (ext_.flags & NPU_EXT_RESIDUAL) != 0;
  if (has_residual && !is_8bit(residual)) return false;
  if (mac_.in_h == 0 || mac_.in_w == 0 || mac_.in_c == 0 || mac_.out_h == 0 || mac_.out_w == 0 ||
      mac_.out_c == 0)
    return false;

  const bool matmul = command.opcode() == NPU_OP_MATMUL;
  const bool depthwise = command.opcode() == NPU_OP_DEPTHWISE;
  kernel_h_ = matmul ? 1 : mac_.kernel_h;
  kernel_w_ = matmul ? 1 : mac_.kernel_w;
  stride_y_ = matmul ? 1 : mac_.stride_y;
  stride_x_ = matmul ? 1 : mac_.stride_x;
  dilation_y_ = matmul ? 1 : mac_.dilation_y;
  dilation_x_ = matmul ? 1 : mac_.dilation_x;
  groups_ = depthwise ? mac_.out_c : matmul ? 1u : std::max<unsigned>(mac_.groups, 1);
  if (mac_.in_c % groups_ != 0 || mac_.out_c % groups_ != 0) return false;
  group_in_ = mac_.in_c / groups_;
  group_out_ = mac_.out_c / groups_;
  depth_ = kernel_h_ * kernel_w_ * group_in_;
  input_signed_ = input == NPU_TYPE_INT8;
  weight_signed_ = weight == NPU_TYPE_INT8;
  weights_kn_ = matmul && (mac_.flags & NPU_MAC_WEIGHTS_KN) != 0;

  bias_.assign(mac_.out_c, 0);
  if ((mac_.flags & NPU_MAC_BIAS) != 0)
    std::memcpy(bias_.data(), sram_ + mac_.bias, bias_.size() * sizeof(int32_t));
  output_.begin(mac_, ext_, sram_, isa_, *kernels_);
  choose_path();

  const uint64_t element = output_.output_element_bytes();
  uint64_t pixels = uint64_t{mac_.out_h} * mac_.out_w;
  unsigned rows = mac_.out_h, columns = mac_.out_w;
  unsigned per_pixel = 1;
  if (output_.pools()) {
    if (ext_.pool_h == 0 || ext_.pool_w == 0) return false;
    rows /= ext_.pool_h;
    columns /= ext_.pool_w;
    pixels = uint64_t{rows} * columns;
    per_pixel = ext_.pool_h * ext_.pool_w;
    if (pixels == 0) return false;
  }
  // The same for every path: a saved cursor must mean the same units on a host
  // with another instruction set.
  const size_t row_sums =
      (size_t{group_out_} + kGemmColumns - 1) / kGemmColumns * kGemmColumns * groups_;
  tile_ = static_cast<unsigned>(std::clamp<size_t>(
      std::min(kMaxTileSums / row_sums, kMaxPanelBytes / (depth_ + kGemmDepth)), 1, kTilePixels));
  sums_.resize(tile_ * sums_stride_);
  bytes_.resize(size_t{tile_} * mac_.out_c);
  const unsigned unit = output_.pools() ? std::max(1u, tile_ / per_pixel) : tile_;
  units_ = (pixels + unit - 1) / unit;

  if (keep)
    memory.note_accumulators();
  else
    memory.note_sram(tensor_end(mac_.output, rows, columns, mac_.out_c * element));
  if (path_ == Path::kGemm) pack_gemm();
  if (path_ == Path::kDepthwise) pack_depthwise();
  return true;
}

void MacOp::choose_path() {
  sums_stride_ = mac_.out_c;
  padded_depth_ = 0;
  per_ns_ = 1;
  path_ = Path::kReference;
  if (isa_ == Isa::kReference) return;
  // The zero point must be a value of the input's type: padding is gathered.
  const int32_t zero = mac_.input_zero;
  if (zero < (input_signed_ ? -128 : 0) || zero > (input_signed_ ? 127 : 255)) return;
  // Packed copies may be larger than the weights; what a strange stride would
  // blow up stays on the slow path.
  const size_t limit = std::max<size_t>(8u << 20, size_t{4} * memory_->sram_bytes());
  if (group_in_ == 1 && group_out_ == 1) {
    if (size_t{depth_} * mac_.out_c * sizeof(int16_t) > limit) return;
    path_ = Path::kDepthwise;
    per_ns_ = isa_ == Isa::kScalar ? 1 : 8;
    return;
  }
  padded_group_out_ = (group_out_ + kGemmColumns - 1) / kGemmColumns * kGemmColumns;
  const size_t depth = (size_t{depth_} + kGemmDepth - 1) / kGemmDepth * kGemmDepth;
  if (depth * padded_group_out_ * groups_ > limit) return;
  path_ = Path::kGemm;
  padded_depth_ = depth;
  sums_stride_ = size_t{padded_group_out_} * groups_;
  per_ns_ = isa_ == Isa::kAvx512Vnni ? 128 : isa_ == Isa::kAvx2 ? 32 : 1;
}

uint8_t MacOp::weight_byte(unsigned oc, unsigned index) const {
  return weights_kn_ ? sram_[mac_.weights + uint64_t{index} * mac_.weight_stride + oc]
                     : sram_[mac_.weights + uint64_t{oc} * mac_.weight_stride + index];
}

int32_t MacOp::weight_zero(unsigned oc) const {
  if ((ext_.flags & NPU_EXT_WEIGHT_ZEROS) != 0)
    return value_of(sram_[uint64_t{ext_.weight_zeros} + oc], weight_signed_);
  return mac_.weight_zero;
}

// With x' = x + 128 for int8 input (else x), w' = w - 128 for uint8 weights
// (else w), X = zero of x', W = w - zero - w':
//   sum (x - zx)(w - zw) = sum x'w' + W sum x' - X sum w' - depth X W   (mod 2^32)
void MacOp::pack_gemm() {
  const uint32_t x_zero =
      static_cast<uint32_t>(int32_t{mac_.input_zero} + (input_signed_ ? 128 : 0));
  const uint8_t flip = weight_signed_ ? 0 : 0x80;
  packed_.assign(padded_depth_ * padded_group_out_ * groups_, 0);
  start_.assign(sums_stride_, 0);
  input_factor_.assign(sums_stride_, 0);
  bool any_factor = false;
  for (unsigned oc = 0; oc < mac_.out_c; ++oc) {
    const unsigned group = oc / group_out_;
    const unsigned column = oc % group_out_;
    const size_t at = size_t{group} * padded_group_out_ + column;
    int8_t* tile = packed_.data() + at / kGemmColumns * kGemmColumns * padded_depth_ +
                   at % kGemmColumns * kGemmDepth;
    const uint32_t sum = weights_kn_ ? pack_strided(oc, flip, tile) : pack_row(oc, flip, tile);
    const auto factor = static_cast<uint32_t>((weight_signed_ ? 0 : 128) - weight_zero(oc));
    start_[at] = static_cast<int32_t>(static_cast<uint32_t>(bias_[oc]) - x_zero * sum -
                                      depth_ * x_zero * factor);
    input_factor_[at] = static_cast<int32_t>(factor);
    any_factor = any_factor || factor != 0;
  }
  if (!any_factor) input_factor_.clear();
}

// One output's weights into its column of a tile; returns their sum.
uint32_t MacOp::pack_row(unsigned oc, uint8_t flip, int8_t* tile) const {
  constexpr size_t kStep = kGemmColumns * kGemmDepth;
  const uint8_t* from = sram_ + mac_.weights + uint64_t{oc} * mac_.weight_stride;
  int32_t sum = 0;
  for (unsigned k = 0; k < depth_; ++k) sum += static_cast<int8_t>(from[k] ^ flip);
  const uint32_t flips = flip * 0x01010101u;
  const unsigned whole = depth_ / kGemmDepth;
  for (unsigned g = 0; g < whole; ++g) {
    const uint32_t word = load_as<uint32_t>(from + g * kGemmDepth) ^ flips;
    std::memcpy(tile + g * kStep, &word, sizeof(word));
  }
  for (unsigned k = whole * kGemmDepth; k < depth_; ++k)
    tile[whole * kStep + k % kGemmDepth] = static_cast<int8_t>(from[k] ^ flip);
  return static_cast<uint32_t>(sum);
}

uint32_t MacOp::pack_strided(unsigned oc, uint8_t flip, int8_t* tile) const {
  uint32_t sum = 0;
  for (unsigned k = 0; k < depth_; ++k) {
    const auto w = static_cast<int8_t>(weight_byte(oc, k) ^ flip);
    tile[size_t{k} / kGemmDepth * kGemmColumns * kGemmDepth + k % kGemmDepth] = w;
    sum += static_cast<uint32_t>(int32_t{w});
  }
  return sum;
}

void MacOp::pack_depthwise() {
  taps_.resize(size_t{depth_} * mac_.out_c);
  for (unsigned oc = 0; oc < mac_.out_c; ++oc)
    for (unsigned k = 0; k < depth_; ++k)
      taps_[size_t{k} * mac_.out_c + oc] =
          static_cast<int16_t>(value_of(weight_byte(oc, k), weight_signed_) - weight_zero(oc));
}

bool MacOp::run(uint64_t& cursor, Progress& progress) {
  while (cursor < units_) {
    if (progress.pause()) return false;
    if (!(output_.pools() ? pool_unit(cursor, progress) : plain_unit(cursor, progress)))
      return false;
    ++cursor;
  }
  // A command of any size works through the accumulators in sub-tiles.
  if (mac_.accumulate == 0) memory_->clear_accumulators();
  return true;
}

int32_t* MacOp::kept_row(const Pixel& pixel, unsigned lane_tile) {
  const uint64_t pixels = uint64_t{mac_.out_h} * mac_.out_w;
  const uint64_t row =
      mac_.accumulator_base + lane_tile * pixels + uint64_t{pixel.y} * mac_.out_w + pixel.x;
  // The stream check bounds the row; a wrong one must not leave the array.
  return memory_->accumulator_row(
      static_cast<uint32_t>(std::min<uint64_t>(row, memory_->accumulator_rows() - 1)));
}

bool MacOp::plain_unit(uint64_t tile, Progress& progress) {
  const uint64_t first = tile * tile_;
  const uint64_t pixels = uint64_t{mac_.out_h} * mac_.out_w;
  const auto count = static_cast<unsigned>(std::min<uint64_t>(tile_, pixels - first));
  Pixel list[kTilePixels];
  for (unsigned i = 0; i < count; ++i)
    list[i] = {static_cast<uint32_t>((first + i) / mac_.out_w),
               static_cast<uint32_t>((first + i) % mac_.out_w)};
  if (!accumulate(list, count, progress)) return false;
  const unsigned lanes = memory_->lanes();
  for (unsigned i = 0; i < count; ++i) {
    const int32_t* sums = sums_.data() + i * sums_stride_;
    if ((mac_.accumulate & NPU_ACCUMULATE_KEEP) != 0) {
      for (unsigned c = 0; c < mac_.out_c; c += lanes)
        std::memcpy(kept_row(list[i], c / lanes), sums + c,
                    std::min(lanes, mac_.out_c - c) * sizeof(int32_t));
      continue;
    }
    uint8_t* out = sram_ + tensor_offset(mac_.output, list[i].y, list[i].x);
    if (output_.raw_output()) {
      output_.raw(sums, out);
      continue;
    }
    const uint8_t* residual = (ext_.flags & NPU_EXT_RESIDUAL) != 0
                                  ? sram_ + tensor_offset(ext_.residual, list[i].y, list[i].x)
                                  : nullptr;
    output_.values(sums, residual, out);
  }
  return true;
}

bool MacOp::pool_unit(uint64_t tile, Progress& progress) {
  const unsigned columns = mac_.out_w / ext_.pool_w;
  const uint64_t pooled = uint64_t{mac_.out_h} / ext_.pool_h * columns;
  const unsigned window = ext_.pool_h * ext_.pool_w;
  const unsigned unit = std::max(1u, tile_ / window);
  const uint64_t first = tile * unit;
  const auto count = static_cast<unsigned>(std::min<uint64_t>(unit, pooled - first));
  const unsigned total = count * window;

  std::vector<uint8_t> results(size_t{count} * mac_.out_c);
  Pixel list[kTilePixels];
  for (unsigned done = 0; done < total;) {
    const unsigned n = std::min(tile_, total - done);
    for (unsigned i = 0; i < n; ++i) {
      const uint64_t at = first + (done + i) / window;
      const unsigned tap = (done + i) % window;
      list[i] = {static_cast<uint32_t>(at / columns * ext_.pool_h + tap / ext_.pool_w),
                 static_cast<uint32_t>(at % columns * ext_.pool_w + tap % ext_.pool_w)};
    }
    if (!accumulate(list, n, progress)) return false;
    for (unsigned i = 0; i < n; ++i) {
      const unsigned tap = (done + i) % window;
      const uint8_t* residual = (ext_.flags & NPU_EXT_RESIDUAL) != 0
                                    ? sram_ + tensor_offset(ext_.residual, list[i].y, list[i].x)
                                    : nullptr;
      output_.values(sums_.data() + i * sums_stride_, residual, bytes_.data());
      if (tap == 0) output_.pool_begin();
      output_.pool_add(bytes_.data());
      if (tap == window - 1)
        output_.pool_end(results.data() + size_t{(done + i) / window} * mac_.out_c);
    }
    done += n;
  }
  for (unsigned i = 0; i < count; ++i)
    std::memcpy(sram_ + tensor_offset(mac_.output, (first + i) / columns, (first + i) % columns),
                results.data() + size_t{i} * mac_.out_c, mac_.out_c);
  return true;
}

bool MacOp::accumulate(const Pixel* pixels, unsigned count, Progress& progress) {
  switch (path_) {
    case Path::kGemm:
      return accumulate_gemm(pixels, count, progress);
    case Path::kDepthwise:
      return accumulate_depthwise(pixels, count, progress);
    default:
      return accumulate_reference(pixels, count, progress);
  }
}

// Bias, or what an earlier command kept, into sums_ (unpadded columns).
void MacOp::start_sums(const Pixel* pixels, unsigned count) {
  const unsigned lanes = memory_->lanes();
  for (unsigned i = 0; i < count; ++i) {
    int32_t* sums = sums_.data() + i * sums_stride_;
    if ((mac_.accumulate & NPU_ACCUMULATE_ADD) == 0) {
      std::copy(bias_.begin(), bias_.end(), sums);
      continue;
    }
    for (unsigned c = 0; c < mac_.out_c; c += lanes)
      std::memcpy(sums + c, kept_row(pixels[i], c / lanes),
                  std::min(lanes, mac_.out_c - c) * sizeof(int32_t));
  }
}

bool MacOp::accumulate_reference(const Pixel* pixels, unsigned count, Progress& progress) {
  start_sums(pixels, count);
  const int32_t input_zero = mac_.input_zero;
  for (unsigned i = 0; i < count; ++i) {
    for (unsigned oc = 0; oc < mac_.out_c; ++oc) {
      const unsigned channel = oc / group_out_ * group_in_;
      const int32_t zero = weight_zero(oc);
      auto sum = static_cast<uint32_t>(sums_[i * sums_stride_ + oc]);
      unsigned k = 0;
      for (unsigned ky = 0; ky < kernel_h_; ++ky) {
        const int64_t y =
            int64_t{pixels[i].y} * stride_y_ - mac_.pad_top + int64_t{ky} * dilation_y_;
        for (unsigned kx = 0; kx < kernel_w_; ++kx) {
          const int64_t x =
              int64_t{pixels[i].x} * stride_x_ - mac_.pad_left + int64_t{kx} * dilation_x_;
          if (y < 0 || y >= mac_.in_h || x < 0 || x >= mac_.in_w) {
            k += group_in_;
            continue;
          }
          const uint8_t* in =
              sram_ +
              tensor_offset(mac_.input, static_cast<uint64_t>(y), static_cast<uint64_t>(x)) +
              channel;
          for (unsigned c = 0; c < group_in_; ++c, ++k) {
            const int32_t w = value_of(weight_byte(oc, k), weight_signed_) - zero;
            sum += static_cast<uint32_t>((value_of(in[c], input_signed_) - input_zero) * w);
          }
        }
      }
      sums_[i * sums_stride_ + oc] = static_cast<int32_t>(sum);
      if (!progress.work(depth_ + 1)) return false;
    }
  }
  return true;
}

void MacOp::gather_panel(const Pixel* pixels, unsigned count, unsigned group) {
  const auto pad = static_cast<uint8_t>(mac_.input_zero);
  const bool dense = dilation_x_ == 1 && groups_ == 1 && mac_.input.pixel_stride == group_in_;
  const uint64_t channel = uint64_t{group} * group_in_;
  for (unsigned i = 0; i < count; ++i) {
    uint8_t* row = panel_.data() + i * padded_depth_;
    uint8_t* out = row;
    const int64_t x0 = int64_t{pixels[i].x} * stride_x_ - mac_.pad_left;
    for (unsigned ky = 0; ky < kernel_h_; ++ky, out += size_t{kernel_w_} * group_in_) {
      const int64_t y = int64_t{pixels[i].y} * stride_y_ - mac_.pad_top + int64_t{ky} * dilation_y_;
      if (y < 0 || y >= mac_.in_h) {
        std::memset(out, pad, size_t{kernel_w_} * group_in_);
        continue;
      }
      const uint8_t* line =
          sram_ + tensor_offset(mac_.input, static_cast<uint64_t>(y), 0) + channel;
      if (dense && x0 >= 0 && x0 + kernel_w_ <= mac_.in_w) {
        std::memcpy(out, line + x0 * group_in_, size_t{kernel_w_} * group_in_);
        continue;
      }
      for (unsigned kx = 0; kx < kernel_w_; ++kx) {
        const int64_t x = x0 + int64_t{kx} * dilation_x_;
        uint8_t* at = out + size_t{kx} * group_in_;
        if (x < 0 || x >= mac_.in_w)
          std::memset(at, pad, group_in_);
        else
          std::memcpy(at, line + static_cast<uint64_t>(x) * mac_.input.pixel_stride, group_in_);
      }
    }
    if (input_signed_)
      for (unsigned k = 0; k < depth_; ++k) row[k] ^= 0x80;
    std::memset(row + depth_, 0, padded_depth_ - depth_);
    if (!input_factor_.empty()) {
      uint32_t sum = 0;
      for (unsigned k = 0; k < depth_; ++k) sum += row[k];
      panel_sum_[i] = sum;
    }
  }
}

bool MacOp::accumulate_gemm(const Pixel* pixels, unsigned count, Progress& progress) {
  constexpr size_t kDepthBlock = 2048;
  constexpr size_t kTileBlock = 4;
  panel_.resize(size_t{tile_} * padded_depth_);
  panel_sum_.resize(tile_);
  const size_t tiles = padded_group_out_ / kGemmColumns;
  const size_t tile_bytes = padded_depth_ * kGemmColumns;
  for (unsigned i = 0; i < count; ++i)
    std::copy(start_.begin(), start_.end(), sums_.data() + i * sums_stride_);
  for (unsigned group = 0; group < groups_; ++group) {
    gather_panel(pixels, count, group);
    const size_t column = size_t{group} * padded_group_out_;
    const int8_t* weights = packed_.data() + column * padded_depth_;
    for (size_t k = 0; k < padded_depth_; k += kDepthBlock) {
      const size_t depth = std::min(kDepthBlock, padded_depth_ - k);
      for (size_t t = 0; t < tiles; t += kTileBlock) {
        const size_t n = std::min(kTileBlock, tiles - t);
        kernels_->gemm(panel_.data() + k, padded_depth_, count,
                       weights + t * tile_bytes + k * kGemmColumns, tile_bytes, n,
                       depth / kGemmDepth, sums_.data() + column + t * kGemmColumns, sums_stride_);
        if (!progress.work(count * n * kGemmColumns * depth / per_ns_)) return false;
      }
    }
    if (input_factor_.empty()) continue;
    for (unsigned i = 0; i < count; ++i) {
      int32_t* sums = sums_.data() + i * sums_stride_ + column;
      for (unsigned c = 0; c < padded_group_out_; ++c)
        sums[c] =
            static_cast<int32_t>(static_cast<uint32_t>(sums[c]) +
                                 panel_sum_[i] * static_cast<uint32_t>(input_factor_[column + c]));
    }
  }
  compact(count);
  if ((mac_.accumulate & NPU_ACCUMULATE_ADD) != 0) {
    const unsigned lanes = memory_->lanes();
    for (unsigned i = 0; i < count; ++i) {
      for (unsigned c = 0; c < mac_.out_c; ++c) {
        int32_t& sum = sums_[i * sums_stride_ + c];
        sum =
            static_cast<int32_t>(static_cast<uint32_t>(sum) - static_cast<uint32_t>(bias_[c]) +
                                 static_cast<uint32_t>(kept_row(pixels[i], c / lanes)[c % lanes]));
      }
    }
  }
  return true;
}

// Removes the padding between the groups' columns.
void MacOp::compact(unsigned count) {
  if (groups_ == 1 || padded_group_out_ == group_out_) return;
  for (unsigned i = 0; i < count; ++i)
    for (unsigned group = 1; group < groups_; ++group)
      std::memmove(sums_.data() + i * sums_stride_ + size_t{group} * group_out_,
                   sums_.data() + i * sums_stride_ + size_t{group} * padded_group_out_,
                   group_out_ * sizeof(int32_t));
}

bool MacOp::accumulate_depthwise(const Pixel* pixels, unsigned count, Progress& progress) {
  start_sums(pixels, count);
  for (unsigned i = 0; i < count; ++i) {
    int32_t* sums = sums_.data() + i * sums_stride_;
    for (unsigned ky = 0; ky < kernel_h_; ++ky) {
      const int64_t y = int64_t{pixels[i].y} * stride_y_ - mac_.pad_top + int64_t{ky} * dilation_y_;
      if (y < 0 || y >= mac_.in_h) continue;
      for (unsigned kx = 0; kx < kernel_w_; ++kx) {
        const int64_t x =
            int64_t{pixels[i].x} * stride_x_ - mac_.pad_left + int64_t{kx} * dilation_x_;
        if (x < 0 || x >= mac_.in_w) continue;
        kernels_->depthwise_tap(
            sram_ + tensor_offset(mac_.input, static_cast<uint64_t>(y), static_cast<uint64_t>(x)),
            input_signed_, mac_.input_zero, taps_.data() + size_t{ky * kernel_w_ + kx} * mac_.out_c,
            mac_.out_c, sums);
      }
      if (!progress.work(size_t{kernel_w_} * mac_.out_c / per_ns_ + 1)) return false;
    }
  }
  return true;
}

}  // namespace npu::model
