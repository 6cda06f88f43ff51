// SPDX-License-Identifier: MIT
#include "tools/bench/onednn.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "tools/common/program.h"

// Only the header is needed to build: the library is loaded when asked for.
#if __has_include(<dnnl.h>)
#include <dnnl.h>
#endif

namespace npu::tools {

#if defined(DNNL_VERSION_MAJOR) && DNNL_VERSION_MAJOR == 2

namespace {

#define NPU_STRING_OF(x) #x
#define NPU_STRING(x) NPU_STRING_OF(x)
constexpr const char* kLibrary = "libdnnl.so." NPU_STRING(DNNL_VERSION_MAJOR);

void check(dnnl_status_t status, const char* what) {
  if (status != dnnl_success)
    throw ToolError(kExitFailure, std::string("oneDNN refuses the layer: ") + what);
}

// A function of the library by its declaration in dnnl.h.
template <typename Function>
Function* find(void* library, const char* name) {
  auto* function = reinterpret_cast<Function*>(dlsym(library, name));
  if (function == nullptr)
    throw ToolError(kExitUnsupported, std::string("--vs onednn: ") + kLibrary + " has no " + name);
  return function;
}

void* load() {
  // The simulator computes in one thread; so must the yardstick.
  setenv("OMP_NUM_THREADS", "1", 1);
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    throw ToolError(kExitUnsupported, std::string("--vs onednn: ") + kLibrary +
                                          " is not installed (Debian: apt install libdnnl2)");
  return library;
}

}  // namespace

// CALL(f, ...) is dnnl_f of the loaded library.
#define FIND(function) find<decltype(dnnl_##function)>(library, "dnnl_" #function)
#define CALL(function, ...) check(FIND(function)(__VA_ARGS__), "dnnl_" #function)

struct OneDnnLayer::Impl {
  void* library = load();
  dnnl_engine_t engine = nullptr;
  dnnl_stream_t stream = nullptr;
  dnnl_primitive_attr_t attributes = nullptr;
  dnnl_primitive_desc_t descriptor = nullptr;
  dnnl_primitive_t primitive = nullptr;
  dnnl_memory_t input = nullptr, weights = nullptr, output = nullptr;
  std::vector<uint8_t> input_bytes, output_bytes;

  dnnl_memory_desc_t describe(std::vector<int64_t> dims, dnnl_data_type_t type,
                              dnnl_format_tag_t tag) const {
    dnnl_memory_desc_t out;
    CALL(memory_desc_init_by_tag, &out, static_cast<int>(dims.size()), dims.data(), type, tag);
    return out;
  }

  dnnl_memory_t memory(const dnnl_memory_desc_t& description, void* bytes) const {
    dnnl_memory_t out;
    CALL(memory_create, &out, &description, engine, bytes);
    return out;
  }

  void execute(dnnl_primitive_t what, const std::vector<dnnl_exec_arg_t>& arguments) const {
    CALL(primitive_execute, what, stream, static_cast<int>(arguments.size()), arguments.data());
    CALL(stream_wait, stream);
  }

  // What `descriptor` wants its weights to be, filled from `from`.
  void pack_weights(const dnnl_memory_desc_t& plain, std::vector<int8_t> from) {
    const dnnl_memory_desc_t* wanted =
        FIND(primitive_desc_query_md)(descriptor, dnnl_query_weights_md, 0);
    weights = memory(*wanted, DNNL_MEMORY_ALLOCATE);
    dnnl_memory_t source = memory(plain, from.data());
    dnnl_primitive_desc_t reorder_descriptor;
    dnnl_primitive_t reorder;
    CALL(reorder_primitive_desc_create, &reorder_descriptor, &plain, engine, wanted, engine,
         nullptr);
    CALL(primitive_create, &reorder, reorder_descriptor);
    execute(reorder, {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, weights}});
    CALL(primitive_destroy, reorder);
    CALL(primitive_desc_destroy, reorder_descriptor);
    CALL(memory_destroy, source);
  }

  Impl(const Layer& l, std::span<const uint8_t> in)
      : input_bytes(in.begin(), in.end()), output_bytes(l.macs() / l.terms()) {
    CALL(engine_create, &engine, dnnl_cpu, 0);
    CALL(stream_create, &stream, engine, dnnl_stream_default_flags);
    CALL(primitive_attr_create, &attributes);
    CALL(primitive_attr_set_output_scales, attributes, 1, 0, &l.scale);
    const int64_t in_c = l.in_c, out_c = l.out_c, kernel = l.kernel;
    dnnl_memory_desc_t x, w, plain, y;
    if (l.product) {
      x = describe({l.width, in_c}, dnnl_u8, dnnl_ab);
      w = describe({in_c, out_c}, dnnl_s8, dnnl_format_tag_any);
      plain = describe({in_c, out_c}, dnnl_s8, dnnl_ba);
      y = describe({l.width, out_c}, dnnl_u8, dnnl_ab);
      dnnl_matmul_desc_t operation;
      CALL(matmul_desc_init, &operation, &x, &w, nullptr, &y);
      CALL(primitive_desc_create, &descriptor, &operation, attributes, engine, nullptr);
    } else {
      x = describe({1, in_c, l.height, l.width}, dnnl_u8, dnnl_nhwc);
      w = describe({out_c, in_c, kernel, kernel}, dnnl_s8, dnnl_format_tag_any);
      plain = describe({out_c, in_c, kernel, kernel}, dnnl_s8, dnnl_ohwi);
      y = describe({1, out_c, l.out_h(), l.out_w()}, dnnl_u8, dnnl_nhwc);
      const dnnl_dim_t strides[2] = {l.stride, l.stride}, before[2] = {l.pad, l.pad};
      const auto after = [&](int64_t size, int64_t out) {
        return (out - 1) * l.stride + kernel - size - l.pad;
      };
      const dnnl_dim_t behind[2] = {after(l.height, l.out_h()), after(l.width, l.out_w())};
      dnnl_convolution_desc_t operation;
      CALL(convolution_forward_desc_init, &operation, dnnl_forward_inference,
           dnnl_convolution_direct, &x, &w, nullptr, &y, strides, before, behind);
      CALL(primitive_desc_create, &descriptor, &operation, attributes, engine, nullptr);
    }
    CALL(primitive_create, &primitive, descriptor);
    input = memory(x, input_bytes.data());
    output = memory(y, output_bytes.data());
    pack_weights(plain, l.weights);
  }

  ~Impl() {
    for (dnnl_memory_t m : {input, weights, output})
      if (m != nullptr) FIND(memory_destroy)(m);
    if (primitive != nullptr) FIND(primitive_destroy)(primitive);
    if (descriptor != nullptr) FIND(primitive_desc_destroy)(descriptor);
    if (attributes != nullptr) FIND(primitive_attr_destroy)(attributes);
    if (stream != nullptr) FIND(stream_destroy)(stream);
    if (engine != nullptr) FIND(engine_destroy)(engine);
  }
};

OneDnnLayer::OneDnnLayer(const Layer& layer, std::span<const uint8_t> input)
    : impl_(std::make_unique<Impl>(layer, input)) {}
OneDnnLayer::~OneDnnLayer() = default;

void OneDnnLayer::run() {
  impl_->execute(impl_->primitive, {{DNNL_ARG_SRC, impl_->input},
                                    {DNNL_ARG_WEIGHTS, impl_->weights},
                                    {DNNL_ARG_DST, impl_->output}});
}

std::span<const uint8_t> OneDnnLayer::output() const {
  return impl_->output_bytes;
}

#else

struct OneDnnLayer::Impl {};
OneDnnLayer::OneDnnLayer(const Layer&, std::span<const uint8_t>) {
  throw ToolError(kExitUnsupported,
                  "--vs onednn: built without the header of oneDNN 2 (Debian: libdnnl-dev)");
}
OneDnnLayer::~OneDnnLayer() = default;
void OneDnnLayer::run() {}
std::span<const uint8_t> OneDnnLayer::output() const {
  return {};
}

#endif

}  // namespace npu::tools
