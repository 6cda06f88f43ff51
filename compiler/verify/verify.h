// SPDX-License-Identifier: MIT
//
// Runs a compiled model on the in-process card and holds its results against
// the reference interpreter. Not part of libnpuc, which knows no device: what
// uses this also links libnpu.
#ifndef NPU_COMPILER_VERIFY_VERIFY_H_
#define NPU_COMPILER_VERIFY_VERIFY_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compiler/ir/graph.h"
#include "compiler/reference/interpreter.h"
#include "npu/target.h"

namespace npu::compiler {

// A simulated card. Errors are texts; empty means success.
class SimulatedCard {
 public:
  // function_only: no modelled time, which makes large networks faster.
  explicit SimulatedCard(const npu_target& target, bool function_only = true);
  ~SimulatedCard();
  SimulatedCard(const SimulatedCard&) = delete;
  SimulatedCard& operator=(const SimulatedCard&) = delete;

  // Runs a compiled model once; outputs are resized.
  std::string run(std::span<const std::byte> model, const std::vector<Bytes>& inputs,
                  std::vector<Bytes>& outputs);
  // Modelled cycles of the last run, if the card keeps time.
  uint64_t cycles() const { return cycles_; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  uint64_t cycles_ = 0;
};

// Input bytes for verification: pattern 0 is the lowest value everywhere, 1 the highest, 2
// alternates both, 3 is the zero point, from 4 on uniform random bytes.
inline constexpr uint32_t kTestPatterns = 5;  // each edge once and one random
std::vector<Bytes> test_inputs(const Graph& graph, uint32_t pattern);

struct Verification {
  bool ok = false;
  std::string text;  // what differs first, or that nothing does
  uint64_t values = 0;
};

// Compares `patterns` inputs, output by output. `progress` is called now and then with how many are
// done, and may throw.
Verification verify(const Graph& graph, std::span<const std::byte> model, const npu_target& target,
                    uint32_t patterns, const std::function<void(uint32_t)>& progress = {});

}  // namespace npu::compiler

#endif  // NPU_COMPILER_VERIFY_VERIFY_H_
