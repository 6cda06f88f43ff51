// SPDX-License-Identifier: MIT
//
// Writes the compiled-model container.
#ifndef NPU_COMPILER_EMIT_MODEL_FILE_H_
#define NPU_COMPILER_EMIT_MODEL_FILE_H_

#include <cstddef>
#include <vector>

#include "compiler/compile.h"
#include "compiler/emit/emitter.h"

namespace npu::compiler {

struct ModelParts {
  std::vector<Job> jobs;
  std::vector<uint8_t> constants;
  uint64_t scratch_bytes = 0;
};

// `graph` is the imported one: names, shapes and quantization of the tensors.
// Empty if the model is beyond what the container holds (2 GiB).
std::vector<std::byte> write_model(const Graph& graph, const ModelParts& parts,
                                   const CompileReport& report, const npu_target& target);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_MODEL_FILE_H_
