// SPDX-License-Identifier: MIT
#include "compiler/calibrate/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compiler/calibrate/rewrite.h"
#include "compiler/onnx/model.h"
#include "compiler/reference/interpreter.h"

namespace npu::compiler {
namespace {

ActivationType activation_type(const CalibrationOptions& options) {
  if (!options.int8_activations) return ActivationType::kUint8;
  return options.symmetric_activations ? ActivationType::kInt8Symmetric : ActivationType::kInt8;
}

std::optional<Graph> import_text(const std::string& file, const std::function<void()>& poll,
                                 Diagnostics& diagnostics) {
  ImportOptions options;
  options.poll = poll;
  return import_onnx(std::as_bytes(std::span(file.data(), file.size())), options, diagnostics);
}

// Sums over the samples for one tensor.
struct ErrorSums {
  double signal = 0, noise = 0, largest = 0;

  void add(const FloatTensor& real, const Bytes& bytes, const Value& value) {
    for (size_t i = 0; i < real.data.size() && i < bytes.size(); ++i) {
      const int stored = byte_value(value.type, bytes[i]) - value.quantization.zero;
      const double wanted = static_cast<double>(real.data[i]);
      const double got = stored * static_cast<double>(value.quantization.scale);
      signal += wanted * wanted;
      noise += (got - wanted) * (got - wanted);
      largest = std::max(largest, std::abs(got - wanted));
    }
  }
  double decibels() const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (noise == 0) return kInfinity;
    return signal == 0 ? -kInfinity : 10 * std::log10(signal / noise);
  }
};

}  // namespace

struct Calibrator::State {
  CalibrationOptions options;
  FloatModel model;
  QuantizationPlan plan;

  std::vector<FloatTensor> sample(const Samples& samples, size_t i) const;
  // Runs `visit` on each planned tensor of a sample.
  bool execute_sample(const Samples& samples, size_t i, const std::function<void()>& poll,
                      const std::function<void(size_t, const FloatTensor&)>& visit,
                      Diagnostics& diagnostics) const;
  std::optional<std::vector<RangeCollector>> collect(const Samples& samples,
                                                     const Progress& progress,
                                                     Diagnostics& diagnostics) const;
  bool measure(const Samples& samples, const Progress& progress, const QdqModel& qdq,
               const std::vector<RangeCollector>& ranges, Calibration& out,
               Diagnostics& diagnostics) const;
  LayerError describe(size_t tensor) const;
};

Calibrator::Calibrator(std::unique_ptr<State> state) : state_(std::move(state)) {
  for (const FloatModel::Input& input : state_->model.inputs)
    inputs_.push_back({input.name, input.shape});
}
Calibrator::Calibrator(Calibrator&&) noexcept = default;
Calibrator::~Calibrator() = default;

std::optional<Calibrator> Calibrator::open(std::span<const std::byte> file,
                                           const CalibrationOptions& options,
                                           const Progress& progress, Diagnostics& diagnostics) {
  const auto poll = [&] { progress("reading the model"); };
  FloatReadOptions read;
  read.shapes = options.shapes;
  read.poll = poll;
  std::optional<FloatModel> model = read_float_model(file, read, diagnostics);
  if (!model) return std::nullopt;
  auto state = std::make_unique<State>();
  state->options = options;
  state->model = std::move(*model);
  state->plan = plan_quantization(state->model);
  // Which graph it becomes does not depend on the ranges: whatever stands in its way is found
  // before anything is computed.
  const std::vector<ValueRange> guesses(state->plan.tensors.size(), ValueRange{-1, 1});
  const std::optional<QdqModel> trial = write_qdq(
      state->model, state->plan,
      choose_quantizations(state->plan, guesses, activation_type(options)), poll, diagnostics);
  if (!trial) return std::nullopt;
  Diagnostics more;  // of its own: the import stops early where there are problems already
  (void)import_text(trial->file, poll, more);
  for (const Problem& problem : more.problems()) diagnostics.add(problem);
  if (!diagnostics.ok()) return std::nullopt;
  return Calibrator(std::move(state));
}

std::vector<FloatTensor> Calibrator::State::sample(const Samples& samples, size_t i) const {
  std::vector<std::vector<float>> values = samples.read(i);
  std::vector<FloatTensor> out;
  for (size_t k = 0; k < model.inputs.size(); ++k)
    out.push_back({model.inputs[k].shape, std::move(values.at(k))});
  return out;
}

bool Calibrator::State::execute_sample(const Samples& samples, size_t i,
                                       const std::function<void()>& poll,
                                       const std::function<void(size_t, const FloatTensor&)>& visit,
                                       Diagnostics& diagnostics) const {
  return execute(
      model, sample(samples, i),
      [&](const std::string& name, const FloatTensor& tensor) {
        if (const auto it = plan.index.find(name); it != plan.index.end())
          visit(it->second, tensor);
      },
      poll, diagnostics);
}

std::optional<std::vector<RangeCollector>> Calibrator::State::collect(
    const Samples& samples, const Progress& progress, Diagnostics& diagnostics) const {
  std::vector<RangeCollector> ranges(plan.tensors.size(), RangeCollector(options.percentile));
  for (size_t i = 0; i < samples.count; ++i) {
    const auto visit = [&](size_t tensor, const FloatTensor& values) {
      if (plan.tensors[tensor].is_copy || ranges[tensor].add(values.data)) return;
      const LayerError layer = describe(tensor);
      diagnostics.add(
          {.status = Status::kUnsupported,
           .node = layer.node,
           .op = layer.type,
           .rule = "values are finite numbers",
           .value = fmt::format("NaN or infinity in '{}', sample {}", plan.tensors[tensor].name, i),
           .suggestion = {}});
    };
    const auto poll = [&] {
      progress(fmt::format("calibrating: {} of {} samples", i, samples.count));
    };
    if (!execute_sample(samples, i, poll, visit, diagnostics) || !diagnostics.ok())
      return std::nullopt;
  }
  return ranges;
}

LayerError Calibrator::State::describe(size_t tensor) const {
  const PlannedTensor& planned = plan.tensors[tensor];
  LayerError out;
  out.tensor = planned.name;
  out.node = planned.node == kGraphInput ? planned.name : display_name(model.nodes[planned.node]);
  out.type = planned.node == kGraphInput ? "input" : model.nodes[planned.node].op_type();
  return out;
}

bool Calibrator::State::measure(const Samples& samples, const Progress& progress,
                                const QdqModel& qdq, const std::vector<RangeCollector>& ranges,
                                Calibration& out, Diagnostics& diagnostics) const {
  std::unordered_map<std::string, ValueId> values;
  for (ValueId id = 0; id < out.graph.values.size(); ++id) values[out.graph.value(id).name] = id;
  // Copies differ from their originals in nothing.
  std::vector<ValueId> measured(plan.tensors.size(), kNoValue);
  for (size_t t = 0; t < plan.tensors.size(); ++t) {
    const PlannedTensor& tensor = plan.tensors[t];
    if (tensor.is_copy) continue;
    const auto it = values.find(tensor.node == kGraphInput ? tensor.name : qdq.stored[t]);
    if (it != values.end()) measured[t] = it->second;
  }
  std::vector<ErrorSums> sums(plan.tensors.size());
  uint64_t macs = 1;
  for (const Source& source : out.graph.sources) macs += source.macs;
  const uint64_t affordable = std::clamp<uint64_t>(kErrorMacs / macs, 1, kErrorSamples);
  out.error_samples = std::min<size_t>(samples.count, affordable);
  for (size_t i = 0; i < out.error_samples; ++i) {
    const std::vector<FloatTensor> inputs = sample(samples, i);
    std::vector<Bytes> bytes;
    for (size_t k = 0; k < inputs.size(); ++k) {
      const Value& value = out.graph.value(out.graph.inputs[k]);
      for (bytes.emplace_back(); const float v : inputs[k].data) {
        bytes.back().push_back(
            static_cast<uint8_t>(quantize_value(v, value.quantization, value.type)));
      }
    }
    const auto poll = [&] {
      progress(fmt::format("measuring errors: {} of {} samples", i, out.error_samples));
    };
    const std::vector<Bytes> stored = interpret_all(out.graph, bytes, poll);
    const auto visit = [&](size_t tensor, const FloatTensor& real) {
      const ValueId id = measured[tensor];
      if (id != kNoValue && !stored[id].empty())
        sums[tensor].add(real, stored[id], out.graph.value(id));
    };
    if (!execute_sample(samples, i, poll, visit, diagnostics)) return false;
  }
  for (size_t t = 0; t < plan.tensors.size(); ++t) {
    if (measured[t] == kNoValue) continue;
    LayerError row = describe(t);
    const Value& value = out.graph.value(measured[t]);
    row.quantization = value.quantization;
    row.byte_type = value.type;
    row.low = static_cast<double>(ranges[t].extremes().low);
    row.high = static_cast<double>(ranges[t].extremes().high);
    row.signal_to_noise = sums[t].decibels();
    row.largest_error = sums[t].largest;
    out.errors.push_back(std::move(row));
  }
  return true;
}

std::optional<Calibration> Calibrator::run(const Samples& samples, const Progress& progress,
                                           Diagnostics& diagnostics) {
  const State& s = *state_;
  const std::optional<std::vector<RangeCollector>> collected =
      s.collect(samples, progress, diagnostics);
  if (!collected) return std::nullopt;
  std::vector<ValueRange> ranges;
  for (const RangeCollector& collector : *collected) ranges.push_back(collector.range());
  const auto poll = [&] { progress("quantizing"); };
  std::optional<QdqModel> qdq =
      write_qdq(s.model, s.plan, choose_quantizations(s.plan, ranges, activation_type(s.options)),
                poll, diagnostics);
  if (!qdq || !diagnostics.ok()) return std::nullopt;
  Calibration out;
  out.samples = samples.count;
  std::optional<Graph> graph = import_text(qdq->file, poll, diagnostics);
  if (!graph) return std::nullopt;
  out.graph = std::move(*graph);
  if (!s.measure(samples, progress, *qdq, *collected, out, diagnostics)) return std::nullopt;
  out.qdq = std::move(qdq->file);
  return out;
}

}  // namespace npu::compiler
