// SPDX-License-Identifier: MIT
#include "arch/sram_access.h"

#include <algorithm>
#include <utility>

#include "arch/mac_shape.h"
#include "arch/vec_shape.h"

namespace npu::arch {

uint64_t SramAccess::end() const {
  uint64_t last = address + bytes;
  for (int i = 0; i < 4; ++i) last += stride[i] * (count[i] - 1);
  return last;
}

namespace {

// The dimensions that repeat anything, by growing stride.
struct Dimensions {
  explicit Dimensions(const SramAccess& access) {
    for (int i = 0; i < 4; ++i) {
      if (access.count[i] <= 1) continue;
      int at = size++;
      for (; at > 0 && item[at - 1].stride > access.stride[i]; --at) item[at] = item[at - 1];
      item[at] = {access.stride[i], access.count[i]};
    }
  }
  struct {
    uint64_t stride;
    uint32_t count;
  } item[4];
  int size = 0;
};

}  // namespace

bool SramAccess::disjoint() const {
  const Dimensions dimensions(*this);
  uint64_t extent = bytes;
  for (int i = 0; i < dimensions.size; ++i) {
    const auto [step, times] = dimensions.item[i];
    if (step < extent) return false;
    extent += step * (times - 1);
  }
  return true;
}

void SramAccess::simplify(uint64_t gap) {
  const Dimensions dimensions(*this);
  const uint64_t whole = end() - address;
  int kept = 0;
  uint64_t extent = bytes;
  bool interleaved = false;
  for (int i = 0; i < dimensions.size; ++i) {
    const auto [step, times] = dimensions.item[i];
    const uint64_t grown = extent + step * (times - 1);
    if (kept == 0 && step <= extent + gap) {
      bytes = grown;
    } else {
      interleaved = interleaved || step < extent;
      stride[kept] = step;
      count[kept] = times;
      ++kept;
    }
    extent = grown;
  }
  if (interleaved) {
    bytes = whole;
    kept = 0;
  }
  for (; kept < 4; ++kept) stride[kept] = 0, count[kept] = 1;
}

namespace {

// The columns [begin, end) of rows of `row` bytes that hold the access, in whole
// units; `end` may lie behind the row, whose columns then go on in the next.
struct Columns {
  Columns(const SramAccess& access, uint64_t row, uint64_t unit) {
    uint64_t bytes = access.bytes;
    for (int i = 0; i < 4; ++i)
      if (access.stride[i] % row != 0) bytes += access.stride[i] * (access.count[i] - 1);
    begin = access.address / unit * unit;
    end = (access.address + bytes + unit - 1) / unit * unit;
  }
  uint64_t begin, end;
};

}  // namespace

bool SramAccess::apart(const SramAccess& other, uint64_t unit) const {
  if ((end() - 1) / unit < other.address / unit || (other.end() - 1) / unit < address / unit)
    return true;
  const auto apart_in = [&](uint64_t row) {
    if (row == 0 || row % unit != 0) return false;
    const Columns a(*this, row, unit), b(other, row, unit);
    const uint64_t from_a = (b.begin + (row - a.begin % row)) % row;
    return a.end - a.begin <= from_a && b.end - b.begin <= row - from_a;
  };
  return std::ranges::any_of(stride, apart_in) || std::ranges::any_of(other.stride, apart_in);
}

namespace {

class Appender {
 public:
  Appender(unsigned core, std::vector<SramAccess>& out)
      : core_(static_cast<uint8_t>(core)), out_(out) {}

  void bytes(uint32_t address, uint64_t bytes, bool write) {
    SramAccess& access = out_.emplace_back();
    access.address = address;
    access.bytes = bytes;
    access.write = write;
    access.core = core_;
  }

  // `ring_dimension` is the dimension that a ring of `ring_rows` (0: none)
  // wraps; a wrapped block is two.
  void block(const SramAccess& access, int ring_dimension, uint32_t ring_rows,
             uint32_t ring_first) {
    const size_t first = out_.size();
    out_.push_back(access);
    out_[first].core = core_;
    if (ring_rows == 0) return;
    const uint32_t rows = access.count[ring_dimension];
    const uint32_t before_wrap = std::min(rows, ring_rows - ring_first);
    if (before_wrap < rows) {
      out_.push_back(out_[first]);
      out_.back().count[ring_dimension] = rows - before_wrap;
    }
    out_[first].address += ring_first * access.stride[ring_dimension];
    out_[first].count[ring_dimension] = before_wrap;
  }

  void tensor(const npu_sram_tensor& tensor, uint32_t rows, uint32_t columns, uint64_t pixel_bytes,
              bool write, bool in_place = false, uint32_t batch = 1, uint32_t batch_stride = 0) {
    SramAccess access;
    access.count[2] = batch;
    access.stride[2] = batch_stride;
    access.address = tensor.address;
    access.bytes = pixel_bytes;
    access.count[0] = columns;
    access.stride[0] = tensor.pixel_stride;
    access.count[1] = rows;
    access.stride[1] = tensor.row_stride;
    access.write = write;
    access.in_place = in_place;
    block(access, 1, tensor.ring_rows, tensor.ring_first);
  }

 private:
  uint8_t core_;
  std::vector<SramAccess>& out_;
};

bool same_tensor(const npu_sram_tensor& a, const npu_sram_tensor& b) {
  return a.address == b.address && a.row_stride == b.row_stride &&
         a.pixel_stride == b.pixel_stride && a.ring_rows == b.ring_rows &&
         a.ring_first == b.ring_first;
}

void append_dma(const npu_command_dma& dma, unsigned core, std::vector<SramAccess>& out) {
  SramAccess access;
  access.address = dma.sram_address;
  access.bytes = uint64_t{1} << dma.element_log2;
  for (int i = 0; i < 4; ++i) {
    access.count[i] = dma.size[i] + (i < 3 ? dma.pad_before[i] + dma.pad_after[i] : 0);
    access.stride[i] = dma.sram_stride[i];
  }
  access.write = dma.header.opcode != NPU_OP_STORE;
  Appender(core, out).block(access, 2, dma.ring_rows, dma.ring_first);
  for (unsigned peer = 0; dma.multicast >> peer != 0; ++peer)
    if (dma.multicast >> peer & 1)
      Appender(peer, out).block(access, 2, dma.ring_rows, dma.ring_first);
  const bool peer_load = dma.header.opcode == NPU_OP_PEER_LOAD;
  if (peer_load || dma.header.opcode == NPU_OP_SRAM_COPY) {
    access.address = dma.source_address;
    for (int i = 0; i < 4; ++i) access.stride[i] = dma.external_stride[i];
    access.write = false;
    Appender(peer_load ? dma.peer_core : core, out).block(access, 2, 0, 0);
  }
}

void append_mac(const npu_command_mac& mac, const npu_mac_extension& extension, Appender& out) {
  const bool pooled = extension.pool_kind != NPU_POOL_NONE;
  const uint32_t batch = mac_batch(extension);
  out.tensor(mac.input, mac.in_h, mac.in_w, mac.in_c, false, false, batch, extension.batch_input);

  const MacShape shape = mac_shape(mac);
  SramAccess weights;
  weights.address = mac.weights;
  uint64_t rows = shape.outputs();
  weights.bytes = shape.group_inputs * shape.taps();
  if (mac.flags & NPU_MAC_WEIGHTS_KN) std::swap(rows, weights.bytes);
  weights.count[0] = static_cast<uint32_t>(rows);
  weights.stride[0] = mac.weight_stride;
  weights.count[1] = batch;
  weights.stride[1] = extension.batch_weights;
  out.block(weights, 4, 0, 0);

  if (mac.flags & NPU_MAC_BIAS) out.bytes(mac.bias, uint64_t{4} * mac.out_c, false);
  if (mac.flags & NPU_MAC_SCALE_PER_CHANNEL) out.bytes(mac.scales, uint64_t{4} * mac.out_c, false);
  if (extension.flags & NPU_EXT_WEIGHT_ZEROS) out.bytes(extension.weight_zeros, mac.out_c, false);
  if (extension.flags & NPU_EXT_LUT1) out.bytes(extension.lut1, 256, false);
  if (extension.flags & NPU_EXT_LUT2) out.bytes(extension.lut2, 256, false);
  if (extension.flags & NPU_EXT_RESIDUAL)
    out.tensor(extension.residual, mac.out_h, mac.out_w, mac.out_c, false,
               !pooled && same_tensor(extension.residual, mac.output) &&
                   extension.batch_residual == extension.batch_output,
               batch, extension.batch_residual);
  if (mac.accumulate & NPU_ACCUMULATE_KEEP) return;
  out.tensor(mac.output, pooled ? mac.out_h / extension.pool_h : mac.out_h,
             pooled ? mac.out_w / extension.pool_w : mac.out_w,
             uint64_t{mac.out_c} * (data_type_bits(NPU_TYPE_AT(mac.types, 2)) / 8), true, false,
             batch, extension.batch_output);
}

void append_vec(const npu_command_vec& vec, Appender& out) {
  const auto pixel_bytes = [&](unsigned operand) {
    return uint64_t{vec.channels} * (data_type_bits(NPU_TYPE_AT(vec.types, operand)) / 8);
  };
  out.tensor(vec.a, vec.in_h, vec.in_w, pixel_bytes(0), false,
             vec_in_place(vec) && same_tensor(vec.a, vec.out));
  if (NPU_TYPE_AT(vec.types, 1) != NPU_TYPE_NONE) {
    const bool broadcast = vec.flags & NPU_VEC_BROADCAST_B;
    out.tensor(vec.b, broadcast ? 1 : vec.in_h, broadcast ? 1 : vec.in_w, pixel_bytes(1), false,
               !broadcast && same_tensor(vec.b, vec.out));
  }
  if (const uint64_t bytes = vec_table_bytes(vec)) out.bytes(vec.table, bytes, false);
  out.tensor(vec.out, vec.out_h, vec.out_w, pixel_bytes(2) / vec.channels * vec_out_channels(vec),
             true);
}

}  // namespace

void append_sram_accesses(const Command& command, unsigned core, std::vector<SramAccess>& out) {
  Appender appender(core, out);
  switch (command.engine()) {
    case NPU_ENGINE_LOAD:
    case NPU_ENGINE_STORE:
      append_dma(command.dma(), core, out);
      break;
    case NPU_ENGINE_MAC:
      append_mac(command.mac(), command.extension(), appender);
      break;
    case NPU_ENGINE_VEC:
      append_vec(command.vec(), appender);
      break;
    default:
      break;
  }
}

}  // namespace npu::arch
