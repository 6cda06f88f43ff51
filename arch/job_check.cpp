// SPDX-License-Identifier: MIT
#include "arch/job_check.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "arch/gang_order.h"
#include "arch/hazard_screen.h"
#include "arch/hazards.h"
#include "arch/job_simulation.h"
#include "arch/stream_decoder.h"

namespace npu::arch {
namespace {

// Host time per unit of work, roughly.
constexpr uint64_t kDecodeNs = 300;  // a command
constexpr uint64_t kOrderNs = 20;    // a command
constexpr uint64_t kScreenNs = 100;  // a command, plus
constexpr uint64_t kHazardNs = 300;  // a command, plus
constexpr uint64_t kTouchNs = 10;    // each comparison, each run of granules
constexpr uint64_t kEventNs = 300;   // an event of the simulation
constexpr uint64_t kUnitsAtOnce = 64;

enum class Stage : uint8_t { kDecode, kOrder, kHazards, kSimulate, kDone };

}  // namespace

struct JobCheck::State {
  State(std::vector<std::span<const std::byte>> streams, const npu_target& on)
      : bytes(std::move(streams)), target(on) {}

  std::vector<std::span<const std::byte>> bytes;
  const npu_target& target;
  Stage stage = Stage::kDecode;
  unsigned core = 0;  // being decoded
  std::optional<StreamDecoder> decoder;
  uint32_t sram_peak_bytes = 0;
  std::optional<GangOrder> order;
  std::optional<HazardScreen> screen;     // as long as it passes all
  std::optional<HazardDetector> hazards;  // of what the screen did not pass
  bool timed = false;
  TimingInput input;
  std::optional<JobSimulation> simulation;

  // Each goes on for about `budget` nanoseconds, reduces it, and returns the
  // stage to go on with.
  Stage decode(JobCheck& job, uint64_t& budget);
  Stage merge(JobCheck& job, uint64_t& budget);
  Stage find_hazards(JobCheck& job, uint64_t& budget);
  Stage after_hazards(JobCheck& job);
  Stage simulate(JobCheck& job, uint64_t& budget);
};

namespace {

void spend(uint64_t& budget, uint64_t amount) {
  budget -= std::min(budget, amount);
}

}  // namespace

Stage JobCheck::State::decode(JobCheck& job, uint64_t& budget) {
  while (core < bytes.size()) {
    if (!decoder)
      decoder.emplace(bytes[core], target, core, static_cast<unsigned>(bytes.size()),
                      job.streams[core], job.error);
    if (!decoder->decode(kUnitsAtOnce)) return Stage::kDone;
    spend(budget, kUnitsAtOnce * kDecodeNs);
    if (decoder->finished()) {
      sram_peak_bytes = std::max(sram_peak_bytes, decoder->sram_peak_bytes());
      decoder.reset();
      ++core;
    }
    if (budget == 0) return Stage::kDecode;
  }
  order.emplace(job.streams);
  screen.emplace(static_cast<unsigned>(bytes.size()), target);
  return Stage::kOrder;
}

// Whether the lists can be merged, and in the same order the quick look.
Stage JobCheck::State::merge(JobCheck& job, uint64_t& budget) {
  unsigned at_core;
  uint32_t index;
  while (budget != 0) {
    spend(budget, kOrderNs);
    if (order->next(at_core, index)) {
      if (!screen) continue;
      const uint64_t before = job.compared;
      const bool passed = screen->add(job.streams[at_core][index], at_core);
      job.compared = screen->compared();
      spend(budget, kScreenNs + kTouchNs * (job.compared - before));
      if (!passed) screen.reset();
      continue;
    }
    // Blocked or at the end: check_deadlock says which, with the text.
    if (!order->at_end()) {
      order->report_deadlock(job.error);
      return Stage::kDone;
    }
    if (screen) return after_hazards(job);
    job.by_granule = true;
    order.emplace(job.streams);
    hazards.emplace(static_cast<unsigned>(bytes.size()), target);
    return Stage::kHazards;
  }
  return Stage::kOrder;
}

Stage JobCheck::State::find_hazards(JobCheck& job, uint64_t& budget) {
  unsigned at_core;
  uint32_t index;
  while (budget != 0) {
    if (!order->next(at_core, index)) return after_hazards(job);
    const uint64_t before = hazards->touched();
    if (!hazards->add(job.streams[at_core][index], at_core, index, job.error)) return Stage::kDone;
    spend(budget, kHazardNs + kTouchNs * (hazards->touched() - before));
  }
  return Stage::kHazards;
}

Stage JobCheck::State::after_hazards(JobCheck& job) {
  screen.reset();
  hazards.reset();
  if (!timed) return Stage::kDone;
  input.streams = job.streams;
  simulation.emplace(input, target, &job.trace);
  return Stage::kSimulate;
}

Stage JobCheck::State::simulate(JobCheck& job, uint64_t& budget) {
  while (budget != 0) {
    spend(budget, kUnitsAtOnce * kEventNs);
    if (!simulation->run(kUnitsAtOnce)) continue;
    job.events = simulation->events();
    job.timing = simulation->timing();
    job.timing.sram_peak_bytes = sram_peak_bytes;
    return Stage::kDone;
  }
  return Stage::kSimulate;
}

JobCheck::JobCheck(std::vector<std::span<const std::byte>> bytes, const npu_target& target)
    : streams(bytes.size()), state_(std::make_unique<State>(std::move(bytes), target)) {}

JobCheck::~JobCheck() = default;

void JobCheck::request_timing(std::function<External(unsigned index)> region_memory) {
  state_->timed = true;
  state_->input.region_memory = std::move(region_memory);
}

bool JobCheck::run(uint64_t nanoseconds) {
  uint64_t budget = std::max<uint64_t>(nanoseconds, 1);
  Stage& stage = state_->stage;
  while (stage != Stage::kDone && budget != 0) {
    switch (stage) {
      case Stage::kDecode:
        stage = state_->decode(*this, budget);
        break;
      case Stage::kOrder:
        stage = state_->merge(*this, budget);
        break;
      case Stage::kHazards:
        stage = state_->find_hazards(*this, budget);
        break;
      case Stage::kSimulate:
        stage = state_->simulate(*this, budget);
        break;
      case Stage::kDone:
        break;
    }
  }
  return stage == Stage::kDone;
}

}  // namespace npu::arch
