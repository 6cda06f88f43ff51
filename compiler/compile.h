// SPDX-License-Identifier: MIT
//
// libnpuc: a quantized ONNX model in, a compiled model out.
#ifndef NPU_COMPILER_COMPILE_H_
#define NPU_COMPILER_COMPILE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compiler/diagnostics.h"
#include "compiler/import/import.h"
#include "compiler/ir/graph.h"
#include "compiler/report/trace.h"
#include "npu/target.h"

namespace npu::compiler {

// A fifth of a millisecond; what it costs is in docs/compiler.md.
inline constexpr uint64_t kDefaultYieldGap = 200'000;

struct CompileOptions {
  npu_target target = {};
  uint64_t max_yield_gap = kDefaultYieldGap;  // modelled cycles; 0: no YIELDs
  // Cores that run the network together, 1 to the target's. More than one: shorter alone,
  // and the other networks have fewer.
  unsigned cores = 1;
  // Off for comparison.
  bool fuse = true;       // output chains
  bool unfused = true;    // where that is faster, no output chains all the same
  bool residency = true;  // tensors stay in SRAM between layers
  bool stripes = true;    // layers run together, stripe by stripe; needs residency
  // Also tries schedules with less of these, and keeps the fastest by the card's clock. Off in
  // tests that want one certain kind of schedule.
  bool keep_fastest = true;
  // Called now and then, from several threads; may throw, which ends the compilation.
  std::function<void()> poll = {};
  // Likewise: how many schedules have been tried.
  std::function<void(size_t done, size_t total)> progress = {};
};

// What one operator of the compiled network costs, by the card's own model of
// time.
struct LayerReport {
  std::string name;  // of the ONNX node
  std::string type;  // what it became, with what was fused: "Conv+Add+MaxPool"
  std::string tiling;
  uint32_t segment = 0;      // layers with the same one run together
  uint32_t stripe_rows = 0;  // of its output at a time, in a segment that runs in stripes; else 0
  bool output_on_chip = false;  // never leaves SRAM
  uint64_t macs = 0;
  uint32_t commands = 0;
  uint64_t first_cycle = 0, last_cycle = 0;  // of its commands, from job start
  uint64_t cycles = 0;                       // that belong to it, as in Stretch; the sum of:
  uint64_t execute_cycles = 0, memory_cycles = 0, wait_cycles = 0;  // as in CycleSplit
  uint64_t mac_cycles = 0;                                          // array busy
  uint64_t external_bytes = 0;                                      // loaded and stored
  // That no schedule can avoid: its constants, and the network's inputs and outputs, each once.
  uint64_t least_bytes = 0;
  uint32_t source = 0;             // index in Graph::sources
  std::vector<std::string> nodes;  // whose work is done here too
  std::vector<std::string> operands;
};

struct CompileReport {
  std::vector<LayerReport> layers;
  uint64_t cycles = 0;
  uint64_t overhead_cycles = 0;  // of those, behind the last command of each job
  uint64_t macs = 0;
  uint64_t external_bytes = 0;
  uint64_t energy_pj = 0;
  uint32_t sram_peak_bytes = 0;
  uint64_t constant_bytes = 0, scratch_bytes = 0, command_bytes = 0;
  uint32_t commands = 0, jobs = 0, cores = 1;
  uint32_t yields = 0;
  uint64_t longest_yield_gap = 0;  // cycles between places where the network can be put aside
  uint64_t yield_live_bytes = 0;   // most that is saved there
  double utilization = 0;          // of the arrays of the cores that it runs on
};

struct CompiledModel {
  std::vector<std::byte> file;
  CompileReport report;
  std::vector<JobTrace> trace;
};

// Compiles an imported graph. Deterministic: same graph, options and program
// give the same bytes.
std::optional<CompiledModel> compile_graph(const Graph& graph, const CompileOptions& options,
                                           Diagnostics& diagnostics);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_COMPILE_H_
