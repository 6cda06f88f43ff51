// SPDX-License-Identifier: MIT
//
// Calls of the kernel per inference, counted: this program's ioctl() stands in
// front of libc's for libdrm, too. The simulator makes none.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xf86drm.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <libnpu/npu.hpp>
#include <map>

#include "drm/npu_accel.h"
#include "npu/compiled_model.h"
#include "testing/streams.h"

namespace {

// By command number; only those of DRM nodes have this type.
std::atomic<unsigned> calls[256];

}  // namespace

extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  if (_IOC_TYPE(request) == DRM_IOCTL_BASE) calls[_IOC_NR(request)]++;
  return static_cast<int>(syscall(SYS_ioctl, fd, request, argument));
}

namespace npu {
namespace {

using namespace std::chrono_literals;
using Counts = std::map<unsigned, unsigned>;  // command number -> calls

constexpr unsigned kRuns = 20;
constexpr unsigned kSubmit = _IOC_NR(DRM_IOCTL_NPU_SUBMIT);
constexpr unsigned kState = _IOC_NR(DRM_IOCTL_NPU_QUEUE_STATE);
constexpr unsigned kWait = _IOC_NR(DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT);
constexpr unsigned kQuery = _IOC_NR(DRM_IOCTL_SYNCOBJ_QUERY);

class IoctlTest : public ::testing::Test {
 protected:
  IoctlTest()
      : selector_(std::getenv("NPU_TEST_DEVICE")),
        device_(Device::open(selector_ != nullptr ? selector_ : "sim:card").value()) {
    const npu_device_info info = device_.info().value();
    std::memcpy(&target_, info.target, sizeof target_);
    model_ = umd::testing::copy_model(target_, 4096, 3);
  }
  // Compares the calls that `body` makes: what the kernel driver is asked,
  // which the simulator is not.
  template <typename F>
  void expect_calls(const Counts& expected, F&& body) {
    for (auto& count : calls) count = 0;
    body();
    Counts made;
    for (unsigned i = 0; i < 256; i++) {
      if (calls[i] != 0) made[i] = calls[i];
    }
    EXPECT_EQ(made, selector_ != nullptr ? expected : Counts{});
  }

  const char* const selector_;
  Device device_;
  npu_target target_;
  umd::ModelDescription model_;
};

TEST_F(IoctlTest, AnInferenceIsASubmitAndAWait) {
  const Network network = device_.load(umd::write_model(model_)).value();
  const Queue queue = device_.create_queue().value();
  Execution run = Execution::create(device_, network).value();
  run.start(queue).value();  // allocates the network's scratch memory
  run.wait(after(60s)).value();
  expect_calls({{kSubmit, kRuns}, {kWait, kRuns}}, [&] {
    for (unsigned i = 0; i < kRuns; i++) {
      const npu_fence fence = run.start(queue).value();
      device_.wait(fence, after(60s)).value();
      run.wait(after(60s)).value();  // its end is known by now
    }
  });
}

TEST_F(IoctlTest, OneWaitIsForAllRunsBeforeIt) {
  const Network network = device_.load(umd::write_model(model_)).value();
  const Queue queue = device_.create_queue().value();
  std::vector<Execution> runs;
  for (unsigned i = 0; i < kRuns; i++) runs.push_back(Execution::create(device_, network).value());
  runs[0].start(queue).value();
  runs[0].wait(after(60s)).value();
  expect_calls({{kSubmit, kRuns}, {kWait, 1}}, [&] {
    for (Execution& run : runs) run.start(queue).value();
    for (unsigned i = kRuns; i-- > 0;) runs[i].wait(after(60s)).value();
  });
}

TEST_F(IoctlTest, AProfiledRunAndAFullQueueAskOnceMore) {
  const Network network = device_.load(umd::write_model(model_)).value();
  npu_queue_desc desc = {};
  desc.depth = 1;
  const Queue queue = device_.create_queue(desc).value();
  Execution profiled = Execution::create(device_, network, NPU_RUN_PROFILE).value();
  Execution plain = Execution::create(device_, network).value();
  plain.start(queue).value();
  plain.wait(after(60s)).value();
  expect_calls({{kSubmit, 1}, {kWait, 1}, {kState, 1}}, [&] {
    profiled.start(queue).value();
    profiled.wait(after(60s)).value();
  });
  npu_fence fence = plain.start(queue).value();
  int fd = -1;
  ASSERT_EQ(npu_fence_export(device_.get(), fence, &fd), NPU_OK);
  pollfd entry = {fd, POLLIN, 0};
  ASSERT_EQ(::poll(&entry, 1, 60000), 1);
  close(fd);
  expect_calls({{kSubmit, 1}, {kQuery, 1}}, [&] { fence = plain.start(queue).value(); });
  device_.wait(fence, after(60s)).value();
}

TEST_F(IoctlTest, AFailureAsksForItsCauseOnce) {
  arch::StreamBuilder builder;
  builder.append(umd::testing::transfer(NPU_OP_LOAD, NPU_REGION_TENSORS, uint64_t{1} << 45, 0, 64));
  model_.jobs[1].streams[0] = builder.bytes();
  const Network bad = device_.load(umd::write_model(model_), NPU_NETWORK_UNCHECKED).value();
  const Queue queue = device_.create_queue().value();
  Execution run = Execution::create(device_, bad).value();
  Execution other = Execution::create(device_, bad).value();
  run.start(queue).value();
  other.start(queue).value();
  expect_calls({{kWait, 1}, {kState, 1}},
               [&] { EXPECT_EQ(run.wait(after(60s)).code(), NPU_ERROR_JOB_FAULT); });
  EXPECT_EQ(other.wait(after(60s)).code(), NPU_ERROR_QUEUE_POISONED);
}

}  // namespace
}  // namespace npu
