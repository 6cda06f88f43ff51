// SPDX-License-Identifier: MIT
//
// The library through its public interface. NPU_TEST_DEVICE selects the device;
// the simulator otherwise.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <libnpu/npu.hpp>
#include <random>

#include "npu/compiled_model.h"
#include "npu/status.h"
#include "testing/streams.h"

namespace npu {
namespace {

using namespace std::chrono_literals;
namespace testing = umd::testing;

constexpr uint32_t kBytes = 4096;

class LibraryTest : public ::testing::Test {
 protected:
  LibraryTest() : device_(open()) {
    const npu_device_info info = device_.info().value();
    std::memcpy(&target_, info.target, sizeof target_);
  }
  static Device open() {
    const char* selector = std::getenv("NPU_TEST_DEVICE");
    return Device::open(selector != nullptr ? selector : "sim:card").value();
  }

  Network load(const umd::ModelDescription& description, uint32_t flags = 0) {
    return device_.load(umd::write_model(description), flags).value();
  }
  Network copy_network(unsigned jobs = 1) {
    return load(testing::copy_model(target_, kBytes, jobs));
  }
  // The copy network with a store to an address that is not mapped.
  umd::ModelDescription stray_model() {
    umd::ModelDescription model = testing::copy_model(target_, kBytes);
    arch::StreamBuilder builder;
    builder.append(testing::transfer(NPU_OP_LOAD, NPU_REGION_TENSORS, 0, 0, 64));
    npu_command_dma store =
        testing::transfer(NPU_OP_STORE, NPU_REGION_TENSORS + 1, uint64_t{1} << 45, 0, 64);
    store.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1);
    builder.append(store);
    model.jobs[0].streams[0] = builder.bytes();
    return model;
  }

  Device device_;
  npu_target target_;
};

TEST_F(LibraryTest, RunsANetwork) {
  const Network network = copy_network();
  EXPECT_EQ(network.inputs().size(), 1u);
  EXPECT_STREQ(network.outputs()[0].name, "out");
  EXPECT_EQ(network.find("out"), 1u);
  EXPECT_EQ(network.find("nothing"), std::nullopt);
  const Queue queue = device_.create_queue().value();
  Execution run = Execution::create(device_, network).value();
  std::memset(run.input(0).data(), 0x5a, kBytes);
  run.start(queue).value();
  run.wait(after(60s)).value();
  EXPECT_EQ(std::memcmp(run.input(0).data(), run.output(0).data(), kBytes), 0);
}

TEST_F(LibraryTest, JobsOfANetworkPassDataThroughScratchMemory) {
  const Network network = copy_network(5);
  EXPECT_EQ(network.info().jobs, 5u);
  const Queue queue = device_.create_queue().value();
  Execution run = Execution::create(device_, network, NPU_RUN_PROFILE).value();
  run.input(0)[100] = std::byte{33};
  run.start(queue).value();
  run.wait(after(60s)).value();
  EXPECT_EQ(run.output(0)[100], std::byte{33});
  const npu_run_report report = run.report().value();
  EXPECT_EQ(report.jobs, 5u);
  EXPECT_EQ(report.status, unsigned{NPU_STATUS_OK});
}

TEST_F(LibraryTest, ProfileTellsEveryCommand) {
  const Network network = copy_network(2);
  const Queue queue = device_.create_queue().value();
  Execution run = Execution::create(device_, network, NPU_RUN_PROFILE_COMMANDS).value();
  for (int round = 0; round < 2; round++) {
    run.start(queue).value();
    run.wait(after(60s)).value();
    const npu_run_report report = run.report().value();
    ASSERT_EQ(report.command_records, 4u);
    EXPECT_GT(report.cycles, 0u);
    EXPECT_GE(report.card_bytes + report.pcie_bytes, 4u * kBytes);
    EXPECT_EQ(run.record(0).value().opcode, unsigned{NPU_OP_LOAD});
    EXPECT_EQ(run.record(3).value().opcode, unsigned{NPU_OP_STORE});
    EXPECT_EQ(run.record(3).value().job, 1u);
    EXPECT_EQ(run.record(4).code(), NPU_ERROR_INVALID);
  }
}

TEST_F(LibraryTest, EnginesCountWhatTheyDid) {
  const Network network = copy_network(2);
  const Queue queue = device_.create_queue().value();
  Execution run = Execution::create(device_, network, NPU_RUN_PROFILE_COMMANDS).value();
  const npu_engines before = device_.engines().value();
  EXPECT_EQ(before.cores, target_.cores);
  run.start(queue).value();
  run.wait(after(60s)).value();
  const npu_engines now = device_.engines().value();
  npu_engine_counters sum[4] = {};
  for (unsigned core = 0; core < now.cores; core++) {
    for (unsigned e = 0; e < 4; e++) {
      const npu_engine_counters &a = before.engine[core][e], &b = now.engine[core][e];
      sum[e].commands += b.commands - a.commands;
      sum[e].busy_cycles += b.busy_cycles - a.busy_cycles;
      sum[e].bytes += b.bytes - a.bytes;
    }
  }
  // Each of the two jobs is a LOAD and a STORE, and nothing else ran.
  for (const unsigned e : {NPU_ENGINE_LOAD, NPU_ENGINE_STORE}) {
    EXPECT_EQ(sum[e].commands, 2u);
    EXPECT_EQ(sum[e].bytes, 2u * kBytes);
    EXPECT_EQ(sum[e].busy_cycles,
              run.record(e).value().execute_cycles + run.record(2 + e).value().execute_cycles);
  }
  EXPECT_EQ(sum[NPU_ENGINE_MAC].commands + sum[NPU_ENGINE_VEC].commands, 0u);
  for (unsigned core = now.cores; core < 8; core++) EXPECT_EQ(now.engine[core][0].commands, 0u);
}

TEST_F(LibraryTest, ManyRunsInFlightThenTheQueueIsFull) {
  const Network network = copy_network();
  npu_queue_desc desc = {};
  desc.depth = 4;
  const Queue queue = device_.create_queue(desc).value();
  std::vector<Execution> runs;
  for (int i = 0; i < 4; i++) runs.push_back(Execution::create(device_, network).value());
  npu_fence last = {};
  unsigned full = 0;
  for (int i = 0; i < 400; i++) {
    auto fence = runs[i % 4].start(queue);
    if (fence) {
      last = fence.value();
      continue;
    }
    ASSERT_EQ(fence.code(), NPU_ERROR_AGAIN) << fence.error().text;
    full++;
    device_.wait(last, after(60s)).value();
  }
  device_.wait(last, after(60s)).value();
  const npu_queue_info info = queue.info().value();
  EXPECT_EQ(info.completed, info.submitted);
  EXPECT_EQ(info.submitted + full, 400u);
}

TEST_F(LibraryTest, FaultNamesTheLayerAndPoisonsOnlyItsQueue) {
  const Network good = copy_network();
  auto refused = device_.load(umd::write_model(stray_model()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.code(), NPU_ERROR_BAD_MODEL);
  EXPECT_NE(refused.error().text.find("region"), std::string::npos) << refused.error().text;
  const Network bad = load(stray_model(), NPU_NETWORK_UNCHECKED);

  const Queue queue = device_.create_queue().value(), other = device_.create_queue().value();
  Execution first = Execution::create(device_, good).value();
  Execution second = Execution::create(device_, bad).value();
  Execution third = Execution::create(device_, good).value();
  first.start(queue).value();
  second.start(queue).value();
  third.start(queue).value();
  EXPECT_EQ(third.wait(after(60s)).code(), NPU_ERROR_QUEUE_POISONED);
  auto failed = second.wait(after(60s));
  EXPECT_EQ(failed.code(), NPU_ERROR_JOB_FAULT);
  EXPECT_NE(failed.error().text.find("copy_0"), std::string::npos) << failed.error().text;
  EXPECT_NE(failed.error().text.find("MMU_FAULT"), std::string::npos) << failed.error().text;
  EXPECT_EQ(first.wait(after(60s)).code(), NPU_OK) << "it ended before the failure";

  EXPECT_EQ(first.start(queue).code(), NPU_ERROR_QUEUE_POISONED);
  const npu_queue_info info = queue.info().value();
  EXPECT_EQ(info.poisoned, 1u);
  EXPECT_EQ(info.fault.status, unsigned{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(info.fault.job, 1u);
  EXPECT_EQ(info.fault.command, 1u);

  third.start(other).value();
  third.wait(after(60s)).value();
  const Queue fresh = device_.create_queue().value();
  third.start(fresh).value();
  third.wait(after(60s)).value();
}

TEST_F(LibraryTest, CycleLimitStopsAJob) {
  const Network network = copy_network();
  npu_queue_desc desc = {};
  desc.cycle_limit = 10;
  const Queue queue = device_.create_queue(desc).value();
  Execution run = Execution::create(device_, network).value();
  run.start(queue).value();
  auto done = run.wait(after(60s));
  EXPECT_EQ(done.code(), NPU_ERROR_JOB_HUNG);
  EXPECT_NE(done.error().text.find("cycle limit"), std::string::npos) << done.error().text;
}

// A run that takes its time and can be put aside; the other queue's comes later and
// is done first, and neither changes the other's result.
TEST_F(LibraryTest, AnUrgentQueueOvertakes) {
  umd::ModelDescription model = testing::copy_model(target_, kBytes);
  arch::StreamBuilder builder;
  builder.append(testing::transfer(NPU_OP_LOAD, NPU_REGION_TENSORS, 0, 0, kBytes));
  npu_command_dma copy =
      testing::transfer(NPU_OP_SRAM_COPY, 0, 0, target_.sram_bytes / 2, target_.sram_bytes / 32);
  copy.source_address = target_.sram_bytes / 4;
  npu_command_yield yield = {};
  yield.range_count = 1;
  yield.live[0].bytes = kBytes;
  uint32_t loads = 0;
  for (int i = 0; i < 20000; i++) {
    loads = builder.append(copy);
    builder.append(yield);
  }
  npu_command_dma store = testing::transfer(NPU_OP_STORE, NPU_REGION_TENSORS + 1, 0, 0, kBytes);
  store.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, loads);
  builder.append(store);
  model.jobs[0].streams[0] = builder.bytes();
  const Network slow = load(model), fast = copy_network();

  npu_queue_desc desc = {};
  desc.core_mask = 1;
  desc.priority = NPU_PRIORITY_LOW;
  const Queue low = device_.create_queue(desc).value();
  desc.priority = NPU_PRIORITY_HIGH;
  const Queue high = device_.create_queue(desc).value();
  Execution patient = Execution::create(device_, slow).value();
  Execution urgent = Execution::create(device_, fast).value();
  std::memset(patient.input(0).data(), 0x3c, kBytes);
  std::memset(urgent.input(0).data(), 0xc3, kBytes);
  patient.start(low).value();
  urgent.start(high).value();
  urgent.wait(after(60s)).value();
  EXPECT_EQ(low.info().value().completed, 0u);
  EXPECT_EQ(std::memcmp(urgent.input(0).data(), urgent.output(0).data(), kBytes), 0);
  patient.wait(after(60s)).value();
  EXPECT_EQ(std::memcmp(patient.input(0).data(), patient.output(0).data(), kBytes), 0);
}

TEST_F(LibraryTest, QueueOptionsHaveLimits) {
  npu_queue_desc desc = {};
  desc.coalesce_count = 16;
  EXPECT_EQ(device_.create_queue(desc).code(), NPU_ERROR_INVALID) << "no time";
  desc.coalesce_us = 100;
  EXPECT_TRUE(device_.create_queue(desc));
  desc.coalesce_us = 1000000;
  EXPECT_EQ(device_.create_queue(desc).code(), NPU_ERROR_INVALID);
  desc = {};
  desc.quantum = ~uint64_t{0};
  EXPECT_EQ(device_.create_queue(desc).code(), NPU_ERROR_INVALID);
  desc.quantum = 100000;
  EXPECT_TRUE(device_.create_queue(desc));

  // A program built before the struct grew.
  npu_device* device = nullptr;
  const char* selector = std::getenv("NPU_TEST_DEVICE");
  ASSERT_EQ(npu_device_open(selector != nullptr ? selector : "sim:card", nullptr, &device), NPU_OK);
  npu_queue* queue = nullptr;
  desc.quantum = ~uint64_t{0};  // behind what it passes
  desc.struct_size = offsetof(npu_queue_desc, quantum);
  EXPECT_EQ(npu_queue_create(device, &desc, &queue), NPU_OK);
  npu_queue_destroy(queue);
  npu_device_close(device);
}

TEST_F(LibraryTest, EverythingMayBeDestroyedRightAfterSubmit) {
  for (int i = 0; i < 20; i++) {
    Queue queue = device_.create_queue().value();
    npu_fence fence;
    {
      const Network network = copy_network(3);
      Execution run = Execution::create(device_, network).value();
      fence = run.start(queue).value();
    }
    device_.wait(fence, after(60s)).value();
  }
  npu_fence orphan;
  {
    const Queue queue = device_.create_queue().value();
    const Network network = copy_network(3);
    Execution run = Execution::create(device_, network).value();
    orphan = run.start(queue).value();
  }
  EXPECT_TRUE(device_.wait(orphan, after(60s))) << "fences of a destroyed queue have signalled";
}

TEST_F(LibraryTest, MemoryComesBack) {
  const uint64_t before = device_.telemetry().value().card_memory_used;
  for (int i = 0; i < 10; i++) {
    const Network network = copy_network(4);
    const Queue queue = device_.create_queue().value();
    Execution run = Execution::create(device_, network).value();
    run.start(queue).value();
    run.wait(after(60s)).value();
  }
  device_.create_buffer(1).value();  // collects what became idle
  EXPECT_EQ(device_.telemetry().value().card_memory_used, before);
}

TEST_F(LibraryTest, FencesOrderQueuesAndPoll) {
  const Network network = copy_network();
  const Queue a = device_.create_queue().value(), b = device_.create_queue().value();
  Execution first = Execution::create(device_, network).value();
  Execution second = Execution::create(device_, network).value();
  const npu_fence start = first.start(a).value();
  const npu_fence end = second.start(b, {&start, 1}).value();
  int fd = -1;
  ASSERT_EQ(npu_fence_export(device_.get(), end, &fd), NPU_OK);
  pollfd entry = {fd, POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 60000), 1);
  close(fd);
  const npu_fence both[] = {start, end};
  EXPECT_LE(device_.wait_any(both, after(60s)).value(), 1u);
  EXPECT_TRUE(device_.wait(both, npu::poll));
}

TEST_F(LibraryTest, ExpiredWaitIsATimeout) {
  const Queue queue = device_.create_queue().value();
  EXPECT_EQ(device_.wait(npu_fence{}, after(1s)).code(), NPU_ERROR_INVALID);
  const Network network = copy_network(120);
  std::vector<Execution> runs;
  for (int i = 0; i < 60; i++) runs.push_back(Execution::create(device_, network).value());
  // The work takes longer than handing it over, unless this thread has to pause meanwhile.
  bool expired = false;
  for (int round = 0; round < 20 && !expired; round++) {
    npu_fence last = {};
    for (Execution& run : runs) last = run.start(queue).value();
    const auto polled = device_.wait(last, npu::poll);
    expired = polled.code() == NPU_ERROR_TIMEOUT;
    EXPECT_TRUE(polled || expired) << polled.code();
    EXPECT_TRUE(device_.wait(last, after(60s)));
  }
  EXPECT_TRUE(expired);
}

TEST_F(LibraryTest, WrongCallsAreRefusedWithATextThatNamesThem) {
  const Network network = copy_network();
  const Queue queue = device_.create_queue().value();
  const Buffer small = device_.create_buffer(kBytes / 2).value();
  const Buffer buffer = device_.create_buffer(2 * kBytes).value();
  const auto submit = [&](std::vector<npu_binding> bindings) {
    npu_run run = {};
    run.struct_size = sizeof run;
    run.network = network.get();
    run.bindings = bindings.data();
    run.binding_count = uint32_t(bindings.size());
    auto result = queue.submit({&run, 1});
    return result ? std::string("accepted") : result.error().text;
  };
  const npu_binding good = {buffer.get(), 0};
  EXPECT_NE(submit({good}).find("2 inputs and outputs"), std::string::npos);
  EXPECT_NE(submit({good, {small.get(), 0}}).find("'out'"), std::string::npos);
  EXPECT_NE(submit({{buffer.get(), 3}, good}).find("'in'"), std::string::npos);
  EXPECT_NE(submit({{buffer.get(), UINT64_MAX - 63}, good}).find("'in'"), std::string::npos);
  EXPECT_NE(submit({{nullptr, 0}, good}).find("'in'"), std::string::npos);
  const Device second = open();
  const Buffer foreign = second.create_buffer(kBytes).value();
  EXPECT_NE(submit({{foreign.get(), 0}, good}).find("another device"), std::string::npos);

  EXPECT_EQ(npu_device_query(nullptr, NPU_QUERY_INFO, nullptr), NPU_ERROR_INVALID);
  EXPECT_EQ(npu_buffer_sync(buffer.get(), NPU_SYNC_TO_DEVICE, kBytes, 2 * kBytes),
            NPU_ERROR_INVALID);
  npu_buffer_desc desc = {};
  npu_buffer* made = nullptr;
  EXPECT_EQ(npu_buffer_create(device_.get(), &desc, &made), NPU_ERROR_INVALID) << "struct_size 0";
  EXPECT_EQ(device_.create_buffer(0).code(), NPU_ERROR_INVALID);
}

TEST_F(LibraryTest, LongerStructsOfYoungerProgramsMustBeZeroBeyond) {
  struct {
    npu_buffer_desc desc;
    uint64_t future;
  } young = {};
  young.desc.struct_size = sizeof young;
  young.desc.size = 100;
  npu_buffer* buffer = nullptr;
  EXPECT_EQ(npu_buffer_create(device_.get(), &young.desc, &buffer), NPU_OK);
  npu_buffer_destroy(buffer);
  young.future = 1;
  EXPECT_EQ(npu_buffer_create(device_.get(), &young.desc, &buffer), NPU_ERROR_INVALID);
}

TEST_F(LibraryTest, WrongTargetNamesTheParameter) {
  umd::ModelDescription model = testing::copy_model(target_, 64);
  model.target.mac_outputs = target_.mac_outputs * 2;
  auto loaded = device_.load(umd::write_model(model));
  EXPECT_EQ(loaded.code(), NPU_ERROR_WRONG_TARGET);
  EXPECT_NE(loaded.error().text.find("mac_outputs"), std::string::npos) << loaded.error().text;
  model.target = target_;
  model.target.sram_bytes = target_.sram_bytes + 4096;
  loaded = device_.load(umd::write_model(model));
  EXPECT_EQ(loaded.code(), NPU_ERROR_WRONG_TARGET);
  EXPECT_NE(loaded.error().text.find("sram_bytes"), std::string::npos) << loaded.error().text;
}

TEST_F(LibraryTest, ChildOfAForkCannotUseItsParentsObjects) {
  const pid_t child = fork();
  if (child == 0) {
    npu_telemetry telemetry = {};
    telemetry.struct_size = sizeof telemetry;
    const npu_result result = npu_device_query(device_.get(), NPU_QUERY_TELEMETRY, &telemetry);
    _exit(result == NPU_ERROR_INVALID ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(device_.telemetry());
}

TEST(Selector, SaysWhatIsWrong) {
  auto missing = Device::open("ffff:ff:1f.7");
  EXPECT_EQ(missing.code(), NPU_ERROR_NO_DEVICE);
  EXPECT_NE(missing.error().text.find("ffff:ff:1f.7"), std::string::npos);
  EXPECT_EQ(Device::open("sim:nonsense").code(), NPU_ERROR_NO_DEVICE);
  EXPECT_EQ(Device::open("/dev/null").code(), NPU_ERROR_NO_DEVICE);
  EXPECT_EQ(Device::open("/dev/accel/accel63").code(), NPU_ERROR_NO_DEVICE);
}

TEST(Selector, ListShowsTheSimulators) {
  const auto devices = Device::list().value();
  unsigned simulators = 0;
  for (const npu_device_info& info : devices) {
    simulators += std::string_view(info.selector).starts_with("sim:");
  }
  EXPECT_EQ(simulators, 2u);
}

TEST(LastError, BelongsToTheThread) {
  EXPECT_NE(npu_device_open("sim:nonsense", nullptr, nullptr), NPU_OK);
  EXPECT_EQ(Error::last().code, NPU_ERROR_INVALID);
  npu_error cut = {};
  EXPECT_EQ(npu_last_error(&cut), NPU_ERROR_INVALID) << "struct_size 0";
}

}  // namespace
}  // namespace npu
