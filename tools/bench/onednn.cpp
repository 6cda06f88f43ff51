// SPDX-License-Identifier: MIT
#include "tools/bench/onednn.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>
#include <vector>

#include "tools/common/program.h"

namespace npu::tools {
namespace {

// dnnl_gemm_u8s8s32 of oneDNN's C interface, the same in versions 1 to 3.
using GemmU8S8S32 = int (*)(char transa, char transb, char offsetc, int64_t m, int64_t n, int64_t k,
                            float alpha, const uint8_t* a, int64_t lda, uint8_t ao, const int8_t* b,
                            int64_t ldb, int8_t bo, float beta, int32_t* c, int64_t ldc,
                            const int32_t* co);

GemmU8S8S32 load() {
  // The simulator computes in one thread; so must the yardstick.
  setenv("OMP_NUM_THREADS", "1", 1);
  void* library = nullptr;
  for (const char* name : {"libdnnl.so.3", "libdnnl.so.2", "libdnnl.so"}) {
    if (library == nullptr) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) {
    throw ToolError(kExitUnsupported,
                    "--vs onednn: libdnnl is not installed (Debian: apt install libdnnl2)");
  }
  auto function = reinterpret_cast<GemmU8S8S32>(dlsym(library, "dnnl_gemm_u8s8s32"));
  if (function == nullptr) {
    throw ToolError(kExitUnsupported, "--vs onednn: this libdnnl has no dnnl_gemm_u8s8s32");
  }
  return function;
}

}  // namespace

int64_t onednn_gemm_ns(const Gemm& g, unsigned repetitions) {
  static const GemmU8S8S32 gemm = load();
  std::mt19937 random(1);
  std::vector<uint8_t> a(size_t{g.m} * g.k);
  std::vector<int8_t> b(size_t{g.n} * g.k);
  std::vector<int32_t> c(size_t{g.m} * g.n);
  for (auto& v : a) v = static_cast<uint8_t>(random());
  for (auto& v : b) v = static_cast<int8_t>(random());
  const int32_t offset = 0;
  std::vector<int64_t> times;
  for (unsigned i = 0; i <= repetitions; i++) {
    stop_if_interrupted();
    const auto start = std::chrono::steady_clock::now();
    const int status = gemm('N', 'T', 'F', g.m, g.n, g.k, 1.0f, a.data(), g.k, 0, b.data(), g.k, 0,
                            0.0f, c.data(), g.n, &offset);
    const auto end = std::chrono::steady_clock::now();
    if (status != 0) throw ToolError(kExitFailure, "oneDNN refuses the GEMM");
    if (i > 0)
      times.push_back(std::chrono::nanoseconds(end - start).count());  // the first warms up
  }
  std::ranges::sort(times);
  return times[times.size() / 2];
}

}  // namespace npu::tools
