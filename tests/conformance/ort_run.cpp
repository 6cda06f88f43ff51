// SPDX-License-Identifier: MIT
// ort-run: the judge. Runs an ONNX model on ONNX Runtime's CPU provider and writes every output as
// .npy. It shares no code with the NPU stack, so that a mistake there cannot hide here. The runtime
// is loaded with dlopen: building needs only its headers.
#define ORT_API_MANUAL_INIT
#include <dlfcn.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tensor_file.h"

namespace {

namespace fs = std::filesystem;
using conformance::ElementType;
using conformance::Tensor;

constexpr std::string_view kUsage =
    "usage: ort-run MODEL.onnx [--input NAME=FILE.npy|.pb]... [--inputs DIR] --output DIR\n"
    "               [--library FILE] [--optimization 0|99] [--fuse-int8-qdq]\n"
    "               [--save-optimized FILE.onnx]\n"
    "\n"
    "Runs MODEL on ONNX Runtime's CPU provider and writes each output to DIR/NAME.npy ('/' and "
    "':'\n"
    "in a name become '_'). --inputs reads DIR/input_N.pb, N counting the graph's inputs. Inputs\n"
    "whose first dimension is a multiple of the model's are a stack: one run each, outputs "
    "stacked.\n"
    "  --library         libonnxruntime.so.1; default $ORT_LIBRARY, else beside this program in\n"
    "                    ../onnxruntime/lib\n"
    "  --optimization    graph optimisation level: 99 (all, the default) is the reference\n"
    "  --fuse-int8-qdq   use integer kernels for QDQ models with int8 activations too; on x86-64 "
    "the\n"
    "                    runtime computes convolutions and MatMuls of those in float by default\n"
    "  --save-optimized  also write the graph as the runtime executes it\n"
    "exit status: 0 ok, 1 the model or an input failed, 2 usage, 3 the runtime cannot be loaded\n";

struct Options {
  std::string model;
  std::map<std::string, std::string> inputs;
  std::string inputs_dir;
  std::string output_dir;
  std::string library;
  std::string save_optimized;
  bool optimize = true;
  bool fuse_int8_qdq = false;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const bool has_value = i + 1 < argc;
    if (arg == "--input" && has_value) {
      const std::string value = argv[++i];
      const size_t equals = value.rfind('=');
      if (equals == std::string::npos) return false;
      options.inputs[value.substr(0, equals)] = value.substr(equals + 1);
    } else if (arg == "--inputs" && has_value) {
      options.inputs_dir = argv[++i];
    } else if (arg == "--output" && has_value) {
      options.output_dir = argv[++i];
    } else if (arg == "--library" && has_value) {
      options.library = argv[++i];
    } else if (arg == "--save-optimized" && has_value) {
      options.save_optimized = argv[++i];
    } else if (arg == "--optimization" && has_value) {
      const std::string_view level = argv[++i];
      if (level != "0" && level != "99") return false;
      options.optimize = level == "99";
    } else if (arg == "--fuse-int8-qdq") {
      options.fuse_int8_qdq = true;
    } else if (!arg.starts_with("-") && options.model.empty()) {
      options.model = arg;
    } else {
      return false;
    }
  }
  return !options.model.empty() && !options.output_dir.empty();
}

std::string find_library(const Options& options) {
  if (!options.library.empty()) return options.library;
  if (const char* path = std::getenv("ORT_LIBRARY")) return path;
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return (self.parent_path().parent_path() / "onnxruntime/lib/libonnxruntime.so.1").string();
}

// Makes Ort:: usable; a message on stderr and false where the runtime is missing or too old.
bool load_runtime(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::cerr << "ort-run: " << dlerror()
              << "\nort-run: scripts/fetch-onnxruntime.sh fetches the runtime\n";
    return false;
  }
  using GetApiBase = const OrtApiBase* (*)();
  const auto get_base = reinterpret_cast<GetApiBase>(dlsym(library, "OrtGetApiBase"));
  const OrtApi* api = get_base == nullptr ? nullptr : get_base()->GetApi(ORT_API_VERSION);
  if (api == nullptr) {
    std::cerr << "ort-run: " << path << " does not offer API version " << ORT_API_VERSION << "\n";
    return false;
  }
  Ort::InitApi(api);
  return true;
}

std::string file_name(std::string tensor_name) {
  for (char& c : tensor_name)
    if (c == '/' || c == ':') c = '_';
  return tensor_name + ".npy";
}

Tensor load_input(const Options& options, const std::string& name, size_t index) {
  if (const auto it = options.inputs.find(name); it != options.inputs.end())
    return conformance::read_tensor(it->second);
  if (!options.inputs_dir.empty())
    return conformance::read_tensor(options.inputs_dir + "/input_" + std::to_string(index) + ".pb");
  throw std::runtime_error("no value given for input '" + name + "'");
}

// The input's own shape in the model; empty dimensions (-1) are taken from the tensor.
std::vector<int64_t> model_shape(const Ort::Session& session, size_t index, const Tensor& tensor) {
  auto shape = session.GetInputTypeInfo(index).GetTensorTypeAndShapeInfo().GetShape();
  if (shape.size() != tensor.shape.size())
    return tensor.shape;  // the runtime will say what is wrong
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i] < 0) shape[i] = tensor.shape[i];
  return shape;
}

// How many runs a stack of inputs asks for: 1 unless the first dimension is a multiple of the
// model's.
size_t stacked_runs(const std::vector<int64_t>& shape, const Tensor& tensor) {
  if (shape.empty() || shape[0] <= 0 || tensor.shape[0] % shape[0] != 0) return 1;
  return static_cast<size_t>(tensor.shape[0] / shape[0]);
}

void append_output(Tensor& stack, const std::string& name, const Ort::Value& value) {
  const auto info = value.GetTensorTypeAndShapeInfo();
  stack.type = static_cast<ElementType>(info.GetElementType());  // ORT's enum is ONNX's here
  if (conformance::element_size(stack.type) == 0)
    throw std::runtime_error("output '" + name + "' has an element type that cannot be written");
  const std::vector<int64_t> shape = info.GetShape();
  if (stack.bytes.empty())
    stack.shape = shape;
  else if (shape.empty())
    throw std::runtime_error("output '" + name + "' is a scalar and cannot be stacked");
  else
    stack.shape[0] += shape[0];
  const size_t size = info.GetElementCount() * conformance::element_size(stack.type);
  const auto* data = static_cast<const uint8_t*>(value.GetTensorRawData());
  stack.bytes.insert(stack.bytes.end(), data, data + size);
}

struct Input {
  std::string name;
  Tensor tensor;
  std::vector<int64_t> shape;  // of one run
};

std::vector<Input> load_inputs(const Options& options, const Ort::Session& session, size_t& runs) {
  const Ort::AllocatorWithDefaultOptions allocator;
  std::vector<Input> inputs;
  for (size_t i = 0; i < session.GetInputCount(); ++i) {
    Input input;
    input.name = session.GetInputNameAllocated(i, allocator).get();
    input.tensor = load_input(options, input.name, i);
    input.shape = model_shape(session, i, input.tensor);
    const size_t n = stacked_runs(input.shape, input.tensor);
    if (i > 0 && n != runs)
      throw std::runtime_error("input '" + input.name + "' stacks another number of runs");
    runs = n;
    if (n == 1) input.shape = input.tensor.shape;
    inputs.push_back(std::move(input));
  }
  for (const auto& [name, file] : options.inputs)
    if (std::none_of(inputs.begin(), inputs.end(),
                     [&](const Input& input) { return input.name == name; }))
      throw std::runtime_error("the model has no input '" + name + "'");
  return inputs;
}

void run(const Options& options) {
  Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "ort-run");
  Ort::SessionOptions session_options;
  session_options.SetIntraOpNumThreads(1);
  session_options.SetInterOpNumThreads(1);
  session_options.SetGraphOptimizationLevel(options.optimize ? ORT_ENABLE_ALL : ORT_DISABLE_ALL);
  if (options.fuse_int8_qdq) session_options.AddConfigEntry("session.qdqisint8allowed", "1");
  if (!options.save_optimized.empty())
    session_options.SetOptimizedModelFilePath(options.save_optimized.c_str());
  Ort::Session session(env, options.model.c_str(), session_options);

  size_t runs = 1;
  std::vector<Input> inputs = load_inputs(options, session, runs);
  const Ort::AllocatorWithDefaultOptions allocator;
  std::vector<std::string> output_names;
  for (size_t i = 0; i < session.GetOutputCount(); ++i)
    output_names.push_back(session.GetOutputNameAllocated(i, allocator).get());
  std::vector<const char*> in, out;
  for (const Input& input : inputs) in.push_back(input.name.c_str());
  for (const auto& name : output_names) out.push_back(name.c_str());

  const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  std::vector<Tensor> stacks(output_names.size());
  for (size_t r = 0; r < runs; ++r) {
    std::vector<Ort::Value> values;
    for (Input& input : inputs) {
      const size_t size = input.tensor.bytes.size() / runs;
      values.push_back(Ort::Value::CreateTensor(
          memory, input.tensor.bytes.data() + r * size, size, input.shape.data(),
          input.shape.size(), static_cast<ONNXTensorElementDataType>(input.tensor.type)));
    }
    const auto results = session.Run(Ort::RunOptions{nullptr}, in.data(), values.data(), in.size(),
                                     out.data(), out.size());
    for (size_t i = 0; i < results.size(); ++i)
      append_output(stacks[i], output_names[i], results[i]);
  }
  fs::create_directories(options.output_dir);
  for (size_t i = 0; i < stacks.size(); ++i)
    conformance::write_npy((fs::path(options.output_dir) / file_name(output_names[i])).string(),
                           stacks[i]);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (argc == 2 && (std::string_view(argv[1]) == "--help" || std::string_view(argv[1]) == "-h")) {
    std::cout << kUsage;
    return 0;
  }
  if (!parse(argc, argv, options)) {
    std::cerr << kUsage;
    return 2;
  }
  if (!load_runtime(find_library(options))) return 3;
  try {
    run(options);
  } catch (const std::exception& e) {
    std::cerr << "ort-run: " << options.model << ": " << e.what() << "\n";
    return 1;
  }
  return 0;
}
