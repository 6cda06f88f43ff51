// SPDX-License-Identifier: MIT
#include "compute/kernels.h"

#include <atomic>

namespace npu::model {
namespace {

Isa detect() {
#if defined(__x86_64__)
  if (isa_available(Isa::kAvx512Vnni)) return Isa::kAvx512Vnni;
  if (isa_available(Isa::kAvx2)) return Isa::kAvx2;
#endif
  return Isa::kScalar;
}

std::atomic<Isa>& selected() {
  static std::atomic<Isa> isa{detect()};
  return isa;
}

}  // namespace

bool isa_available(Isa isa) {
  switch (isa) {
    case Isa::kReference:
    case Isa::kScalar:
      return true;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kAvx512Vnni:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
#endif
    default:
      return false;
  }
}

Isa current_isa() {
  return selected().load(std::memory_order_relaxed);
}

const Kernels& current_kernels() {
  switch (current_isa()) {
#if defined(__x86_64__)
    case Isa::kAvx512Vnni:
      return kAvx512VnniKernels;
    case Isa::kAvx2:
      return kAvx2Kernels;
#endif
    default:
      return kScalarKernels;
  }
}

void force_isa_for_test(Isa isa) {
  selected().store(isa);
}

}  // namespace npu::model
