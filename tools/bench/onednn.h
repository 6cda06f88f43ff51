// SPDX-License-Identifier: MIT
//
// oneDNN as a yardstick, loaded at run time if it is installed.
#ifndef NPU_TOOLS_BENCH_ONEDNN_H_
#define NPU_TOOLS_BENCH_ONEDNN_H_

#include <cstdint>
#include <memory>
#include <span>

#include "tools/bench/workloads.h"

namespace npu::tools {

// The same layer, uint8 x int8 to uint8 with a scale, in one thread. Weights
// are brought into the order that oneDNN prefers beforehand.
class OneDnnLayer {
 public:
  // Throws ToolError if the library is not there.
  OneDnnLayer(const Layer& layer, std::span<const uint8_t> input);
  ~OneDnnLayer();
  OneDnnLayer(const OneDnnLayer&) = delete;
  OneDnnLayer& operator=(const OneDnnLayer&) = delete;

  void run();
  std::span<const uint8_t> output() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace npu::tools

#endif  // NPU_TOOLS_BENCH_ONEDNN_H_
