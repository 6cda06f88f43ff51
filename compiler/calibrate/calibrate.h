// SPDX-License-Identifier: MIT
//
// Post-training quantization: a float ONNX model and some of its inputs -> a QDQ model with int8
// weights and 8-bit activations, and how far each of its tensors is from the float one.
#ifndef NPU_COMPILER_CALIBRATE_CALIBRATE_H_
#define NPU_COMPILER_CALIBRATE_CALIBRATE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compiler/diagnostics.h"
#include "compiler/ir/graph.h"
#include "compiler/onnx/input_shapes.h"

namespace npu::compiler {

struct CalibrationOptions {
  InputShapes shapes = {};
  bool int8_activations = false;
  bool symmetric_activations = false;  // int8 with zero points of 0
  // Of the values of a tensor that its range holds; 100: all.
  double percentile = 100;
};

// How a quantized tensor differs from the float one.
struct LayerError {
  std::string node;  // that makes it; the input's name for a graph input
  std::string type;  // its operator, "input" for a graph input
  std::string tensor;
  Quantization quantization;
  ByteType byte_type = ByteType::kUint8;
  double low = 0, high = 0;    // of the float values
  double signal_to_noise = 0;  // in dB; infinite if there is no difference
  double largest_error = 0;    // absolute, in the tensor's own unit
};

struct Calibration {
  std::string qdq;  // the ONNX file
  Graph graph;      // what the import makes of it
  std::vector<LayerError> errors;
  size_t samples = 0;        // that ranges were collected from
  size_t error_samples = 0;  // that errors were measured with: the first ones
};

// Errors are means over at most this many samples, and fewer if their multiply-accumulates
// together exceed the second: the interpreter that measures them is slow.
inline constexpr size_t kErrorSamples = 16;
inline constexpr uint64_t kErrorMacs = uint64_t{1} << 32;

class Calibrator {
 public:
  struct Input {
    std::string name;
    Shape shape;
  };
  // One sample: the values of each input, row major. Called in order, twice for the first ones.
  struct Samples {
    size_t count = 0;
    std::function<std::vector<std::vector<float>>(size_t)> read;
  };
  // Called now and then with what goes on, e.g. "calibrating: 3 of 20 samples"; may throw to stop.
  using Progress = std::function<void(const std::string& what)>;

  // Reads the model and makes sure that its quantized form can be compiled: nullopt with all
  // problems if not.
  static std::optional<Calibrator> open(std::span<const std::byte> file,
                                        const CalibrationOptions& options, const Progress& progress,
                                        Diagnostics& diagnostics);
  Calibrator(Calibrator&&) noexcept;
  ~Calibrator();

  const std::vector<Input>& inputs() const { return inputs_; }

  std::optional<Calibration> run(const Samples& samples, const Progress& progress,
                                 Diagnostics& diagnostics);

 private:
  struct State;
  explicit Calibrator(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
  std::vector<Input> inputs_;
};

// A table of the errors, for people.
std::string error_table(const Calibration& calibration);
// The same for programs (schema npu-compile-calibration/1).
std::string error_json(const Calibration& calibration);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_CALIBRATE_CALIBRATE_H_
