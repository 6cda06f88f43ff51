// SPDX-License-Identifier: MIT
#include "compute/mac.h"

#include <algorithm>
#include <cstring>

#include "compute/tensor.h"

namespace npu::model {
namespace {

constexpr unsigned kTilePixels = OutputStage::kMaxRows;
// Inputs of a tile: with a panel of weights they fit a usual L2 cache.
constexpr size_t kTileBytes = 512 * 1024;
constexpr unsigned kRowsAtATime = 6;  // of the widest kernel

}  // namespace

void MacOp::begin(const arch::Command& command, CoreMemory& memory) {
  memory_ = &memory;
  sram_ = memory.sram();
  mac_ = command.mac();
  ext_ = command.header().records == 2 ? command.extension() : npu_mac_extension{};
  isa_ = current_isa();
  kernels_ = &current_kernels();

  const bool keep = (mac_.accumulate & NPU_ACCUMULATE_KEEP) != 0;
  shape_.set(command);

  bias_.assign(mac_.out_c, 0);
  if ((mac_.flags & NPU_MAC_BIAS) != 0)
    std::memcpy(bias_.data(), sram_ + mac_.bias, bias_.size() * sizeof(int32_t));
  output_.begin(mac_, ext_, sram_, isa_, *kernels_);

  unsigned rows = mac_.out_h, columns = mac_.out_w;
  unsigned per_pixel = 1;
  if (output_.pools()) {
    rows /= ext_.pool_h;
    columns /= ext_.pool_w;
    per_pixel = ext_.pool_h * ext_.pool_w;
  }
  const uint64_t pixels = uint64_t{rows} * columns;
  // Units are the same for every path: a saved cursor must mean the same on a
  // host with another instruction set. Tiles are about equal in size.
  const auto limit =
      static_cast<unsigned>(std::clamp<size_t>(kTileBytes / shape_.depth, 1, kTilePixels));
  held_ = limit;
  tile_ = std::max(1u, limit / per_pixel);
  if (!output_.pools()) {
    const uint64_t tiles = (pixels + tile_ - 1) / tile_;
    const uint64_t even = (pixels + tiles - 1) / tiles;
    tile_ = static_cast<unsigned>(
        std::min<uint64_t>(tile_, (even + kRowsAtATime - 1) / kRowsAtATime * kRowsAtATime));
  }
  units_ = (pixels + tile_ - 1) / tile_ * shape_.range_count();
  if (memory.sums().size() < kTilePixels * kSumsStride)
    memory.sums().resize(kTilePixels * kSumsStride);

  if (keep)
    memory.note_accumulators();
  else
    memory.note_sram(mac_.output.address,
                     tensor_end(mac_.output, rows, columns,
                                uint64_t{mac_.out_c} * output_.output_element_bytes()));
  choose_path();
}

void MacOp::choose_path() {
  per_ns_ = 1;
  depth_block_ = 512;
  path_ = Path::kReference;
  if (isa_ == Isa::kReference) return;
  // Packed copies may be larger than the weights; what a strange stride would
  // blow up stays on the slow path.
  const size_t limit = std::max<size_t>(8u << 20, size_t{4} * memory_->sram_bytes());
  if (shape_.channel_wise()) {
    constexpr unsigned kMaxTaps = 256;
    if (shape_.depth > kMaxTaps || size_t{shape_.depth + 1} * mac_.out_c * sizeof(int16_t) > limit)
      return;
    path_ = Path::kDepthwise;
    per_ns_ = isa_ == Isa::kScalar ? 1 : 8;
    prepare_depthwise();
    return;
  }
  const size_t padded_depth = (size_t{shape_.depth} + kGemmDepth - 1) / kGemmDepth * kGemmDepth;
  const size_t padded_group =
      (size_t{shape_.group_out} + kGemmColumns - 1) / kGemmColumns * kGemmColumns;
  if (padded_depth * padded_group * shape_.groups > limit) return;
  path_ = Path::kGemm;
  per_ns_ = isa_ == Isa::kAvx512Vnni ? 128 : isa_ == Isa::kAvx2 ? 32 : 1;
  if (isa_ != Isa::kScalar) depth_block_ = 4096;
  prepare_gemm();
}

uint8_t MacOp::weight_byte(unsigned oc, unsigned index) const {
  return shape_.weights_kn ? sram_[mac_.weights + uint64_t{index} * mac_.weight_stride + oc]
                           : sram_[mac_.weights + uint64_t{oc} * mac_.weight_stride + index];
}

int32_t MacOp::weight_zero(unsigned oc) const {
  if ((ext_.flags & NPU_EXT_WEIGHT_ZEROS) != 0)
    return value_of(sram_[uint64_t{ext_.weight_zeros} + oc], shape_.weight_signed);
  return mac_.weight_zero;
}

bool MacOp::run(uint64_t& cursor, Progress& progress) {
  input_key_ = 0;
  const unsigned ranges = shape_.range_count();
  while (cursor < units_) {
    if (progress.pause()) return false;
    const ChannelRange range = shape_.range(static_cast<unsigned>(cursor % ranges));
    const uint64_t tile = cursor / ranges;
    if (!(output_.pools() ? pool_unit(tile, range, progress) : plain_unit(tile, range, progress)))
      return false;
    ++cursor;
  }
  // A command of any size works through the accumulators in sub-tiles.
  if (mac_.accumulate == 0) memory_->clear_accumulators();
  return true;
}

const uint8_t* const* MacOp::find_residuals(const Pixel* pixels, unsigned count,
                                            const ChannelRange& range, const uint8_t** out) const {
  if ((ext_.flags & NPU_EXT_RESIDUAL) == 0) return nullptr;
  for (unsigned i = 0; i < count; ++i)
    out[i] = sram_ + tensor_offset(ext_.residual, pixels[i].y, pixels[i].x) + range.first;
  return out;
}

void MacOp::set_input(const Pixel* pixels, unsigned count, const ChannelRange& range,
                      uint64_t key) {
  if (path_ == Path::kReference || (key != 0 && input_key_ == key)) return;
  input_.set(shape_, *memory_, pixels, count, range.group);
  input_key_ = key;
}

bool MacOp::plain_unit(uint64_t tile, const ChannelRange& range, Progress& progress) {
  const uint64_t first = tile * tile_;
  const uint64_t pixels = uint64_t{mac_.out_h} * mac_.out_w;
  const auto count = static_cast<unsigned>(std::min<uint64_t>(tile_, pixels - first));
  Pixel list[kTilePixels];
  Pixel at = {static_cast<uint32_t>(first / mac_.out_w), static_cast<uint32_t>(first % mac_.out_w)};
  for (unsigned i = 0; i < count; ++i) {
    list[i] = at;
    if (++at.x == mac_.out_w) at = {at.y + 1, 0};
  }
  set_input(list, count, range, tile * shape_.groups + range.group + 1);
  if (!accumulate(list, count, range, progress)) return false;
  if ((mac_.accumulate & NPU_ACCUMULATE_KEEP) != 0) {
    for (unsigned i = 0; i < count; ++i)
      with_kept(list[i], range, [&](int32_t* kept, unsigned channel, unsigned n) {
        std::memcpy(kept, sums(i) + channel, n * sizeof(int32_t));
      });
    return true;
  }
  const size_t offset = size_t{range.first} * output_.output_element_bytes();
  uint8_t* out[kTilePixels];
  for (unsigned i = 0; i < count; ++i)
    out[i] = sram_ + tensor_offset(mac_.output, list[i].y, list[i].x) + offset;
  if (output_.raw_output()) {
    for (unsigned i = 0; i < count; ++i) output_.raw(sums(i), range.first, range.count, out[i]);
    return true;
  }
  const uint8_t* residuals[kTilePixels];
  output_.values(sums(0), kSumsStride, count, range.first, range.count,
                 find_residuals(list, count, range, residuals), out);
  return true;
}

bool MacOp::pool_unit(uint64_t tile, const ChannelRange& range, Progress& progress) {
  const unsigned columns = mac_.out_w / ext_.pool_w;
  const uint64_t pooled = uint64_t{mac_.out_h} / ext_.pool_h * columns;
  const unsigned window = ext_.pool_h * ext_.pool_w;
  const uint64_t first = tile * tile_;
  const auto count = static_cast<unsigned>(std::min<uint64_t>(tile_, pooled - first));
  const unsigned total = count * window;

  uint8_t results[kTilePixels * MacShape::kMaxRange];
  uint8_t bytes[kTilePixels * MacShape::kMaxRange];
  uint8_t* rows[kTilePixels];
  for (unsigned i = 0; i < kTilePixels; ++i) rows[i] = bytes + size_t{i} * MacShape::kMaxRange;
  const uint8_t* residuals[kTilePixels];
  Pixel list[kTilePixels];
  for (unsigned done = 0; done < total;) {
    const unsigned n = std::min(held_, total - done);
    for (unsigned i = 0; i < n; ++i) {
      const uint64_t at = first + (done + i) / window;
      const unsigned tap = (done + i) % window;
      list[i] = {static_cast<uint32_t>(at / columns * ext_.pool_h + tap / ext_.pool_w),
                 static_cast<uint32_t>(at % columns * ext_.pool_w + tap % ext_.pool_w)};
    }
    set_input(list, n, range, n == total ? tile * shape_.groups + range.group + 1 : 0);
    if (!accumulate(list, n, range, progress)) return false;
    output_.values(sums(0), kSumsStride, n, range.first, range.count,
                   find_residuals(list, n, range, residuals), rows);
    for (unsigned i = 0; i < n; ++i) {
      const unsigned tap = (done + i) % window;
      if (tap == 0) output_.pool_begin();
      output_.pool_add(rows[i], range.count);
      if (tap == window - 1)
        output_.pool_end(range.count, results + size_t{(done + i) / window} * MacShape::kMaxRange);
    }
    done += n;
  }
  for (unsigned i = 0; i < count; ++i)
    std::memcpy(sram_ + tensor_offset(mac_.output, (first + i) / columns, (first + i) % columns) +
                    range.first,
                results + size_t{i} * MacShape::kMaxRange, range.count);
  return true;
}

}  // namespace npu::model
