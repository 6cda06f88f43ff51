// SPDX-License-Identifier: MIT
#include "compiler/report/trace.h"

#include <fmt/format.h>

#include <algorithm>

#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

bool decode(const Job& job, const npu_target& target, std::vector<arch::Stream>& streams,
            Diagnostics& diagnostics) {
  const auto cores = static_cast<unsigned>(job.streams.size());
  streams.resize(cores);
  arch::StreamError error;
  bool good = true;
  for (unsigned core = 0; good && core < cores; ++core) {
    const std::vector<std::byte>& bytes = job.streams[core].bytes;
    if (bytes.size() > target.max_stream_bytes) {
      diagnostics.add(
          {.status = Status::kResources,
           .node = {},
           .op = {},
           .rule = fmt::format("a job's commands take {} bytes", bytes.size()),
           .value = fmt::format("a target with streams of {} bytes", target.max_stream_bytes),
           .suggestion = cores > 1 ? "Compile for one core, which may take several jobs" : ""});
      return false;
    }
    good = arch::decode_stream(bytes, target, core, cores, streams[core], error);
  }
  if (good && arch::check_deadlock(streams, error) && arch::check_hazards(streams, target, error))
    return true;
  diagnostics.internal(fmt::format("core {}, command {} of the emitted streams is refused: {}: {}",
                                   error.core, error.command, arch::status_name(error.status),
                                   error.text));
  return false;
}

// What one engine of a core does, by time.
struct Activity {
  uint64_t begin, end;
  double progress;  // share of its cycles in which it is not held up
};

// Adds the time of one core, of which `share` counts, to the nodes of `parts`.
class CoreSplit {
 public:
  CoreSplit(const std::vector<JobTrace>& traces, unsigned core) {
    for (const JobTrace& trace : traces)
      for (const npu_profile_command& r : trace.records)
        if (r.core == core && r.engine < NPU_ENGINE_COUNT && r.execute_cycles != 0)
          engines_[r.engine].push_back(
              {trace.begin(r), trace.end(r),
               1 - static_cast<double>(r.stall_cycles) / r.execute_cycles});
  }

  void add(const std::vector<Stretch>& parts, double share, std::vector<CycleSplit>& out) {
    for (const Stretch& part : parts) {
      for (uint64_t now = part.begin, next; now < part.end; now = next) {
        next = part.end;
        const Activity* active[NPU_ENGINE_COUNT] = {};
        for (unsigned e = 0; e < NPU_ENGINE_COUNT; ++e) active[e] = at(e, now, next);
        const double cycles = share * static_cast<double>(next - now);
        double progress = 0;
        for (const unsigned e : {NPU_ENGINE_MAC, NPU_ENGINE_VEC})
          if (active[e] != nullptr) progress = std::max(progress, active[e]->progress);
        const bool any = std::any_of(std::begin(active), std::end(active),
                                     [](const Activity* a) { return a != nullptr; });
        CycleSplit& split = out[part.source];
        split.execute += cycles * progress;
        (any ? split.memory : split.wait) += cycles * (1 - progress);
      }
    }
  }

 private:
  // What the engine does at `now`, or null; shortens `next` to where that changes.
  const Activity* at(unsigned engine, uint64_t now, uint64_t& next) {
    const std::vector<Activity>& list = engines_[engine];
    size_t& i = position_[engine];
    while (i < list.size() && list[i].end <= now) ++i;
    if (i == list.size()) return nullptr;
    if (list[i].begin > now) {
      next = std::min(next, list[i].begin);
      return nullptr;
    }
    next = std::min(next, list[i].end);
    return &list[i];
  }

  std::vector<Activity>
      engines_[NPU_ENGINE_COUNT];  // in order, commands of an engine follow each other
  size_t position_[NPU_ENGINE_COUNT] = {};
};

// Adds to `taken`, which is side by side, what of `wanted`, by its begin, is still free.
void claim(const std::vector<Stretch>& wanted, std::vector<Stretch>& taken) {
  const std::vector<Stretch> before = taken;
  size_t next = 0;  // of `before`
  uint64_t now = 0;
  for (const Stretch& want : wanted) {
    now = std::max(now, want.begin);
    while (now < want.end) {
      while (next < before.size() && before[next].end <= now) ++next;
      const bool held = next < before.size() && before[next].begin <= now;
      if (held) {
        now = before[next].end;
        continue;
      }
      const uint64_t end = next < before.size() ? std::min(want.end, before[next].begin) : want.end;
      taken.push_back({now, end, want.source});
      now = end;
    }
  }
  std::sort(taken.begin(), taken.end(),
            [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
}

}  // namespace

arch::External memory_of_region(unsigned region) {
  return region >= NPU_REGION_TENSORS && region != arch::kRegionCommands ? arch::External::kHost
                                                                         : arch::External::kCard;
}

std::optional<std::vector<JobTrace>> trace_jobs(const std::vector<Job>& jobs,
                                                const npu_target& target,
                                                Diagnostics& diagnostics) {
  std::vector<JobTrace> out(jobs.size());
  uint64_t start = 0;
  for (size_t i = 0; i < jobs.size(); ++i) {
    JobTrace& trace = out[i];
    if (!decode(jobs[i], target, trace.streams, diagnostics)) return std::nullopt;
    arch::TimingInput input;
    input.streams = trace.streams;
    input.region_memory = memory_of_region;
    trace.start = start;
    trace.timing = arch::simulate_job(input, target, &trace.records);
    start += trace.timing.cycles;
  }
  return out;
}

std::vector<Stretch> stretches(const std::vector<JobTrace>& traces) {
  std::vector<Stretch> out;
  for (const JobTrace& trace : traces) {
    std::vector<const npu_profile_command*> order;
    for (const npu_profile_command& record : trace.records) order.push_back(&record);
    std::vector<Stretch> later;  // by which everything ends later
    // On one core the list is the order in which things are meant to happen.
    const auto by_start = [](auto* a, auto* b) { return a->start_cycle < b->start_cycle; };
    if (trace.streams.size() > 1) std::stable_sort(order.begin(), order.end(), by_start);
    uint64_t end = trace.start;
    for (const npu_profile_command* record : order) {
      if (trace.end(*record) <= end) continue;
      later.push_back({end, trace.end(*record), record->source_op});
      end = trace.end(*record);
    }
    std::stable_sort(order.begin(), order.end(), by_start);
    std::vector<Stretch> job;
    for (const unsigned engine : {NPU_ENGINE_MAC, NPU_ENGINE_VEC}) {
      std::vector<Stretch> busy;
      for (const npu_profile_command* record : order)
        if (record->engine == engine)
          busy.push_back({trace.begin(*record), trace.end(*record), record->source_op});
      claim(busy, job);
    }
    claim(later, job);
    out.insert(out.end(), job.begin(), job.end());
  }
  return out;
}

std::vector<CycleSplit> split_cycles(const std::vector<JobTrace>& traces,
                                     const std::vector<Stretch>& parts, size_t nodes) {
  std::vector<CycleSplit> out(nodes);
  const auto cores = static_cast<unsigned>(traces.empty() ? 0 : traces[0].streams.size());
  for (unsigned core = 0; core < cores; ++core)
    CoreSplit(traces, core).add(parts, 1.0 / cores, out);
  return out;
}

}  // namespace npu::compiler
