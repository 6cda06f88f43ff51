// SPDX-License-Identifier: MIT
//
// What every back end must do. Runs on the simulator; with NPU_TEST_NODE set to
// a device node, on the kernel driver.
#include "backend.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <thread>

#include "arch/target.h"
#include "npu/registers.h"
#include "npu/status.h"
#include "sim_backend.h"
#include "testing/streams.h"

namespace npu::umd {
namespace {

constexpr uint64_t kPage = 4096;

uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return uint64_t(now.tv_sec) * 1000000000u + uint64_t(now.tv_nsec);
}
uint64_t in_seconds(unsigned seconds) {
  return now_ns() + seconds * 1000000000ull;
}

class BackendTest : public ::testing::Test {
 protected:
  struct Placed {
    uint32_t handle;
    uint64_t va;
    uint64_t size;
    uint8_t* memory;
  };

  void SetUp() override {
    const char* node = std::getenv("NPU_TEST_NODE");
    auto opened = node != nullptr ? open_drm(node) : open_sim({*arch::find_target("card")});
    ASSERT_TRUE(opened.ok()) << opened.error().text;
    backend_ = std::move(*opened);
    next_va_ = backend_->caps().va_start + 0x10000;
  }

  Placed place(uint64_t size, drm_npu_placement placement, bool read_only = false) {
    auto allocation = backend_->create_buffer(size, placement);
    EXPECT_TRUE(allocation.ok()) << allocation.error().text;
    const uint64_t va = next_va_;
    next_va_ += allocation->size + 16 * kPage;
    auto status = backend_->bind(allocation->handle, 0, va, allocation->size, read_only);
    EXPECT_TRUE(status.ok()) << status.error().text;
    auto memory = backend_->map(allocation->handle);
    EXPECT_TRUE(memory.ok()) << memory.error().text;
    return {allocation->handle, va, allocation->size, static_cast<uint8_t*>(*memory)};
  }

  // A job that runs `stream` with regions at those addresses.
  drm_npu_job job(const std::vector<std::byte>& stream, const std::vector<uint64_t>& regions) {
    Placed memory = place(stream.size() + 512, DRM_NPU_PLACEMENT_CARD);
    std::memcpy(memory.memory, regions.data(), regions.size() * 8);
    std::memcpy(memory.memory + 512, stream.data(), stream.size());
    drm_npu_job job = {};
    job.stream_va = memory.va + 512;
    job.region_va = regions.empty() ? 0 : memory.va;
    job.region_count = uint32_t(regions.size());
    job.stream_count = 1;
    job.stream_bytes[0] = uint32_t(stream.size());
    return job;
  }

  uint32_t queue(Backend::QueueOptions options = {}) {
    auto id = backend_->create_queue(options);
    EXPECT_TRUE(id.ok()) << id.error().text;
    return id.ok() ? *id : 0;
  }

  Status wait(uint32_t queue, uint64_t point, uint64_t deadline) {
    const Backend::Point p = {queue, point};
    auto result = backend_->wait({&p, 1}, false, deadline);
    return result.ok() ? Status() : Status(result.error());
  }

  // Submits and waits; the queue's state afterwards.
  drm_npu_queue_state run(uint32_t queue, std::vector<drm_npu_job> jobs, uint64_t point) {
    auto status = backend_->submit(queue, jobs, {});
    EXPECT_TRUE(status.ok()) << status.error().text;
    status = wait(queue, point, in_seconds(60));
    EXPECT_TRUE(status.ok()) << status.error().text;
    drm_npu_queue_state state = {};
    EXPECT_TRUE(backend_->queue_state(queue, state).ok());
    return state;
  }

  std::unique_ptr<Backend> backend_;
  uint64_t next_va_ = 0;
};

TEST_F(BackendTest, TellsWhatTheCardIs) {
  const drm_npu_caps& caps = backend_->caps();
  EXPECT_EQ(caps.interface_version >> 16, unsigned{NPU_VERSION_MAJOR});
  EXPECT_EQ(arch::validate_target(backend_->target()), "");
  EXPECT_GE(caps.max_jobs, 1u);
  EXPECT_LT(caps.va_start, caps.va_end);
}

TEST_F(BackendTest, BuffersAreZeroAndKeepWhatIsWritten) {
  for (auto placement : {DRM_NPU_PLACEMENT_HOST, DRM_NPU_PLACEMENT_CARD}) {
    // Twice the same size: the second is likely to get the first one's memory.
    for (int round = 0; round < 2; round++) {
      auto allocation = backend_->create_buffer(3 * kPage - 5, placement);
      ASSERT_TRUE(allocation.ok()) << allocation.error().text;
      EXPECT_EQ(allocation->size, 3 * kPage);
      auto pointer = backend_->map(allocation->handle);
      ASSERT_TRUE(pointer.ok()) << pointer.error().text;
      auto* bytes = static_cast<uint8_t*>(*pointer);
      for (uint64_t i = 0; i < allocation->size; i++) ASSERT_EQ(bytes[i], 0) << i;
      std::memset(bytes, 0xa5, allocation->size);
      EXPECT_EQ(*backend_->map(allocation->handle), *pointer) << "map is idempotent";
      backend_->destroy_buffer(allocation->handle);
    }
  }
}

TEST_F(BackendTest, RefusesImpossibleBuffersAndBindings) {
  EXPECT_FALSE(backend_->create_buffer(0, DRM_NPU_PLACEMENT_HOST).ok());
  auto huge = backend_->create_buffer(uint64_t{1} << 50, DRM_NPU_PLACEMENT_CARD);
  EXPECT_FALSE(huge.ok());
  auto buffer = backend_->create_buffer(kPage, DRM_NPU_PLACEMENT_HOST);
  ASSERT_TRUE(buffer.ok());
  const uint64_t va = next_va_;
  EXPECT_FALSE(backend_->bind(buffer->handle, 0, va + 1, kPage, false).ok());
  EXPECT_FALSE(backend_->bind(buffer->handle, 0, va, kPage + 1, false).ok());
  EXPECT_FALSE(backend_->bind(buffer->handle, kPage, va, kPage, false).ok());
  EXPECT_FALSE(backend_->bind(buffer->handle, 0, backend_->caps().va_end, kPage, false).ok());
  EXPECT_FALSE(backend_->bind(buffer->handle + 1000, 0, va, kPage, false).ok());
  EXPECT_FALSE(backend_->map(buffer->handle + 1000).ok());
}

TEST_F(BackendTest, CardMemoryCanBeUsedUpAndComesBack) {
  const uint64_t chunk = backend_->caps().aperture_bytes / 4;
  for (int round = 0; round < 3; round++) {
    auto a = backend_->create_buffer(chunk, DRM_NPU_PLACEMENT_CARD);
    auto b = backend_->create_buffer(chunk, DRM_NPU_PLACEMENT_CARD);
    EXPECT_TRUE(a.ok() && b.ok());
    backend_->destroy_buffer(a->handle);
    backend_->destroy_buffer(b->handle);
  }
}

TEST_F(BackendTest, JobCopiesBetweenAllKindsOfMemory) {
  const uint32_t bytes = 10000;
  const uint32_t q = queue();
  uint64_t point = 0;
  for (auto from : {DRM_NPU_PLACEMENT_HOST, DRM_NPU_PLACEMENT_CARD}) {
    for (auto to : {DRM_NPU_PLACEMENT_HOST, DRM_NPU_PLACEMENT_CARD}) {
      Placed in = place(bytes, from), out = place(bytes, to);
      for (uint32_t i = 0; i < bytes; i++) in.memory[i] = uint8_t(i * 7 + from);
      const auto state = run(q, {job(testing::copy_stream(0, 1, bytes), {in.va, out.va})}, ++point);
      EXPECT_EQ(state.fault.status, unsigned{NPU_STATUS_OK});
      EXPECT_EQ(std::memcmp(in.memory, out.memory, bytes), 0) << from << " to " << to;
      EXPECT_EQ(out.memory[bytes], 0);
    }
  }
}

TEST_F(BackendTest, LargeBuffersAcrossBlocksArriveWhole) {
  const uint32_t chunk = 1 << 20;
  const uint64_t size = 9 * uint64_t{chunk};
  Placed in = place(size, DRM_NPU_PLACEMENT_HOST), out = place(size, DRM_NPU_PLACEMENT_CARD);
  for (uint64_t i = 0; i < size; i++) in.memory[i] = uint8_t(i >> 12 ^ i);
  arch::StreamBuilder builder;
  for (uint64_t at = 0; at < size; at += chunk) {
    npu_command_dma load = testing::transfer(NPU_OP_LOAD, 0, at, 0, chunk);
    load.header.wait[0] = arch::encode_wait(NPU_ENGINE_STORE, builder.count(NPU_ENGINE_STORE));
    const uint32_t loaded = builder.append(load);
    npu_command_dma store = testing::transfer(NPU_OP_STORE, 1, at, 0, chunk);
    store.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, loaded);
    builder.append(store);
  }
  const auto state = run(queue(), {job(builder.bytes(), {in.va, out.va})}, 1);
  EXPECT_EQ(state.fault.status, unsigned{NPU_STATUS_OK}) << state.fault.command;
  EXPECT_EQ(std::memcmp(in.memory, out.memory, size), 0);
}

TEST_F(BackendTest, JobsOfASubmitRunInOrder) {
  const uint32_t bytes = 64;
  Placed a = place(bytes, DRM_NPU_PLACEMENT_HOST), b = place(bytes, DRM_NPU_PLACEMENT_CARD),
         c = place(bytes, DRM_NPU_PLACEMENT_HOST);
  a.memory[3] = 77;
  const auto state = run(queue(),
                         {job(testing::copy_stream(0, 1, bytes), {a.va, b.va}),
                          job(testing::copy_stream(0, 1, bytes), {b.va, c.va})},
                         1);
  EXPECT_EQ(state.jobs_completed, 2u);
  EXPECT_EQ(c.memory[3], 77);
}

TEST_F(BackendTest, ManySubmitsMoreThanARingHolds) {
  const uint32_t q = queue();
  Placed out = place(kPage, DRM_NPU_PLACEMENT_HOST);
  const drm_npu_job j = job(testing::copy_stream(0, 0, 64), {out.va});
  const std::vector<drm_npu_job> jobs(4, j);
  constexpr uint64_t kSubmits = 200;
  for (uint64_t i = 0; i < kSubmits; i++) {
    auto status = backend_->submit(q, jobs, {});
    ASSERT_TRUE(status.ok()) << i << ": " << status.error().text;
  }
  ASSERT_TRUE(wait(q, kSubmits, in_seconds(120)).ok());
  drm_npu_queue_state state = {};
  ASSERT_TRUE(backend_->queue_state(q, state).ok());
  EXPECT_EQ(state.jobs_completed, kSubmits * 4);
  EXPECT_EQ(state.first_failed, 0u);
}

TEST_F(BackendTest, SubmitWaitsForOtherQueues) {
  const uint32_t bytes = 256, first = queue(), second = queue();
  Placed a = place(bytes, DRM_NPU_PLACEMENT_HOST), b = place(bytes, DRM_NPU_PLACEMENT_CARD),
         c = place(bytes, DRM_NPU_PLACEMENT_HOST);
  a.memory[9] = 99;
  const std::vector<drm_npu_job> produce = {job(testing::copy_stream(0, 1, bytes), {a.va, b.va})};
  const std::vector<drm_npu_job> consume = {job(testing::copy_stream(0, 1, bytes), {b.va, c.va})};
  for (uint64_t round = 1; round <= 20; round++) {
    a.memory[0] = uint8_t(round);
    ASSERT_TRUE(backend_->submit(first, produce, {}).ok());
    const Backend::Point produced = {first, round};
    ASSERT_TRUE(backend_->submit(second, consume, {&produced, 1}).ok());
    ASSERT_TRUE(wait(second, round, in_seconds(60)).ok());
    EXPECT_EQ(c.memory[0], uint8_t(round));
  }
}

TEST_F(BackendTest, WaitForAPointThatNothingReachesIsRefused) {
  const uint32_t q = queue();
  const Backend::Point never = {q, 5};
  EXPECT_EQ(wait(q, 5, in_seconds(5)).error().code, NPU_ERROR_INVALID);
  EXPECT_EQ(backend_->submit(q, {}, {}).error().code, NPU_ERROR_INVALID) << "no jobs";
  const std::vector<drm_npu_job> jobs = {job(testing::nop_stream(), {})};
  EXPECT_EQ(backend_->submit(q, jobs, {&never, 1}).error().code, NPU_ERROR_INVALID);
}

TEST_F(BackendTest, MalformedJobsAreRefused) {
  const uint32_t q = queue();
  const drm_npu_job good = job(testing::nop_stream(), {});
  const auto refused = [&](auto change) {
    drm_npu_job bad = good;
    change(bad);
    const auto status = backend_->submit(q, {&bad, 1}, {});
    return status.error().code == NPU_ERROR_INVALID;
  };
  EXPECT_TRUE(refused([](drm_npu_job& j) { j.stream_count = 0; }));
  EXPECT_TRUE(refused([](drm_npu_job& j) { j.stream_count = NPU_MAX_CORES + 1; }));
  EXPECT_TRUE(refused([](drm_npu_job& j) { j.stream_va += 64; }));
  EXPECT_TRUE(refused([](drm_npu_job& j) { j.region_count = 65; }));
  EXPECT_TRUE(refused([](drm_npu_job& j) { j.region_va = 4096; })) << "without regions";
  EXPECT_TRUE(refused([](drm_npu_job& j) { j.profile_va = 4096; })) << "without PROFILE";
  EXPECT_TRUE(refused([](drm_npu_job& j) { j.stream_bytes[0] = 100; }));
  EXPECT_TRUE(refused([](drm_npu_job& j) { j.stream_bytes[5] = 128; }));
  EXPECT_TRUE(refused([](drm_npu_job& j) { j.flags = 1u << 31; }));
  EXPECT_TRUE(refused([](drm_npu_job& j) { j.core_mask = 1u << 31; }));
}

TEST_F(BackendTest, FaultNamesAddressAndCommandAndEndsOnlyItsSubmit) {
  const uint32_t bytes = 128, q = queue();
  Placed in = place(bytes, DRM_NPU_PLACEMENT_HOST), out = place(bytes, DRM_NPU_PLACEMENT_HOST);
  in.memory[0] = 11;
  const uint64_t stray = next_va_ + 64 * kPage;
  const drm_npu_job good = job(testing::copy_stream(0, 1, bytes), {in.va, out.va});
  const auto state =
      run(q, {good, job(testing::copy_stream(0, 1, bytes), {in.va, stray}), good}, 1);
  EXPECT_EQ(state.fault.status, unsigned{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(state.fault.address, stray);
  EXPECT_EQ(state.fault.access, unsigned{NPU_ACCESS_WRITE});
  EXPECT_EQ(state.fault.engine, unsigned{NPU_ENGINE_STORE});
  EXPECT_EQ(state.fault.command, 1u);
  EXPECT_EQ(state.fault.job, 1u);
  EXPECT_EQ(state.first_failed, 2u);
  EXPECT_EQ(state.jobs_completed, 3u) << "the third is skipped, but over";
  in.memory[0] = 12;
  const auto after = run(q, {good}, 2);
  EXPECT_EQ(out.memory[0], 12) << "the queue goes on";
  EXPECT_EQ(after.first_failed, 2u);
}

TEST_F(BackendTest, ReadOnlyBindingsCannotBeWritten) {
  const uint32_t bytes = 128;
  Placed in = place(bytes, DRM_NPU_PLACEMENT_HOST),
         out = place(bytes, DRM_NPU_PLACEMENT_HOST, true);
  const auto state = run(queue(), {job(testing::copy_stream(0, 1, bytes), {in.va, out.va})}, 1);
  EXPECT_EQ(state.fault.status, unsigned{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(state.fault.access, unsigned{NPU_ACCESS_WRITE});
}

TEST_F(BackendTest, UnboundMemoryIsOutOfReachAtOnce) {
  const uint32_t bytes = 128, q = queue();
  Placed in = place(bytes, DRM_NPU_PLACEMENT_HOST), out = place(bytes, DRM_NPU_PLACEMENT_HOST);
  const drm_npu_job copy = job(testing::copy_stream(0, 1, bytes), {in.va, out.va});
  EXPECT_EQ(run(q, {copy}, 1).fault.status, unsigned{NPU_STATUS_OK});  // fills the TLB
  ASSERT_TRUE(backend_->unbind(out.va, out.size).ok());
  EXPECT_EQ(run(q, {copy}, 2).fault.status, unsigned{NPU_STATUS_MMU_FAULT});
  ASSERT_TRUE(backend_->bind(out.handle, 0, out.va, out.size, false).ok());
  in.memory[0] = 5;
  run(q, {copy}, 3);
  EXPECT_EQ(out.memory[0], 5);
}

TEST_F(BackendTest, CycleLimitEndsAJob) {
  Backend::QueueOptions options;
  options.cycle_limit = 100;
  Placed in = place(1 << 20, DRM_NPU_PLACEMENT_HOST), out = place(1 << 20, DRM_NPU_PLACEMENT_HOST);
  const auto state =
      run(queue(options), {job(testing::copy_stream(0, 1, 1 << 20), {in.va, out.va})}, 1);
  EXPECT_EQ(state.fault.status, unsigned{NPU_STATUS_BUDGET});
}

TEST_F(BackendTest, BadCommandIsReported) {
  std::vector<std::byte> stream = testing::nop_stream();
  stream[1] = std::byte{0xff};  // opcode
  const auto state = run(queue(), {job(stream, {})}, 1);
  EXPECT_EQ(state.fault.status, unsigned{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(state.fault.command, 0u);
}

TEST_F(BackendTest, WaitExpiresAndCancelsNothing) {
  const uint32_t q = queue(), other = queue();
  Placed buffer = place(4 << 20, DRM_NPU_PLACEMENT_HOST);
  const drm_npu_job j = job(testing::copy_stream(0, 0, 1 << 20), {buffer.va});
  const std::vector<drm_npu_job> jobs(16, j);
  for (int i = 0; i < 8; i++) ASSERT_TRUE(backend_->submit(q, jobs, {}).ok());
  EXPECT_EQ(wait(q, 8, 0).error().code, NPU_ERROR_TIMEOUT) << "deadline 0 polls";
  const uint64_t before = now_ns();
  const auto status = wait(q, 8, before + 1000000);
  if (!status.ok()) {
    EXPECT_EQ(status.error().code, NPU_ERROR_TIMEOUT);
    EXPECT_GE(now_ns(), before + 1000000);
  }
  EXPECT_TRUE(wait(q, 8, in_seconds(120)).ok());
  EXPECT_TRUE(wait(q, 8, 0).ok()) << "what is over is over";
  EXPECT_TRUE(wait(other, 0, 0).ok()) << "point 0 has always been reached";
}

TEST_F(BackendTest, WaitAnyTellsWhich) {
  const uint32_t a = queue(), b = queue();
  const std::vector<drm_npu_job> jobs = {job(testing::nop_stream(), {})};
  ASSERT_TRUE(backend_->submit(b, jobs, {}).ok());
  ASSERT_TRUE(wait(b, 1, in_seconds(60)).ok());
  ASSERT_TRUE(backend_->submit(a, jobs, {}).ok());
  const Backend::Point points[] = {{a, 1}, {b, 1}};
  auto first = backend_->wait(points, true, in_seconds(60));
  ASSERT_TRUE(first.ok());
  EXPECT_LE(*first, 1u);
  EXPECT_TRUE(backend_->wait(points, false, in_seconds(60)).ok());
}

TEST_F(BackendTest, ExportedFencePollsReadable) {
  const uint32_t q = queue();
  const std::vector<drm_npu_job> jobs = {job(testing::nop_stream(), {})};
  ASSERT_TRUE(backend_->submit(q, jobs, {}).ok());
  auto fd = backend_->export_point({q, 1});
  ASSERT_TRUE(fd.ok()) << fd.error().text;
  pollfd entry = {*fd, POLLIN, 0};
  EXPECT_EQ(poll(&entry, 1, 60000), 1);
  close(*fd);
  auto past = backend_->export_point({q, 1});
  ASSERT_TRUE(past.ok());
  entry.fd = *past;
  EXPECT_EQ(poll(&entry, 1, 60000), 1);
  close(*past);
}

TEST_F(BackendTest, HostMemoryIsSharedByExportAndImport) {
  Placed a = place(2 * kPage, DRM_NPU_PLACEMENT_HOST);
  a.memory[kPage] = 42;
  auto fd = backend_->export_buffer(a.handle);
  ASSERT_TRUE(fd.ok()) << fd.error().text;
  const char* node = std::getenv("NPU_TEST_NODE");
  auto other = node != nullptr ? open_drm(node) : open_sim({*arch::find_target("card")});
  ASSERT_TRUE(other.ok());
  auto imported = (*other)->import_buffer(*fd);
  close(*fd);
  ASSERT_TRUE(imported.ok()) << imported.error().text;
  EXPECT_EQ(imported->size, 2 * kPage);
  auto memory = (*other)->map(imported->handle);
  ASSERT_TRUE(memory.ok()) << memory.error().text;
  EXPECT_EQ(static_cast<uint8_t*>(*memory)[kPage], 42);
  static_cast<uint8_t*>(*memory)[0] = 43;
  EXPECT_EQ(a.memory[0], 43);
  EXPECT_FALSE(backend_->import_buffer(0).ok()) << "standard input is no buffer";
}

TEST_F(BackendTest, DestroyedQueueSignalsEverythingAndLeavesOthersAlone) {
  const uint32_t doomed = queue(), other = queue();
  Placed buffer = place(1 << 20, DRM_NPU_PLACEMENT_HOST);
  const std::vector<drm_npu_job> jobs(32, job(testing::copy_stream(0, 0, 1 << 20), {buffer.va}));
  for (int i = 0; i < 4; i++) ASSERT_TRUE(backend_->submit(doomed, jobs, {}).ok());
  const Backend::Point last = {doomed, 4};
  const std::vector<drm_npu_job> nop = {job(testing::nop_stream(), {})};
  ASSERT_TRUE(backend_->submit(other, nop, {&last, 1}).ok());
  backend_->destroy_queue(doomed);
  EXPECT_TRUE(wait(doomed, 4, in_seconds(60)).ok());
  EXPECT_TRUE(wait(other, 1, in_seconds(60)).ok());
  drm_npu_queue_state state = {};
  EXPECT_FALSE(backend_->queue_state(doomed, state).ok());
}

TEST_F(BackendTest, QueuesRunOutAndComeBack) {
  std::vector<uint32_t> ids;
  for (uint32_t i = 0; i < backend_->caps().max_queues + 1; i++) {
    auto id = backend_->create_queue({});
    if (!id.ok()) {
      EXPECT_EQ(id.error().code, NPU_ERROR_NO_MEMORY) << id.error().text;
      break;
    }
    ids.push_back(*id);
  }
  EXPECT_GE(ids.size(), 1u);
  for (uint32_t id : ids) backend_->destroy_queue(id);
  EXPECT_TRUE(backend_->create_queue({}).ok());
}

TEST_F(BackendTest, SteadyStateSubmitCostsOneDoorbellAndOneInterrupt) {
  const uint32_t q = queue();
  const std::vector<drm_npu_job> jobs = {job(testing::nop_stream(), {})};
  uint64_t point = 0;
  const auto once = [&] {
    ASSERT_TRUE(backend_->submit(q, jobs, {}).ok());
    ASSERT_TRUE(wait(q, ++point, in_seconds(60)).ok());
  };
  once();
  drm_npu_counters before = {}, after = {};
  ASSERT_TRUE(backend_->counters(before).ok());
  for (int i = 0; i < 50; i++) once();
  ASSERT_TRUE(backend_->counters(after).ok());
  EXPECT_EQ(after.device_doorbells - before.device_doorbells, 50u);
  EXPECT_LE(after.device_interrupts - before.device_interrupts, 50u);
  EXPECT_EQ(after.jobs - before.jobs, 50u);
}

TEST_F(BackendTest, ThreadsShareADevice) {
  std::vector<std::thread> threads;
  std::vector<uint32_t> queues;
  Placed in = place(4096, DRM_NPU_PLACEMENT_HOST);
  std::vector<Placed> outs;
  std::vector<drm_npu_job> jobs;
  for (int t = 0; t < 4; t++) {
    queues.push_back(queue());
    outs.push_back(place(4096, DRM_NPU_PLACEMENT_HOST));
    jobs.push_back(job(testing::copy_stream(0, 1, 4096), {in.va, outs[t].va}));
  }
  std::memset(in.memory, 0x3c, 4096);
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 1; i <= 30; i++) {
        EXPECT_TRUE(backend_->submit(queues[t], {&jobs[t], 1}, {}).ok());
        EXPECT_TRUE(wait(queues[t], i, in_seconds(60)).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Placed& out : outs) EXPECT_EQ(std::memcmp(in.memory, out.memory, 4096), 0);
}

// Faults that only the simulator can inject from here.
class SimFaultTest : public BackendTest {
 protected:
  void SetUp() override {
    if (std::getenv("NPU_TEST_NODE") != nullptr) {
      GTEST_SKIP() << "on the kernel driver, faults are injected by the VM tests";
    }
    BackendTest::SetUp();
    model_ = static_cast<SimBackend*>(backend_.get())->model();
  }
  npu_model* model_ = nullptr;
};

TEST_F(SimFaultTest, HungJobIsResetAndTheNextOneIsRight) {
  const uint32_t bytes = 512, q = queue();
  Placed in = place(bytes, DRM_NPU_PLACEMENT_HOST), out = place(bytes, DRM_NPU_PLACEMENT_HOST);
  const drm_npu_job copy = job(testing::copy_stream(0, 1, bytes), {in.va, out.va});
  ASSERT_TRUE(npu_model_inject(model_, NPU_INJECT_HANG, NPU_INJECT_ANY_QUEUE, 0, 1, 0));
  const auto state = run(q, {copy}, 1);
  EXPECT_EQ(state.fault.status, unsigned{NPU_STATUS_HANG});
  EXPECT_EQ(state.health, unsigned{DRM_NPU_QUEUE_GUILTY});
  in.memory[1] = 9;
  run(q, {copy}, 2);
  EXPECT_EQ(out.memory[1], 9);
  drm_npu_counters counters = {};
  ASSERT_TRUE(backend_->counters(counters).ok());
  EXPECT_EQ(counters.core_resets, 1u);
}

TEST_F(SimFaultTest, LostInterruptDelaysNothingForEver) {
  const uint32_t q = queue();
  const std::vector<drm_npu_job> jobs = {job(testing::nop_stream(), {})};
  ASSERT_TRUE(npu_model_inject(model_, NPU_INJECT_LOST_INTERRUPT, NPU_INJECT_ANY_QUEUE, 0, 1, 0));
  ASSERT_TRUE(backend_->submit(q, jobs, {}).ok());
  EXPECT_TRUE(wait(q, 1, in_seconds(10)).ok());
}

TEST_F(SimFaultTest, EccAndDmaErrorsEndTheirJob) {
  const uint32_t q = queue();
  Placed in = place(4096, DRM_NPU_PLACEMENT_CARD), out = place(4096, DRM_NPU_PLACEMENT_HOST);
  const drm_npu_job copy = job(testing::copy_stream(0, 1, 4096), {in.va, out.va});
  ASSERT_TRUE(npu_model_inject(model_, NPU_INJECT_ECC, NPU_INJECT_ANY_QUEUE, 0, 1, 0));
  EXPECT_EQ(run(q, {copy}, 1).fault.status, unsigned{NPU_STATUS_ECC});
  ASSERT_TRUE(npu_model_inject(model_, NPU_INJECT_DMA_ERROR, NPU_INJECT_ANY_QUEUE, 0, 1, 0));
  EXPECT_EQ(run(q, {copy}, 2).fault.status, unsigned{NPU_STATUS_DMA_ERROR});
}

}  // namespace
}  // namespace npu::umd
