// SPDX-License-Identifier: MIT
//
// Small graphs with random shapes, parameters and data, made without ONNX.
#ifndef NPU_COMPILER_TESTING_RANDOM_GRAPH_H_
#define NPU_COMPILER_TESTING_RANDOM_GRAPH_H_

#include <cstdint>
#include <random>
#include <vector>

#include "compiler/ir/graph.h"

namespace npu::compiler::testing {

class RandomGraph {
 public:
  explicit RandomGraph(uint32_t seed) : random_(seed) {}

  Graph graph;

  int64_t pick(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return pick(1, 100) <= percent; }

  ValueId input(Shape shape, ByteType type);
  void output(ValueId id);

  // Layers; each returns its result.
  ValueId conv(ValueId x, int64_t out_channels, int64_t groups, const Window& window);
  ValueId matmul(ValueId x, int64_t columns);
  ValueId dynamic_matmul(ValueId a, ValueId b);
  ValueId pool(ValueId x, PoolKind kind, const Window& window, bool count_pads);
  ValueId global_average(ValueId x);
  ValueId add(ValueId a, ValueId b);
  ValueId mul(ValueId a, ValueId b);
  ValueId lut(ValueId x);
  ValueId softmax(ValueId x);
  ValueId layer_norm(ValueId x);
  ValueId reshape(ValueId x, Shape shape);
  ValueId transpose(ValueId x, std::vector<int> permutation);
  ValueId slice(ValueId x, std::vector<int64_t> start, Shape shape, std::vector<int64_t> step = {});
  // With one byte, or one for each channel, around it.
  ValueId pad(ValueId x, std::vector<int64_t> before, Shape shape, uint8_t byte);
  ValueId expand(ValueId x, Shape shape);
  // Of any shape and interpolation; entries as no formula would make them.
  ValueId resize(ValueId x, int64_t h, int64_t w);
  ValueId concat(std::vector<ValueId> parts, int axis);
  ValueId constant(Shape shape, ByteType type);

  // A window that fits an image of this size.
  Window window(int64_t h, int64_t w, int64_t max_kernel, bool dilate);
  ByteType byte_type() { return chance(50) ? ByteType::kUint8 : ByteType::kInt8; }
  const Shape& shape(ValueId id) const { return graph.value(id).shape; }

 private:
  ValueId append(std::vector<ValueId> inputs, Shape shape, ByteType type, OpDetail detail);
  int zero(ByteType type) { return static_cast<int>(pick(byte_low(type), byte_high(type))); }
  float real(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random_);
  }
  Clamp clamp(ByteType type);
  void requantization(MacOp& mac, ByteType type, int64_t depth);

  std::mt19937 random_;
};

// Attention over the rows of `x`, [images, rows, features], with 1 to 3 heads of at most 24
// features.
ValueId attention(RandomGraph& g, ValueId x);

// Layers of transformers: attention, products, normalizations, tables and residuals over up to 24
// rows.
Graph random_encoder(uint32_t seed, int64_t images);

// A network of some convolutions, pools, resizes, frames, tables, sums, products and joins of
// images up to 24 x 24, with one or two outputs.
Graph random_network(uint32_t seed, int64_t images);

// Operators of every kind on tensors of 1 to 4 axes, each on results of any before it: values that
// many read, that are outputs too or joined twice, joins of joins and of what others join, views of
// views.
Graph random_mesh(uint32_t seed, int64_t images);

// Images of one size, most of which are read several times: joined, cut, gated, added and pooled as
// detectors and mobile networks do, SiLU, squeeze and excite, and dense blocks included.
Graph random_body(uint32_t seed, int64_t images);

}  // namespace npu::compiler::testing

#endif  // NPU_COMPILER_TESTING_RANDOM_GRAPH_H_
