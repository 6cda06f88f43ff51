// SPDX-License-Identifier: MIT
//
// Every command against a naive oracle written from command.h alone, on random
// shapes, with every instruction set that this processor has.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "arch/numerics.h"
#include "arch/stream.h"
#include "arch/target.h"
#include "arch/vec_shape.h"
#include "compute/kernels.h"
#include "compute/mac_batch.h"
#include "compute/oracle.h"
#include "compute/vec.h"
#include "core.h"
#include "progress.h"

namespace npu::model {
namespace {

using oracle::as_bits;
using oracle::Memory;
using oracle::Oracle;

constexpr uint32_t kSram = 192 * 1024;

npu_target test_target() {
  npu_target target = *arch::find_target("card");
  target.sram_bytes = kSram;
  return target;
}

// ---- random commands ------------------------------------------------------

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int in(int low, int high) {  // inclusive
    return low + static_cast<int>(engine_() % static_cast<uint32_t>(high - low + 1));
  }
  bool one_in(int n) { return in(1, n) == 1; }
  float real(float low, float high) {
    return low + (high - low) * static_cast<float>(engine_() >> 8) / 16777216.0f;
  }
  unsigned type8() { return one_in(2) ? NPU_TYPE_INT8 : NPU_TYPE_UINT8; }
  int16_t zero(unsigned type) {
    if (one_in(3)) return 0;
    return static_cast<int16_t>(type == NPU_TYPE_INT8 ? in(-128, 127) : in(0, 255));
  }

 private:
  std::mt19937 engine_;
};

class Layout {
 public:
  explicit Layout(Random& random) : random_(random) {}
  uint32_t take(uint64_t bytes, uint32_t alignment = 1) {
    at_ += static_cast<uint64_t>(random_.in(0, 9));
    at_ = (at_ + alignment - 1) / alignment * alignment;
    const uint64_t address = at_;
    at_ += bytes;
    return static_cast<uint32_t>(address);
  }
  npu_sram_tensor tensor(int rows, int columns, int pixel_bytes, uint32_t alignment = 1) {
    npu_sram_tensor t = {};
    const auto gap = [&] {
      return random_.one_in(3) ? alignment * static_cast<uint32_t>(random_.in(0, 5)) : 0;
    };
    t.pixel_stride = static_cast<uint32_t>(pixel_bytes) + gap();
    t.row_stride = t.pixel_stride * static_cast<uint32_t>(columns) + gap();
    uint32_t held = static_cast<uint32_t>(rows);
    if (random_.one_in(3)) {
      held += static_cast<uint32_t>(random_.in(0, 3));
      t.ring_rows = static_cast<uint16_t>(held);
      t.ring_first = static_cast<uint16_t>(random_.in(0, static_cast<int>(held) - 1));
    }
    t.address = take(uint64_t{held} * t.row_stride, alignment);
    return t;
  }
  // `batch` of them, side by side in each pixel or one behind the other, or all
  // the same one if `same`; returns what is between them.
  uint32_t tensors(npu_sram_tensor& t, int batch, bool same, int rows, int columns, int pixel_bytes,
                   uint32_t alignment = 1) {
    if (batch > 1 && !same && random_.one_in(2)) {
      t = tensor(rows, columns, pixel_bytes * batch, alignment);
      return static_cast<uint32_t>(pixel_bytes);
    }
    t = tensor(rows, columns, pixel_bytes, alignment);
    if (batch == 1 || same) return 0;
    const uint32_t held = t.ring_rows != 0 ? t.ring_rows : static_cast<uint32_t>(rows);
    const uint32_t stride =
        held * t.row_stride + alignment * static_cast<uint32_t>(random_.in(0, 5));
    take(uint64_t{stride} * static_cast<uint32_t>(batch - 1), alignment);
    return stride;
  }
  bool fits() const { return at_ <= kSram; }

 private:
  Random& random_;
  uint64_t at_ = 0;
};

void clamp_range(Random& r, unsigned type, int16_t& low, int16_t& high) {
  const int bottom = type == NPU_TYPE_INT8 ? -128 : 0;
  low = static_cast<int16_t>(r.one_in(2) ? bottom : bottom + r.in(0, 60));
  high = static_cast<int16_t>(r.one_in(2) ? bottom + 255 : bottom + 255 - r.in(0, 60));
}

struct Case {
  std::vector<std::byte> stream;  // one or, for split sums, several MAC commands
  bool good = false;
};

Case random_mac(Random& r) {
  Layout layout(r);
  npu_command_mac c = {};
  npu_mac_extension e = {};
  const int kind = r.in(0, 9);
  const bool matmul = kind < 3, depthwise = kind >= 3 && kind < 5;
  c.header.opcode = matmul ? NPU_OP_MATMUL : depthwise ? NPU_OP_DEPTHWISE : NPU_OP_CONV;
  const unsigned ti = r.type8(), tw = r.type8();
  unsigned to = r.type8();
  if (r.one_in(6)) to = NPU_TYPE_INT32;
  if (r.one_in(8)) to = NPU_TYPE_FP32;
  const bool out8 = to == NPU_TYPE_INT8 || to == NPU_TYPE_UINT8;
  const int split = !depthwise && r.one_in(4) ? r.in(2, 3) : 1;  // commands per sum
  const int batch = split == 1 && r.one_in(4) ? r.in(2, 4) : 1;
  if (batch > 1 || r.one_in(30)) e.batch_count = static_cast<uint16_t>(batch);
  if (split == 1 && !depthwise && r.one_in(5)) c.flags |= NPU_MAC_ACTIVATION_STATIONARY;

  c.groups = 1;
  if (matmul) {
    c.in_h = c.out_h = 1;
    c.in_w = c.out_w = static_cast<uint16_t>(r.in(1, 70));
    c.in_c = static_cast<uint16_t>(r.in(1, r.one_in(4) ? 300 : 40));
    c.out_c = static_cast<uint16_t>(r.in(1, 150));
    if (r.one_in(6)) {  // sums in several steps
      c.in_w = c.out_w = static_cast<uint16_t>(r.in(1, 8));
      c.in_c = static_cast<uint16_t>(r.in(500, 9000));
      c.out_c = static_cast<uint16_t>(r.in(1, 10));
    }
    c.kernel_h = c.kernel_w = c.stride_y = c.stride_x = c.dilation_y = c.dilation_x = 1;
    if (r.one_in(3)) c.flags |= NPU_MAC_WEIGHTS_KN;
  } else {
    c.kernel_h = static_cast<uint8_t>(r.in(1, 4));
    c.kernel_w = static_cast<uint8_t>(r.in(1, 4));
    c.stride_y = static_cast<uint8_t>(r.in(1, 3));
    c.stride_x = static_cast<uint8_t>(r.in(1, 3));
    c.dilation_y = static_cast<uint8_t>(r.one_in(3) ? r.in(1, 3) : 1);
    c.dilation_x = static_cast<uint8_t>(r.one_in(3) ? r.in(1, 3) : 1);
    c.pad_top = static_cast<uint8_t>(r.in(0, c.kernel_h));
    c.pad_left = static_cast<uint8_t>(r.in(0, c.kernel_w));
    c.in_h = static_cast<uint16_t>(r.in(1, 14));
    c.in_w = static_cast<uint16_t>(r.in(1, 14));
    if (depthwise) {
      c.in_c = c.out_c = c.groups = static_cast<uint16_t>(r.in(1, 80));
    } else {
      c.groups = static_cast<uint16_t>(r.one_in(3) ? r.in(1, 5) : 1);
      c.in_c = static_cast<uint16_t>(c.groups * (r.one_in(3) ? 4 * r.in(8, 24) : r.in(1, 20)));
      c.out_c = static_cast<uint16_t>(c.groups * r.in(1, 40));
    }
    // Any size will do: the pads at the bottom and right follow from it.
    c.out_h = static_cast<uint16_t>(r.in(1, 12));
    c.out_w = static_cast<uint16_t>(r.in(1, 12));
  }
  c.types = NPU_TYPES(ti, tw, to, 0);
  c.input_zero = r.zero(ti);
  c.weight_zero = r.zero(tw);
  e.batch_input = layout.tensors(c.input, batch, r.one_in(4), c.in_h, c.in_w, c.in_c);
  const uint32_t taps = uint32_t{c.kernel_h} * c.kernel_w;
  uint32_t rows = c.out_c, row = taps * c.in_c / c.groups;
  if (c.flags & NPU_MAC_WEIGHTS_KN) std::swap(rows, row);
  c.weight_stride = row + static_cast<uint32_t>(r.one_in(2) ? 0 : r.in(0, 9));
  c.weight_bytes = (rows - 1) * c.weight_stride + row;
  e.batch_weights =
      batch > 1 && r.one_in(2) ? c.weight_bytes + static_cast<uint32_t>(r.in(0, 5)) : 0;
  c.weights =
      layout.take(c.weight_bytes + uint64_t{e.batch_weights} * static_cast<uint32_t>(batch));
  if (r.one_in(2)) {
    c.flags |= NPU_MAC_BIAS;
    c.bias = layout.take(4 * c.out_c, 4);
  }
  if (out8 && r.one_in(2)) {
    e.flags |= NPU_EXT_WEIGHT_ZEROS;
    e.weight_zeros = layout.take(c.out_c);
    c.weight_zero = 0;
  }
  if (to != NPU_TYPE_INT32) {
    if (r.one_in(2)) {
      c.flags |= NPU_MAC_SCALE_PER_CHANNEL;
      c.scales = layout.take(4 * c.out_c, 4);
    } else {
      c.scale_f32 = as_bits(r.real(0.0001f, 0.02f));
    }
  }
  if (out8) {
    c.output_zero = r.zero(to);
    clamp_range(r, to, c.clamp_low, c.clamp_high);
    if (r.one_in(3)) e.flags |= NPU_EXT_LUT1, e.lut1 = layout.take(256);
    if (r.one_in(3)) e.flags |= NPU_EXT_LUT2, e.lut2 = layout.take(256);
    if (r.one_in(3)) {
      const unsigned tr = r.type8();
      c.types = NPU_TYPES(ti, tw, to, tr);
      e.flags |= NPU_EXT_RESIDUAL;
      if (r.one_in(2)) e.flags |= NPU_EXT_RESIDUAL_FIRST;
      e.batch_residual = layout.tensors(e.residual, batch, r.one_in(4), c.out_h, c.out_w, c.out_c);
      e.ra_f32 = as_bits(r.real(-1, 2));
      e.rb_f32 = as_bits(r.one_in(4) ? 0.5f : r.real(-1, 2));
      e.fix_f32 = as_bits(r.real(-20, 20));
      clamp_range(r, to, e.residual_low, e.residual_high);
    }
    if (!matmul && r.one_in(3)) {
      e.pool_kind = static_cast<uint8_t>(r.in(1, 2));
      e.pool_h = static_cast<uint8_t>(r.in(1, std::min<int>(c.out_h, 4)));
      e.pool_w = static_cast<uint8_t>(r.in(1, std::min<int>(c.out_w, 4)));
      if (e.pool_kind == NPU_POOL_AVERAGE) {
        e.pool_in_scale_f32 = as_bits(r.real(0.01f, 0.1f));
        e.pool_out_scale_f32 = as_bits(r.real(0.01f, 0.1f));
        e.pool_in_zero = r.zero(to);
        e.pool_out_zero = r.zero(to);
      }
    }
  }
  const bool pools = e.pool_kind != NPU_POOL_NONE;
  const int element = out8 ? 1 : 4;
  const int out_rows = pools ? c.out_h / e.pool_h : c.out_h;
  const int out_columns = pools ? c.out_w / e.pool_w : c.out_w;
  e.batch_output = layout.tensors(c.output, batch, false, out_rows, out_columns, c.out_c * element,
                                  static_cast<uint32_t>(element));
  // In place of the residual.
  if ((e.flags & NPU_EXT_RESIDUAL) != 0 && !pools && r.one_in(3))
    e.residual = c.output, e.batch_residual = e.batch_output;
  // A second sum of the same inputs in the other bank, half done meanwhile.
  const bool both_banks = split > 1 && r.one_in(2);
  npu_sram_tensor second = {};
  if (both_banks)
    second =
        layout.tensor(out_rows, out_columns, c.out_c * element, static_cast<uint32_t>(element));

  arch::StreamBuilder builder;
  const npu_mac_extension none = {};
  const auto append = [&](const npu_command_mac& mac, const npu_mac_extension& ext) {
    if (std::memcmp(&ext, &none, sizeof(ext)) != 0)
      builder.append(mac, ext);
    else
      builder.append(mac);
  };
  for (int part = 0; part < split; ++part) {
    npu_command_mac mac = c;
    npu_mac_extension ext = e;
    if (split > 1) mac.accumulate = static_cast<uint8_t>(part > 0 ? NPU_ACCUMULATE_ADD : 0);
    if (part > 0) mac.flags &= ~NPU_MAC_BIAS, mac.bias = 0;
    if (part + 1 < split) {
      mac.accumulate |= NPU_ACCUMULATE_KEEP;
      mac.types = NPU_TYPES(ti, tw, 0, 0);
      mac.output = {};
      mac.flags &= ~NPU_MAC_SCALE_PER_CHANNEL;
      mac.scales = mac.scale_f32 = 0;
      mac.output_zero = mac.clamp_low = mac.clamp_high = 0;
      ext = {};
      if ((e.flags & NPU_EXT_WEIGHT_ZEROS) != 0)
        ext.flags = NPU_EXT_WEIGHT_ZEROS, ext.weight_zeros = e.weight_zeros;
    }
    append(mac, ext);
    if (!both_banks) continue;
    mac.accumulator_base = static_cast<uint16_t>(test_target().accumulator_rows);
    mac.input_zero = r.zero(ti);
    if (mac.output.pixel_stride != 0) mac.output = second;
    append(mac, ext);
  }
  return {builder.bytes(), layout.fits()};
}

Case random_vec(Random& r) {
  Layout layout(r);
  npu_command_vec v = {};
  v.function = static_cast<uint8_t>(r.in(NPU_VEC_ADD, NPU_VEC_CAST));
  const bool binary = v.function == NPU_VEC_ADD || v.function == NPU_VEC_MUL;
  const bool cast = v.function == NPU_VEC_CAST;
  const bool window = v.function == NPU_VEC_POOL_MAX || v.function == NPU_VEC_POOL_AVERAGE;
  unsigned ta = r.type8();
  if (cast) ta = r.one_in(2) ? NPU_TYPE_INT32 : NPU_TYPE_FP32;
  const unsigned tb = binary ? r.type8() : unsigned{NPU_TYPE_NONE};
  if (v.function == NPU_VEC_REDUCE && r.one_in(2)) v.flags |= NPU_VEC_REDUCE_MAX;
  if (v.function == NPU_VEC_RESIZE && r.one_in(2)) v.flags |= NPU_VEC_RESIZE_LINEAR;
  if ((v.flags & NPU_VEC_RESIZE_LINEAR) != 0 && r.one_in(2)) v.flags |= NPU_VEC_RESIZE_TRUNCATE;
  const bool copies = v.function == NPU_VEC_POOL_MAX || (v.flags & NPU_VEC_REDUCE_MAX) != 0 ||
                      (v.function == NPU_VEC_RESIZE && v.flags != NPU_VEC_RESIZE_LINEAR);
  const unsigned to = copies ? ta : r.type8();
  v.types = NPU_TYPES(ta, tb, to, 0);
  v.in_h = static_cast<uint16_t>(r.in(1, 12));
  v.in_w = static_cast<uint16_t>(r.in(1, 12));
  v.channels = static_cast<uint16_t>(r.in(1, 100));
  v.out_h = v.in_h, v.out_w = v.in_w;
  if (window) {
    v.kernel_h = static_cast<uint8_t>(r.in(1, 4));
    v.kernel_w = static_cast<uint8_t>(r.in(1, 4));
    v.stride_y = static_cast<uint8_t>(r.in(1, 3));
    v.stride_x = static_cast<uint8_t>(r.in(1, 3));
    v.pad_top = static_cast<uint8_t>(r.in(0, v.kernel_h - 1));
    v.pad_left = static_cast<uint8_t>(r.in(0, v.kernel_w - 1));
    v.out_h = static_cast<uint16_t>(1 + r.in(0, (v.in_h + v.pad_top - 1) / v.stride_y));
    v.out_w = static_cast<uint16_t>(1 + r.in(0, (v.in_w + v.pad_left - 1) / v.stride_x));
    if (v.function == NPU_VEC_POOL_AVERAGE && r.one_in(2)) v.flags |= NPU_VEC_COUNT_PAD;
  }
  if (v.function == NPU_VEC_POOL_GLOBAL) v.out_h = v.out_w = 1;
  if (v.function == NPU_VEC_REDUCE) {
    if (r.one_in(2)) v.out_h = 1;
    if (r.one_in(2)) v.out_w = 1;
    if (r.one_in(2)) v.flags |= NPU_VEC_REDUCE_CHANNELS;
  }
  if (v.function == NPU_VEC_RESIZE) {
    v.out_h = static_cast<uint16_t>(r.in(1, 20));
    v.out_w = static_cast<uint16_t>(r.in(1, 20));
  }
  const bool softmax = v.function == NPU_VEC_SOFTMAX;
  const bool layer_norm = v.function == NPU_VEC_LAYER_NORM;
  if (softmax && r.one_in(2)) v.flags |= NPU_VEC_SOFTMAX_FP32;
  if (binary && r.one_in(3)) v.flags |= NPU_VEC_BROADCAST_B;
  v.a = layout.tensor(v.in_h, v.in_w, v.channels * (cast ? 4 : 1), cast ? 4 : 1);
  if (binary) {
    const bool broadcast = v.flags & NPU_VEC_BROADCAST_B;
    v.b = layout.tensor(broadcast ? 1 : v.in_h, broadcast ? 1 : v.in_w, v.channels);
  }
  // Sometimes in place.
  v.out = arch::vec_in_place(v) && r.one_in(4)
              ? v.a
              : layout.tensor(v.out_h, v.out_w, static_cast<int>(arch::vec_out_channels(v)));
  if (const uint64_t bytes = arch::vec_table_bytes(v))
    v.table = layout.take(bytes, v.function == NPU_VEC_LUT ? 1 : 4);
  if (v.function != NPU_VEC_LUT && !copies) {
    clamp_range(r, to, v.low, v.high);
    const bool scaled_sum = v.function == NPU_VEC_ADD;
    v.p0_f32 = as_bits(cast                           ? r.real(0.001f, 0.01f)
                       : scaled_sum                   ? r.real(-1, 2)
                       : v.function == NPU_VEC_RESIZE ? r.real(0.3f, 2)
                       : softmax ? static_cast<float>(r.one_in(3) ? r.in(1, 1 << 24) : 256)
                                 : r.real(0.001f, 0.02f));
    if (scaled_sum) v.p1_f32 = as_bits(r.real(-1, 2)), v.p2_f32 = as_bits(r.real(-30, 30));
    if (v.function == NPU_VEC_POOL_AVERAGE || layer_norm) v.p1_f32 = as_bits(r.real(0.001f, 0.02f));
    if (layer_norm) v.epsilon_f32 = as_bits(r.one_in(2) ? 1e-5f : r.real(1e-12f, 0.1f));
    if (!scaled_sum) v.out_zero = r.zero(to);
    if (!scaled_sum && !cast && !softmax && !layer_norm) v.a_zero = r.zero(ta);
    if (v.function == NPU_VEC_MUL) v.b_zero = r.zero(tb);
  }
  arch::StreamBuilder builder;
  builder.append(v);
  return {builder.bytes(), layout.fits()};
}

void fill_floats(Memory& memory, Random& r, size_t at, size_t count, float low, float high) {
  for (; count != 0; --count, at += 4) {
    const float value = r.real(low, high);
    std::memcpy(memory.data() + at, &value, 4);
  }
}

// Numbers as they are meant where random bytes would be something else.
void fill_vec_tables(Memory& memory, Random& r, const npu_command_vec& v) {
  if (NPU_TYPE_AT(v.types, 0) == NPU_TYPE_FP32)
    return fill_floats(memory, r, 0, memory.size() / 4, -70000, 70000);
  const float sx = r.real(0.001f, 0.1f);
  switch (v.function) {
    case NPU_VEC_SOFTMAX:
      for (int i = 0; i < 256; ++i) {
        const bool real = (v.flags & NPU_VEC_SOFTMAX_FP32) != 0;
        const uint32_t entry = real ? as_bits(arch::softmax_f32_entry(i, v.channels, sx))
                                    : arch::softmax_integer_entry(i, v.channels, sx);
        // The integer form is exact for any table.
        if (real || r.one_in(2)) std::memcpy(memory.data() + v.table + 4 * i, &entry, 4);
      }
      break;
    case NPU_VEC_LAYER_NORM:
      fill_floats(memory, r, v.table, 2 * size_t{v.channels}, -2, 2);
      break;
    case NPU_VEC_RESIZE:
      for (unsigned i = 0; i < unsigned{v.out_h} + v.out_w; ++i) {
        const int size = i < v.out_h ? v.in_h : v.in_w;
        // Now and then beyond the input.
        const npu_resize_entry entry = {static_cast<uint16_t>(r.in(0, size)),
                                        static_cast<uint16_t>(r.one_in(20) ? 65535 : r.in(0, size)),
                                        as_bits(r.one_in(4) ? 0.5f : r.real(0, 1))};
        std::memcpy(memory.data() + v.table + sizeof(entry) * i, &entry, sizeof(entry));
      }
      break;
    default:
      break;
  }
}

// Random bytes; at float tables positive finite numbers.
void fill_memory(Memory& memory, Random& r, const arch::Stream& stream) {
  for (uint8_t& b : memory) b = static_cast<uint8_t>(r.in(0, 255));
  for (const arch::Command& command : stream) {
    if (command.engine() == NPU_ENGINE_MAC) {
      const npu_command_mac& mac = command.mac();
      for (unsigned o = 0; (mac.flags & NPU_MAC_SCALE_PER_CHANNEL) != 0 && o < mac.out_c; ++o) {
        const float s = r.real(0.0001f, 0.02f);
        std::memcpy(memory.data() + mac.scales + 4 * o, &s, 4);
      }
    } else {
      fill_vec_tables(memory, r, command.vec());
    }
  }
}

template <typename Op>
bool run_slice(Op& op, uint64_t& cursor, Progress& progress) {
  progress.begin_slice(0, 0);
  return op.run(cursor, progress);
}

class ComputeTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!isa_available(GetParam())) GTEST_SKIP() << "this processor does not have it";
    before_ = current_isa();
    force_isa_for_test(GetParam());
  }
  void TearDown() override { force_isa_for_test(before_); }

  void check(Case (*generate)(Random&), int rounds, uint32_t seed) {
    const npu_target target = test_target();
    npu_model_host host = {};
    host.cancelled = [](void*) { return false; };
    Shared shared(target);
    Progress progress(host, shared);
    Random r(seed);
    int done = 0;
    for (int round = 0; done < rounds; ++round) {
      ASSERT_LT(round, 3 * rounds) << "the generator makes mostly what does not fit";
      const Case c = generate(r);
      if (!c.good) continue;
      arch::Stream stream;
      arch::StreamError error;
      if (!arch::decode_stream(c.stream, target, 0, 1, stream, error)) {
        // Only the accumulators' size is left to chance.
        ASSERT_NE(error.text.find("accumulate"), std::string::npos) << error.text;
        continue;
      }
      ++done;
      CoreMemory core(target);
      Oracle oracle;
      oracle.memory.resize(kSram);
      fill_memory(oracle.memory, r, stream);
      std::memcpy(core.sram(), oracle.memory.data(), kSram);
      for (const arch::Command& command : stream) {
        uint64_t cursor = 0;
        if (command.engine() == NPU_ENGINE_MAC) {
          oracle.mac(command.mac(), command.extension());
          MacBatch op;
          op.begin(command, core);
          while (!run_slice(op, cursor, progress)) {
          }
        } else {
          oracle.vec(command.vec());
          VecOp op;
          op.begin(command, core);
          while (!run_slice(op, cursor, progress)) {
          }
        }
      }
      for (uint32_t i = 0; std::memcmp(core.sram(), oracle.memory.data(), kSram) != 0; ++i)
        ASSERT_EQ(core.sram()[i], oracle.memory[i])
            << "round " << round << ", SRAM " << i << ": " << arch::disassemble(stream.back());
    }
  }

 private:
  Isa before_ = Isa::kReference;
};

std::string isa_name(const ::testing::TestParamInfo<Isa>& info) {
  constexpr const char* kNames[] = {"Reference", "Scalar", "Avx2", "Avx512Vnni"};
  return kNames[static_cast<int>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(Isa, ComputeTest,
                         ::testing::Values(Isa::kReference, Isa::kScalar, Isa::kAvx2,
                                           Isa::kAvx512Vnni),
                         isa_name);

TEST_P(ComputeTest, MacAgainstOracle) {
  check(random_mac, 400, 1);
}
TEST_P(ComputeTest, VecAgainstOracle) {
  check(random_vec, 600, 2);
}

// Tables of noise: scales that are infinite, negative or no number at all give
// the same bytes everywhere.
TEST_P(ComputeTest, NoiseInTablesIsTheSameEverywhere) {
  const npu_target target = test_target();
  npu_model_host host = {};
  host.cancelled = [](void*) { return false; };
  Shared shared(target);
  Progress progress(host, shared);
  Random r(3);
  for (int round = 0; round < 60; ++round) {
    const Case c = round % 2 != 0 ? random_mac(r) : random_vec(r);
    arch::Stream stream;
    arch::StreamError error;
    if (!c.good || !arch::decode_stream(c.stream, target, 0, 1, stream, error)) continue;
    Memory start(kSram);
    for (uint8_t& b : start) b = static_cast<uint8_t>(r.one_in(3) ? 0xff : r.in(0, 255));
    Memory results[2];
    for (int pass = 0; pass < 2; ++pass) {
      force_isa_for_test(pass == 0 ? Isa::kReference : GetParam());
      CoreMemory core(target);
      std::memcpy(core.sram(), start.data(), kSram);
      for (const arch::Command& command : stream) {
        uint64_t cursor = 0;
        if (command.engine() == NPU_ENGINE_MAC) {
          MacBatch op;
          op.begin(command, core);
          while (!run_slice(op, cursor, progress)) {
          }
        } else {
          VecOp op;
          op.begin(command, core);
          while (!run_slice(op, cursor, progress)) {
          }
        }
      }
      results[pass].assign(core.sram(), core.sram() + kSram);
    }
    ASSERT_EQ(results[0], results[1]) << round << ": " << arch::disassemble(stream.back());
  }
}

// Extreme values: sums that wrap, factors that saturate.
TEST_P(ComputeTest, WrapsAndSaturates) {
  const npu_target target = test_target();
  npu_model_host host = {};
  host.cancelled = [](void*) { return false; };
  Shared shared(target);
  Progress progress(host, shared);
  CoreMemory core(target);
  npu_command_mac c = {};
  c.header.opcode = NPU_OP_MATMUL;
  c.types = NPU_TYPES(NPU_TYPE_UINT8, NPU_TYPE_INT8, NPU_TYPE_INT32, 0);
  c.in_h = c.out_h = 1;
  c.in_w = c.out_w = 7;
  c.in_c = 6000;
  c.out_c = 18;
  c.input.row_stride = 0;
  c.input.pixel_stride = 0;  // every row the same
  c.weights = 6000;
  c.weight_stride = 6000;
  c.weight_bytes = 18 * 6000;
  c.bias = 120000;
  c.flags = NPU_MAC_BIAS;
  c.output.address = 130000;
  c.output.pixel_stride = 72;
  c.output.row_stride = 7 * 72;
  std::memset(core.sram(), 255, 6000);
  std::memset(core.sram() + 6000, 0x80, 18 * 6000);
  const int32_t bias = -2000000000;
  for (int o = 0; o < 18; ++o) std::memcpy(core.sram() + c.bias + 4 * o, &bias, 4);
  arch::StreamBuilder builder;
  builder.append(c);
  arch::Stream stream;
  arch::StreamError error;
  ASSERT_TRUE(arch::decode_stream(builder.bytes(), target, 0, 1, stream, error)) << error.text;
  MacBatch op;
  uint64_t cursor = 0;
  op.begin(stream[0], core);
  while (!run_slice(op, cursor, progress)) {
  }
  const auto expected =
      static_cast<int32_t>(static_cast<uint64_t>(int64_t{bias} + int64_t{6000} * 255 * -128));
  for (int i = 0; i < 7 * 18; ++i) {
    int32_t got;
    std::memcpy(&got, core.sram() + 130000 + 4 * i, 4);
    ASSERT_EQ(got, expected) << i;
  }
}

}  // namespace
}  // namespace npu::model
