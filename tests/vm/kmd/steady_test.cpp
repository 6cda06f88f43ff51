// SPDX-License-Identifier: MIT
//
// What one SUBMIT costs in the steady state, counted: by the card (register
// accesses, doorbells, interrupts) and by the kernel's tracer (allocations).
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <sstream>
#include <string>

#include "device.h"
#include "streams.h"
#include "tracing.h"

namespace kmd {
namespace {

constexpr uint32_t kJobs = 200;

TEST(Steady, OneDoorbellNoOtherAccessAtMostOneInterruptPerSubmit) {
  Device device;
  LookupJob lookup(device, 512, 1);
  const drm_npu_job job = lookup.job();
  for (int i = 0; i < 20; ++i) ASSERT_EQ(device.run(lookup.queue(), {&job, 1}), 0);

  // Reading the counters costs accesses, too: what an empty interval costs.
  const drm_npu_counters empty = device.counters();
  const drm_npu_counters before = device.counters();
  for (uint32_t i = 0; i < kJobs; ++i) ASSERT_EQ(device.run(lookup.queue(), {&job, 1}), 0);
  const drm_npu_counters after = device.counters();

  const uint64_t own_reads = before.device_mmio_reads - empty.device_mmio_reads;
  const uint64_t own_writes = before.device_mmio_writes - empty.device_mmio_writes;
  EXPECT_EQ(own_writes, 0u);
  EXPECT_EQ(after.jobs - before.jobs, kJobs);
  EXPECT_EQ(after.device_doorbells - before.device_doorbells, kJobs);
  EXPECT_EQ(after.device_mmio_writes - before.device_mmio_writes, kJobs)
      << "the doorbells are the only writes";
  EXPECT_EQ(after.device_mmio_reads - before.device_mmio_reads, own_reads);
  EXPECT_LE(after.device_interrupts - before.device_interrupts, kJobs);
  EXPECT_TRUE(lookup.correct());
}

// The function graph of npu_job_run with the kernel's allocation events on: an
// allocation inside it would show as an event between its braces.
class Trace {
 public:
  Trace() : root(tracing_folder()) {}
  ~Trace() {
    write_file(root + "tracing_on", "0");
    write_file(root + "current_tracer", "nop");
    write_file(root + "events/kmem/enable", "0");
    write_file(root + "set_graph_function", "\n");
  }
  bool start() {
    return write_file(root + "tracing_on", "0") && write_file(root + "buffer_size_kb", "8192") &&
           write_file(root + "set_graph_function", "npu_job_run") &&
           write_file(root + "current_tracer", "function_graph") &&
           write_file(root + "options/funcgraph-proc", "1") &&
           write_file(root + "events/kmem/enable", "1") && write_file(root + "trace", "\n") &&
           write_file(root + "tracing_on", "1");
  }
  std::string stop() {
    write_file(root + "tracing_on", "0");
    return read_file(root + "trace");
  }

  const std::string root;
};

// Lines of npu_job_run: from "npu_job_run() {" to the brace that closes it, of
// the CPU and the task that run it: another task may come in between.
struct Calls {
  unsigned calls = 0;
  unsigned pushes = 0;
  std::vector<std::string> allocations;
};

Calls read_trace(const std::string& text) {
  Calls found;
  std::istringstream lines(text);
  std::string line;
  std::string inside;  // CPU and task
  int depth = 0;
  while (std::getline(lines, line)) {
    if (line.empty() || line[0] == '#') continue;
    const size_t bar = line.find('|');
    if (bar == std::string::npos) continue;
    const std::string where = line.substr(0, bar);
    if (inside.empty()) {
      if (line.find(" npu_job_run") == std::string::npos) continue;
      ++found.calls;
      if (line.find('{') != std::string::npos) inside = where, depth = 1;
      continue;
    }
    if (where != inside) continue;
    if (line.find("npu_hwq_push") != std::string::npos) ++found.pushes;
    for (const char* word : {"kmalloc", "kmem_cache_alloc", "mm_page_alloc", "__alloc_pages"})
      if (line.find(word) != std::string::npos) {
        found.allocations.push_back(line);
        break;
      }
    if (line.find('{') != std::string::npos) ++depth;
    if (line.find('}') != std::string::npos && --depth == 0) inside.clear();
  }
  return found;
}

TEST(Steady, RunJobAllocatesNothing) {
  Device device;
  LookupJob lookup(device, 512, 1);
  const drm_npu_job job = lookup.job();
  ASSERT_EQ(device.run(lookup.queue(), {&job, 1}), 0);

  Trace trace;
  if (!trace.start()) GTEST_SKIP() << "this kernel has no function_graph tracer";
  for (int i = 0; i < 50; ++i) ASSERT_EQ(device.run(lookup.queue(), {&job, 1}), 0);
  const std::string text = trace.stop();
  const Calls calls = read_trace(text);
  EXPECT_EQ(calls.calls, 50u) << text.substr(0, 4000);
  EXPECT_EQ(calls.pushes, 50u) << "the graph does not show what run_job calls";
  EXPECT_TRUE(calls.allocations.empty()) << calls.allocations[0];
  // The tracer does see allocations: SUBMIT itself makes some, outside run_job.
  EXPECT_TRUE(text.find("kmalloc") != std::string::npos ||
              text.find("kmem_cache_alloc") != std::string::npos)
      << "no allocation event at all: the test shows nothing";
}

}  // namespace
}  // namespace kmd
