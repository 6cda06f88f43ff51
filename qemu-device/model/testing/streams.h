// SPDX-License-Identifier: MIT
//
// Streams and packets that several tests use.
#ifndef NPU_MODEL_TESTING_STREAMS_H_
#define NPU_MODEL_TESTING_STREAMS_H_

#include "arch/stream.h"
#include "arch/test_commands.h"
#include "testing/harness.h"

namespace npu::model::testing {

using arch::StreamBuilder;
inline constexpr uint32_t kQueue = JobBench::kQueue;
inline constexpr uint16_t kAsid = JobBench::kAsid;

inline npu_command_dma load(uint64_t offset, uint32_t sram, uint32_t bytes) {
  return contiguous(NPU_OP_LOAD, offset, sram, bytes);
}
inline npu_command_dma store(uint64_t offset, uint32_t sram, uint32_t bytes,
                             uint32_t after_loads = 1) {
  npu_command_dma dma = contiguous(NPU_OP_STORE, offset, sram, bytes);
  dma.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, after_loads);
  return dma;
}

// LOAD `bytes` from offset 0, STORE them at 1 MiB.
inline StreamBuilder copy_stream(uint32_t bytes = 4096) {
  StreamBuilder s;
  s.append(load(0, 0, bytes));
  s.append(store(1 << 20, 0, bytes));
  return s;
}

// A chain of matrix products that takes a while in modelled and host time.
inline StreamBuilder long_stream(int products = 40) {
  StreamBuilder s;
  npu_command_mac mac = arch::test::matmul(256, 512, 512);
  for (int i = 0; i < products; ++i) s.append(mac);
  return s;
}

}  // namespace npu::model::testing

#endif  // NPU_MODEL_TESTING_STREAMS_H_
