// SPDX-License-Identifier: MIT
#include <algorithm>
#include <numeric>
#include <utility>

#include "compiler/testing/random_graph.h"

namespace npu::compiler::testing {
namespace {

// One operator on results of others; kNoValue if what was drawn does not suit.
class Mesh {
 public:
  Mesh(RandomGraph& g, std::vector<ValueId>& live) : g_(g), live_(live) {}

  ValueId grow() {
    const ValueId x = any();
    const Shape in = g_.shape(x);
    const bool image = in.size() >= 3;
    switch (g_.pick(0, 16)) {
      case 0:
      case 1:
        return image ? convolution(x, in) : g_.matmul(x, g_.pick(1, 40));
      case 2:
        return image ? pooled(x, in) : kNoValue;
      case 3:
        return g_.lut(x);
      case 4:
      case 5:
        return sum_or_product(x, in);
      case 6:
      case 7:
        return joined(x, in);
      case 8:
      case 9:
        return sliced(x, in);
      case 10:
        return transposed(x, in);
      case 11:
        return reshaped(x, in);
      case 12:
        return framed(x, in);
      case 13:
        return g_.chance(50) ? g_.softmax(x) : g_.layer_norm(x);
      case 14:
        return image ? g_.resize(x, in.size() == 4 ? g_.pick(1, 14) : 1, g_.pick(1, 14)) : kNoValue;
      case 15:
        return expanded(x, in);
      default:
        return product_of_two(x, in);
    }
  }

 private:
  ValueId any() { return live_[static_cast<size_t>(g_.pick(0, size() - 1))]; }
  int64_t size() const { return static_cast<int64_t>(live_.size()); }

  ValueId convolution(ValueId x, const Shape& in) {
    const Window window =
        g_.window(in.size() == 4 ? in[2] : 1, in.back(), g_.chance(15) ? 9 : 3, true);
    if (g_.chance(30)) return g_.conv(x, in[1], in[1], window);
    if (in[1] % 2 == 0 && g_.chance(20)) return g_.conv(x, 2 * g_.pick(1, 12), 2, window);
    // As many channels as another one has, for sums.
    const Shape& other = g_.shape(any());
    return g_.conv(x, other.size() >= 3 && g_.chance(60) ? other[1] : g_.pick(1, 40), 1,
                   g_.chance(50) ? Window{} : window);
  }

  ValueId pooled(ValueId x, const Shape& in) {
    if (g_.chance(15)) return g_.global_average(x);
    Window window = g_.window(in.size() == 4 ? in[2] : 1, in.back(), 3, false);
    if (g_.chance(60)) {  // such as can be fused
      window = {};
      for (int d = in.size() == 4 ? 0 : 1; d < 2; ++d)
        window.kernel[d] = window.stride[d] =
            std::min<int64_t>(g_.pick(1, 3), in[in.size() - 2 + d]);
    }
    return g_.pool(x, g_.chance(50) ? PoolKind::kMax : PoolKind::kAverage, window, g_.chance(50));
  }

  ValueId sum_or_product(ValueId x, const Shape& in) {
    std::vector<ValueId> same;
    for (const ValueId id : live_)
      if (g_.shape(id) == in) same.push_back(id);
    ValueId other = same[static_cast<size_t>(g_.pick(0, static_cast<int64_t>(same.size()) - 1))];
    if (g_.chance(25)) {
      Shape part = in;
      for (int64_t& dim : part)
        if (g_.chance(30)) dim = 1;
      while (part.size() > 1 && part[0] == 1 && g_.chance(50)) part.erase(part.begin());
      other = g_.constant(part, g_.byte_type());
    }
    if (g_.chance(50)) std::swap(x, other);
    return g_.chance(70) ? g_.add(x, other) : g_.mul(x, other);
  }

  ValueId joined(ValueId x, Shape in) {
    int64_t axis = g_.pick(0, static_cast<int64_t>(in.size()) - 1);
    std::vector<ValueId> parts{x};
    // Some of what another one joins, and more.
    std::vector<const Op*> concats;
    for (const Op& op : g_.graph.ops)
      if (op.as<ConcatOp>() != nullptr) concats.push_back(&op);
    if (!concats.empty() && g_.chance(50)) {
      const auto count = static_cast<int64_t>(concats.size());
      const Op& op = *concats[static_cast<size_t>(g_.pick(0, count - 1))];
      const auto last = static_cast<int64_t>(op.inputs.size()) - 1;
      const int64_t first = g_.chance(60) ? 0 : g_.pick(0, last);
      parts.assign(op.inputs.begin() + first, op.inputs.begin() + g_.pick(first, last) + 1);
      axis = op.as<ConcatOp>()->axis;
      x = parts[0];
      in = g_.shape(x);
    }
    for (int64_t tries = g_.pick(0, 6); tries > 0; --tries) {
      const ValueId id = any();
      Shape shape = g_.shape(id);
      if (shape.size() != in.size()) continue;
      shape[static_cast<size_t>(axis)] = in[static_cast<size_t>(axis)];
      if (shape == in && g_.graph.value(id).type == g_.graph.value(x).type) parts.push_back(id);
    }
    return g_.concat(std::move(parts), static_cast<int>(axis));
  }

  ValueId sliced(ValueId x, const Shape& in) {
    std::vector<int64_t> start, step;
    Shape size;
    for (const int64_t dim : in) {
      step.push_back(g_.chance(15) ? 2 : 1);
      start.push_back(g_.chance(40) ? g_.pick(0, dim / 2) : 0);
      const int64_t most = (dim - start.back() + step.back() - 1) / step.back();
      size.push_back(std::max<int64_t>(1, g_.chance(40) ? g_.pick((most + 1) / 2, most) : most));
      start.back() = std::min(start.back(), dim - 1);
    }
    return g_.slice(x, std::move(start), std::move(size), std::move(step));
  }

  ValueId transposed(ValueId x, const Shape& in) {
    std::vector<int> order(in.size());
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[static_cast<size_t>(g_.pick(0, static_cast<int64_t>(i) - 1))]);
    return g_.transpose(x, std::move(order));
  }

  ValueId reshaped(ValueId x, const Shape& in) {
    Shape to{elements(in)};
    for (int64_t axes = g_.pick(0, 3); axes > 0; --axes) {
      const int64_t divisor = g_.pick(1, 12);
      if (to[0] % divisor != 0) continue;
      to[0] /= divisor;
      to.insert(to.begin() + 1, divisor);
    }
    if (g_.chance(40) && in.size() > 2) to = {in[0], elements(in) / in[0]};
    if (to.back() > 600) return kNoValue;
    return g_.reshape(x, std::move(to));
  }

  ValueId framed(ValueId x, const Shape& in) {
    std::vector<int64_t> before;
    Shape to = in;
    for (int64_t& dim : to) {
      before.push_back(g_.chance(30) ? g_.pick(0, 2) : 0);
      dim += before.back() + (g_.chance(30) ? g_.pick(0, 2) : 0);
    }
    return g_.pad(x, std::move(before), std::move(to), static_cast<uint8_t>(g_.pick(0, 255)));
  }

  ValueId expanded(ValueId x, const Shape& in) {
    Shape to = in;
    for (int64_t& dim : to)
      if (dim == 1 && g_.chance(60)) dim = g_.pick(1, 6);
    return to == in ? kNoValue : g_.expand(x, std::move(to));
  }

  ValueId product_of_two(ValueId x, const Shape& in) {
    if (in.size() < 2) return kNoValue;
    for (int tries = 0; tries < 6; ++tries) {
      const ValueId other = any();
      Shape shape = g_.shape(other);
      if (shape.size() != in.size()) continue;
      if (!std::equal(in.begin(), in.end() - 2, shape.begin())) continue;
      if (shape[in.size() - 2] == in.back()) return g_.dynamic_matmul(x, other);
      if (shape.back() != in.back()) continue;
      std::vector<int> order(in.size());
      std::iota(order.begin(), order.end(), 0);
      std::swap(order[in.size() - 2], order[in.size() - 1]);
      return g_.dynamic_matmul(x, g_.transpose(other, std::move(order)));
    }
    return g_.matmul(x, g_.pick(1, 40));
  }

  RandomGraph& g_;
  std::vector<ValueId>& live_;
};

}  // namespace

Graph random_mesh(uint32_t seed, int64_t images) {
  RandomGraph g(seed);
  std::vector<ValueId> live;
  for (int64_t inputs = g.pick(1, 3); inputs > 0; --inputs) {
    Shape shape{images, g.pick(1, 12), g.pick(1, 12), g.pick(1, 12)};
    for (int64_t drop = g.pick(-3, 3); drop > 0; --drop) shape.pop_back();
    if (g.chance(15)) shape.back() = g.pick(20, 300);
    live.push_back(g.input(std::move(shape), g.byte_type()));
  }
  constexpr int64_t kMostElements = 12000;
  for (int64_t layers = g.pick(2, 24); layers > 0; --layers) {
    const ValueId y = Mesh(g, live).grow();
    if (y != kNoValue && elements(g.shape(y)) <= kMostElements) live.push_back(y);
  }
  if (g.graph.ops.empty()) live.push_back(g.lut(live[0]));  // a model has a node at least
  // Everything is for some output, of which a job has no more than regions.
  std::vector<ValueId> outputs;
  const std::vector<uint32_t> uses = g.graph.use_counts();
  for (const ValueId id : live)
    if (uses[id] == 0 || g.chance(8)) outputs.push_back(id);
  if (outputs.empty()) outputs.push_back(live.back());
  if (outputs.size() > 8) outputs.erase(outputs.begin(), outputs.end() - 8);
  for (const ValueId id : outputs) g.output(id);
  if (g.chance(10)) g.output(outputs[0]);
  // What is for none.
  std::vector<bool> needed(g.graph.values.size(), false);
  for (const ValueId id : g.graph.outputs) needed[id] = true;
  for (size_t i = g.graph.ops.size(); i-- > 0;) {
    const Op& op = g.graph.ops[i];
    if (!needed[op.output]) continue;
    for (const ValueId id : op.operands()) needed[id] = true;
  }
  std::erase_if(g.graph.ops, [&](const Op& op) { return !needed[op.output]; });
  return std::move(g.graph);
}

}  // namespace npu::compiler::testing
