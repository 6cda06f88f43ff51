// SPDX-License-Identifier: MIT
#include "compiler/onnx/fold.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>

#include "compiler/onnx/attributes.h"
#include "compiler/onnx/shape_rules.h"
#include "compiler/onnx/walk.h"

namespace npu::compiler {
namespace {

// Elements of a result that is larger than its operands (Concat, Expand, ConstantOfShape, Range).
constexpr int64_t kMostMade = 1 << 20;

using Operands = std::vector<const ConstTensor*>;
using Result = std::optional<ConstTensor>;

bool is_integer(const ConstTensor& tensor) {
  return tensor.type == ConstType::kInt32 || tensor.type == ConstType::kInt64;
}
bool has_data(const ConstTensor& tensor) {
  return tensor.type != ConstType::kOther;
}
// Without dimensions of 0, which the rules of shapes do not know.
bool has_elements(const ConstTensor& tensor) {
  return has_data(tensor) && checked_elements(tensor.shape).has_value();
}

ConstTensor integers(Shape shape, std::vector<int64_t> values) {
  ConstTensor out;
  out.type = ConstType::kInt64;
  out.onnx_type = onnx::Tensor::INT64;
  out.shape = std::move(shape);
  out.ints = std::move(values);
  return out;
}

// One of ONNX's calls: its attributes and operands.
class Call {
 public:
  Call(const onnx::Node& node, const Operands& operands)
      : attributes(node), node_(node), operands_(operands) {}

  Attributes attributes;
  RuleBreak broken;

  const std::string& type() const { return node_.op_type(); }
  size_t count() const { return operands_.size(); }
  // nullptr if it is absent, or has no data.
  const ConstTensor* operand(size_t i) const {
    return i < operands_.size() && operands_[i] != nullptr && has_data(*operands_[i]) ? operands_[i]
                                                                                      : nullptr;
  }
  std::optional<std::vector<int64_t>> list(size_t i) const {
    const ConstTensor* tensor = operand(i);
    if (tensor == nullptr || !is_integer(*tensor)) return std::nullopt;
    return tensor->ints;
  }
  // What was an attribute before it became an operand.
  std::optional<std::vector<int64_t>> list(const char* attribute, size_t i) {
    std::optional<std::vector<int64_t>> out = attributes.integers(attribute);
    return out ? out : list(i);
  }

 private:
  const onnx::Node& node_;
  const Operands& operands_;
};

// ---- movement -------------------------------------------------------------------

// The elements of `from` at these places.
template <typename Places>
ConstTensor selected(const ConstTensor& from, Shape shape, Places&& places) {
  ConstTensor out;
  out.type = from.type;
  out.onnx_type = from.onnx_type;
  out.shape = std::move(shape);
  for (const size_t at : places) {
    if (!from.floats.empty()) out.floats.push_back(from.floats[at]);
    if (!from.bytes.empty()) out.bytes.push_back(from.bytes[at]);
    if (!from.ints.empty()) out.ints.push_back(from.ints[at]);
  }
  return out;
}

// The elements that a walk over `shape` with these strides visits.
ConstTensor walked(const ConstTensor& from, const Shape& shape, const std::vector<int64_t>& strides,
                   int64_t first = 0) {
  std::vector<size_t> places;
  places.reserve(static_cast<size_t>(elements(shape)));
  walk(shape, strides,
       [&](size_t, int64_t offset) { places.push_back(static_cast<size_t>(first + offset)); });
  return selected(from, shape, places);
}

Result view(Call& call) {
  const ConstTensor* x = call.operand(0);
  if (x == nullptr || !has_elements(*x)) return std::nullopt;
  std::optional<Shape> shape = x->shape;
  if (call.type() == "Reshape") {
    const auto wanted = call.list(1);
    if (!wanted) return std::nullopt;
    shape = reshaped(x->shape, *wanted, call.attributes.integer("allowzero", 0) != 0, call.broken);
  } else if (call.type() == "Flatten") {
    shape = flattened(x->shape, call.attributes.integer("axis", 1), call.broken);
  } else if (call.type() == "Squeeze") {
    shape = squeezed(x->shape, call.list("axes", 1), call.broken);
  } else if (call.type() == "Unsqueeze") {
    const auto axes = call.list("axes", 1);
    if (!axes) return std::nullopt;
    shape = unsqueezed(x->shape, *axes, call.broken);
  }
  if (!shape) return std::nullopt;
  ConstTensor out = *x;
  out.shape = *shape;
  return out;
}

Result transpose(Call& call) {
  const ConstTensor* x = call.operand(0);
  if (x == nullptr || !has_elements(*x)) return std::nullopt;
  const auto permutation = permutation_of(x->shape, call.attributes.integers("perm"), call.broken);
  if (!permutation) return std::nullopt;
  const std::vector<int64_t> dense = strides_of(x->shape);
  std::vector<int64_t> strides;
  for (const int axis : *permutation) strides.push_back(dense[static_cast<size_t>(axis)]);
  return walked(*x, permuted(x->shape, *permutation), strides);
}

Result slice(Call& call) {
  const ConstTensor* x = call.operand(0);
  const auto starts = call.list("starts", 1), ends = call.list("ends", 2);
  const auto axes = call.list("axes", 3), steps = call.list(4);
  if (x == nullptr || !has_elements(*x) || !starts || !ends) return std::nullopt;
  const auto bounds = sliced(x->shape, *starts, *ends, axes, steps, call.broken);
  if (!bounds) return std::nullopt;
  std::vector<int64_t> strides = strides_of(x->shape);
  int64_t first = 0;
  for (size_t d = 0; d < strides.size(); ++d) {
    first += bounds->start[d] * strides[d];
    if (!bounds->step.empty()) strides[d] *= bounds->step[d];
  }
  return walked(*x, bounds->shape, strides, first);
}

Result gather(Call& call) {
  const ConstTensor* x = call.operand(0);
  const ConstTensor* indices = call.operand(1);
  if (x == nullptr || !has_elements(*x) || indices == nullptr || !is_integer(*indices))
    return std::nullopt;
  const auto chosen = gathered(x->shape, call.attributes.integer("axis", 0), indices->shape,
                               indices->ints, call.broken);
  if (!chosen || elements(chosen->shape) > std::max(kMostMade, x->count())) return std::nullopt;
  const int64_t size = x->shape[chosen->axis], inner = strides_of(x->shape)[chosen->axis];
  std::vector<size_t> places;
  for (int64_t first = 0; first < x->count(); first += size * inner) {
    for (const int64_t index : chosen->indices)
      for (int64_t i = 0; i < inner; ++i)
        places.push_back(static_cast<size_t>(first + index * inner + i));
  }
  return selected(*x, chosen->shape, places);
}

// Of lists, which shapes are; other constants are joined at run time.
Result concat(Call& call) {
  ConstTensor out;
  for (size_t i = 0; i < call.count(); ++i) {
    const ConstTensor* x = call.operand(i);
    if (x == nullptr || x->shape.size() != 1 || x->is_byte()) return std::nullopt;
    if (i == 0) {
      out = *x;
      continue;
    }
    if (x->type != out.type || out.shape[0] + x->shape[0] > kMostMade) return std::nullopt;
    out.floats.insert(out.floats.end(), x->floats.begin(), x->floats.end());
    out.ints.insert(out.ints.end(), x->ints.begin(), x->ints.end());
    out.shape[0] += x->shape[0];
  }
  return call.count() > 0 ? Result(std::move(out)) : std::nullopt;
}

Result expand(Call& call) {
  const ConstTensor* x = call.operand(0);
  const auto wanted = call.list(1);
  if (x == nullptr || !has_elements(*x) || !wanted) return std::nullopt;
  const auto shape = broadcast_shape(x->shape, *wanted, call.broken);
  if (!shape || elements(*shape) > std::max(kMostMade, x->count())) return std::nullopt;
  return walked(*x, *shape, broadcast_strides(x->shape, *shape));
}

// ---- arithmetic -----------------------------------------------------------------

Result constant_of_shape(Call& call) {
  const auto shape = call.list(0);
  if (!shape || !checked_elements(*shape) || elements(*shape) > kMostMade) return std::nullopt;
  ConstTensor one;
  one.type = ConstType::kFloat;
  one.onnx_type = onnx::Tensor::FLOAT;
  one.shape = {1};
  one.floats = {0.0f};
  if (const onnx::Tensor* proto = call.attributes.tensor("value")) {
    std::string error;
    const Result given = decode_tensor(*proto, error);
    if (!given || !has_data(*given) || given->count() != 1) return std::nullopt;
    one = *given;
  }
  return selected(one, *shape, std::vector<size_t>(static_cast<size_t>(elements(*shape)), 0));
}

Result range(Call& call) {
  const auto start = call.list(0), limit = call.list(1), delta = call.list(2);
  if (!start || !limit || !delta || start->size() != 1 || limit->size() != 1 ||
      delta->size() != 1 || (*delta)[0] == 0)
    return std::nullopt;
  std::vector<int64_t> values;
  for (__int128 v = (*start)[0]; (*delta)[0] > 0 ? v < (*limit)[0] : v > (*limit)[0];
       v += (*delta)[0]) {
    if (static_cast<int64_t>(values.size()) >= kMostMade) return std::nullopt;
    values.push_back(static_cast<int64_t>(v));
  }
  const auto count = static_cast<int64_t>(values.size());
  ConstTensor out = integers({count}, std::move(values));
  out.type = call.operand(0)->type;
  out.onnx_type = call.operand(0)->onnx_type;
  return out;
}

Result cast(Call& call) {
  const ConstTensor* x = call.operand(0);
  if (x == nullptr || x->is_byte()) return std::nullopt;
  ConstTensor out;
  out.shape = x->shape;
  out.onnx_type = static_cast<int>(call.attributes.integer("to", 0));
  std::vector<double> values(x->floats.begin(), x->floats.end());
  switch (out.onnx_type) {
    case onnx::Tensor::FLOAT:
    case onnx::Tensor::DOUBLE:
      out.type = ConstType::kFloat;
      out.floats = x->floats;
      for (const int64_t v : x->ints) out.floats.push_back(static_cast<float>(v));
      return out;
    case onnx::Tensor::INT32:
    case onnx::Tensor::INT64:
    case onnx::Tensor::BOOL: {
      const bool wide = out.onnx_type == onnx::Tensor::INT64;
      out.type = wide                                   ? ConstType::kInt64
                 : out.onnx_type == onnx::Tensor::INT32 ? ConstType::kInt32
                                                        : ConstType::kBool;
      const double limit = wide ? 9.2e18 : 2147483520.0;
      out.ints = x->ints;
      for (const double v : values) {
        if (out.type == ConstType::kBool) {
          out.ints.push_back(v != 0);
          continue;
        }
        if (!(std::fabs(v) <= limit)) return std::nullopt;
        out.ints.push_back(static_cast<int64_t>(v));
      }
      for (int64_t& v : out.ints) {
        if (out.type == ConstType::kBool) v = v != 0;
        if (out.type == ConstType::kInt32 && v != static_cast<int32_t>(v)) return std::nullopt;
      }
      return out;
    }
    default:
      return std::nullopt;
  }
}

std::optional<int64_t> combine(const std::string& type, int64_t a, int64_t b) {
  int64_t out = 0;
  if (type == "Add") return __builtin_add_overflow(a, b, &out) ? std::nullopt : std::optional(out);
  if (type == "Sub") return __builtin_sub_overflow(a, b, &out) ? std::nullopt : std::optional(out);
  if (type == "Mul") return __builtin_mul_overflow(a, b, &out) ? std::nullopt : std::optional(out);
  if (type == "Min") return std::min(a, b);
  if (type == "Max") return std::max(a, b);
  if (b == 0 || (b == -1 && a == std::numeric_limits<int64_t>::min())) return std::nullopt;
  if (type == "Div") return a / b;
  out = a % b;  // Mod: the divisor's sign
  return out != 0 && (out < 0) != (b < 0) ? out + b : out;
}

std::optional<float> combine(const std::string& type, float a, float b) {
  if (type == "Add") return a + b;
  if (type == "Sub") return a - b;
  if (type == "Mul") return a * b;
  if (type == "Div") return a / b;
  if (type == "Min") return std::min(a, b);
  if (type == "Max") return std::max(a, b);
  return std::nullopt;
}

Result arithmetic(Call& call) {
  const ConstTensor* a = call.operand(0);
  const ConstTensor* b = call.operand(1);
  if (call.count() != 2 || a == nullptr || b == nullptr || !has_elements(*a) || !has_elements(*b) ||
      a->type != b->type || a->is_byte() || a->type == ConstType::kBool ||
      call.attributes.integer("fmod", 0) != 0)
    return std::nullopt;
  const auto shape = broadcast_shape(a->shape, b->shape, call.broken);
  if (!shape || elements(*shape) > std::max({kMostMade, a->count(), b->count()}))
    return std::nullopt;
  ConstTensor out = walked(*a, *shape, broadcast_strides(a->shape, *shape));
  const ConstTensor other = walked(*b, *shape, broadcast_strides(b->shape, *shape));
  for (size_t i = 0; i < static_cast<size_t>(elements(*shape)); ++i) {
    if (out.type == ConstType::kFloat) {
      const auto value = combine(call.type(), out.floats[i], other.floats[i]);
      if (!value) return std::nullopt;
      out.floats[i] = *value;
    } else {
      const auto value = combine(call.type(), out.ints[i], other.ints[i]);
      if (!value || (out.type == ConstType::kInt32 && *value != static_cast<int32_t>(*value)))
        return std::nullopt;
      out.ints[i] = *value;
    }
  }
  return out;
}

Result rounded(Call& call) {
  const ConstTensor* x = call.operand(0);
  if (x == nullptr || x->type != ConstType::kFloat) return std::nullopt;
  ConstTensor out = *x;
  for (float& v : out.floats) {
    v = call.type() == "Floor"  ? std::floor(v)
        : call.type() == "Ceil" ? std::ceil(v)
                                : std::nearbyint(v);
  }
  return out;
}

Result product(Call& call) {
  const ConstTensor* x = call.operand(0);
  if (x == nullptr || !is_integer(*x) || x->shape.size() != 1) return std::nullopt;
  int64_t total = 1;
  for (const int64_t v : x->ints)
    if (__builtin_mul_overflow(total, v, &total)) return std::nullopt;
  ConstTensor out = integers({}, {total});
  if (call.attributes.integer("keepdims", 1) != 0) out.shape = {1};
  out.type = x->type;
  out.onnx_type = x->onnx_type;
  return out;
}

using Function = Result (*)(Call&);

const std::map<std::string, Function>& functions() {
  static const std::map<std::string, Function> kFunctions = {
      {"Add", arithmetic},
      {"Cast", cast},
      {"Ceil", rounded},
      {"Concat", concat},
      {"ConstantOfShape", constant_of_shape},
      {"Div", arithmetic},
      {"Expand", expand},
      {"Flatten", view},
      {"Floor", rounded},
      {"Gather", gather},
      {"Identity", view},
      {"Max", arithmetic},
      {"Min", arithmetic},
      {"Mod", arithmetic},
      {"Mul", arithmetic},
      {"Range", range},
      {"ReduceProd", product},
      {"Reshape", view},
      {"Round", rounded},
      {"Slice", slice},
      {"Squeeze", view},
      {"Sub", arithmetic},
      {"Transpose", transpose},
      {"Unsqueeze", view},
  };
  return kFunctions;
}

}  // namespace

Result fold_constants(const onnx::Node& node, const Operands& operands) {
  if (!(node.domain().empty() || node.domain() == "ai.onnx") || node.output_size() != 1)
    return std::nullopt;
  const auto it = functions().find(node.op_type());
  if (it == functions().end()) return std::nullopt;
  Call call(node, operands);
  Result out = it->second(call);
  return out && out->shape.size() <= 8 ? std::move(out) : std::nullopt;
}

Result fold_shape(const onnx::Node& node, const Shape& shape) {
  if (!(node.domain().empty() || node.domain() == "ai.onnx") || node.output_size() != 1)
    return std::nullopt;
  if (node.op_type() == "Size") return integers({}, {elements(shape)});
  if (node.op_type() != "Shape") return std::nullopt;
  Attributes attributes(node);
  const auto rank = static_cast<int64_t>(shape.size());
  const auto bound = [&](const char* name, int64_t fallback) {
    int64_t at = attributes.integer(name, fallback);
    if (at < 0) at += rank;
    return std::clamp<int64_t>(at, 0, rank);
  };
  const int64_t start = bound("start", 0), end = std::max(start, bound("end", rank));
  return integers({end - start}, {shape.begin() + start, shape.begin() + end});
}

bool only_moves(const onnx::Node& node) {
  static constexpr const char* kMoves[] = {"Expand", "Flatten", "Gather",    "Identity", "Reshape",
                                           "Slice",  "Squeeze", "Transpose", "Unsqueeze"};
  return std::find(std::begin(kMoves), std::end(kMoves), node.op_type()) != std::end(kMoves);
}

}  // namespace npu::compiler
