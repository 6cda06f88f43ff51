// SPDX-License-Identifier: MIT
//
// Writes compiled-model files around streams made by hand: benchmarks and
// tests. (The compiler has its own writer, which knows of graphs.)
#ifndef NPU_UMD_MODEL_WRITER_H_
#define NPU_UMD_MODEL_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "npu/target.h"

namespace npu::umd {

struct ModelDescription {
  struct Tensor {
    std::string name;
    uint8_t type;  // enum npu_data_type
    std::vector<uint32_t> shape;
    uint64_t bytes;
  };
  struct Operator {
    std::string name, type;
    uint64_t macs = 0;
  };
  // Streams of one job, one per core.
  struct Job {
    std::vector<std::vector<std::byte>> streams;
    bool restartable = false;
  };
  std::string name;
  npu_target target;
  std::vector<Tensor> inputs, outputs;  // regions NPU_REGION_TENSORS and up, in this order
  std::vector<Operator> operators;
  std::vector<Job> jobs;
  std::vector<std::byte> constants;
  uint64_t scratch_bytes = 0;
  uint64_t macs = 0;
};

std::vector<std::byte> write_model(const ModelDescription& description);

}  // namespace npu::umd

#endif  // NPU_UMD_MODEL_WRITER_H_
