// SPDX-License-Identifier: MIT
//
// What is left behind when a job fails: a coredump that names it, a line in the
// kernel's log, the fault record, and WEDGED events.
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

std::string dump_path() {
  return first_match("/sys/class/devcoredump/devcd*/data");
}

std::string wait_for_dump() {
  for (int i = 0; i < 500 && dump_path().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return dump_path();
}

std::string output_of(const std::string& command) {
  std::string text;
  std::array<char, 4096> chunk;
  FILE* pipe = popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  if (pipe == nullptr) return text;
  while (const size_t got = fread(chunk.data(), 1, chunk.size(), pipe))
    text.append(chunk.data(), got);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return text;
}

void expect_lines(const std::string& text, std::initializer_list<std::string> lines) {
  for (const std::string& line : lines)
    EXPECT_NE(text.find(line), std::string::npos) << "no '" << line << "' in\n" << text;
}

class Explain : public testing::Test {
 protected:
  void SetUp() override { discard_dumps(); }
  void TearDown() override {
    inject("kind=clear");
    discard_dumps();
  }

  // Any write deletes a dump; until then new ones are dropped.
  void discard_dumps() {
    for (int i = 0; i < 50 && !dump_path().empty(); ++i) {
      write_file(dump_path(), "1");
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  // The dump as the program shows it.
  std::string dump() {
    const std::string path = wait_for_dump();
    EXPECT_FALSE(path.empty()) << "no coredump";
    return path.empty() ? "" : output_of("npu-objdump --coredump " + path);
  }
  std::string process() { return "kmd_test[" + std::to_string(getpid()) + "]"; }

  Device device_;
};

TEST_F(Explain, PageFault) {
  LookupJob lookup(device_, 4096, 1, DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(lookup.run_checked(1), 0);
  lookup.regions()[kOutput] = 0x6666'0000'0000;
  const drm_npu_job job = lookup.job();
  ASSERT_EQ(device_.run(lookup.queue(), {&job, 1}), -EFAULT);
  expect_lines(
      dump(),
      {"reason       a job failed\n", "process      " + process() + "\n",
       "queue        " + std::to_string(lookup.queue()) + ", address space ", "job          1\n",
       "status       MMU_FAULT\n", "command      3 of core 0, operator 0\n", "engine       STORE\n",
       "address      0x666600000000\n", "access       write\n", "region       region 1 + 0x0\n",
       "level 3, entry 204   0x0000000000000000  nothing is mapped here\n", "\n>      3  STORE ",
       "  1  0x666600000000\n", "-> MMU_FAULT, ", "CONTROL                  0x1  ENABLE\n"});
}

// The leaf is there, but not for this access.
TEST_F(Explain, WriteToReadOnlyPage) {
  LookupJob lookup(device_, 4096, 1);
  constexpr uint64_t kVa = 0x7000'0000;
  ASSERT_EQ(device_.map(lookup.vm(), lookup.output().handle(), kVa, 4096, 0, DRM_NPU_BIND_READONLY),
            0);
  lookup.regions()[kOutput] = kVa;
  const drm_npu_job job = lookup.job();
  ASSERT_EQ(device_.run(lookup.queue(), {&job, 1}), -EFAULT);
  expect_lines(dump(), {"status       MMU_FAULT\n", "page walk of 0x70000000\n",
                        "level 0, entry 0 ", ", 4 KiB page, read, no write\n"});
}

TEST_F(Explain, Hang) {
  LookupJob lookup(device_, 4096, 1);
  ASSERT_TRUE(inject("kind=hang count=1 arg=2"));
  const drm_npu_job job = lookup.job();
  ASSERT_EQ(device_.run(lookup.queue(), {&job, 1}), -ETIME);
  expect_lines(
      dump(),
      {"process      " + process() + "\n", "job          0\n", "status       HANG\n",
       "command      2 of core 0, operator 0\n", "\n>      2  VEC.LUT ", "-> not completed\n",
       // Registers of before the reset.
       "HUNG\n", "core 0 COMMAND           0x2\n", "STATE             0x", "  RUNNING\n"});
}

TEST_F(Explain, JobOverItsLimit) {
  LookupJob lookup(device_, 60000, 1, DRM_NPU_PLACEMENT_HOST, 1000, 50);
  const drm_npu_job job = lookup.job();
  ASSERT_EQ(device_.run(lookup.queue(), {&job, 1}), -ETIME);
  expect_lines(dump(), {"process      " + process() + "\n", "status       BUDGET\n", "\n>  ",
                        "-> BUDGET, "});
}

// The checker in the program says more than the status does.
TEST_F(Explain, BadCommand) {
  LookupJob lookup(device_, 4096, 1);
  lookup.stream().bytes()[128 + 1] = 0xff;
  const drm_npu_job job = lookup.job();
  ASSERT_EQ(device_.run(lookup.queue(), {&job, 1}), -EINVAL);
  expect_lines(dump(), {"status       BAD_COMMAND\n", "command      1 of core 0",
                        "\n! BAD_COMMAND: command 1 (?, operator 0): opcode 0xff is unknown\n"});
}

TEST_F(Explain, WhatNobodyIsGuiltyOfLeavesNoDump) {
  const uint64_t faults = device_.counters().faults;
  {
    // The queue goes while its job runs: ABORTED.
    LookupJob lookup(device_, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, 4000);
    const drm_npu_job job = lookup.job();
    ASSERT_EQ(device_.submit(lookup.queue(), {&job, 1}), 0);
    ASSERT_TRUE(wait_for_queues(NPU_QUEUE_RUNNING));
  }
  EXPECT_TRUE(wait_for_counts(device_, 0, 0, 0));
  EXPECT_EQ(device_.counters().faults, faults + 1);
  EXPECT_EQ(dump_path(), "");
}

TEST_F(Explain, LastFaultSaysWhere) {
  LookupJob lookup(device_, 4096, 1);
  ASSERT_EQ(lookup.run_checked(1), 0);
  lookup.regions()[kInput] = 0x1234'5678'9000;
  // Source operator of command 1, the LOAD of the input.
  lookup.stream().as<uint32_t>()[(128 + 4) / 4] = 77;
  const drm_npu_job job = lookup.job();
  ASSERT_EQ(device_.run(lookup.queue(), {&job, 1}), -EFAULT);
  const drm_npu_fault fault = device_.last_fault();
  EXPECT_EQ(fault.status, static_cast<uint32_t>(NPU_STATUS_MMU_FAULT));
  EXPECT_EQ(fault.queue_id, lookup.queue());
  EXPECT_EQ(fault.job, 1u);
  EXPECT_EQ(fault.command, 1u);
  EXPECT_EQ(fault.engine, NPU_ENGINE_LOAD);
  EXPECT_EQ(fault.core, 0u);
  EXPECT_EQ(fault.access, NPU_ACCESS_READ);
  EXPECT_EQ(fault.source_op, 77u);
  EXPECT_EQ(fault.address, 0x1234'5678'9000u);
  EXPECT_NE(fault.timebase_ns, 0u);
  // Another file has not failed.
  Device other;
  EXPECT_EQ(other.last_fault().status, 0u);
}

TEST_F(Explain, OneLineOfTheLogPerGuiltyJob) {
  // The limit of ten lines in five seconds is used up by the tests before.
  std::this_thread::sleep_for(std::chrono::seconds(5));
  LookupJob lookup(device_, 4096, 1);
  lookup.regions()[kOutput] = 0x5555'0000'0000;
  const drm_npu_job job = lookup.job();
  const std::array<drm_npu_job, 3> chain = {job, job, job};
  ASSERT_EQ(device_.run(lookup.queue(), chain), -EFAULT);
  const std::string log = output_of("dmesg | grep 'npu .*0x555500000000'");
  expect_lines(log, {process() + ": queue " + std::to_string(lookup.queue()) + " (hardware ",
                     ") job 0: MMU_FAULT, no mapping for this access; STORE of core 0, command 3, "
                     "operator 0, write of 0x555500000000\n"});
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << "the skipped ones are not the news\n"
                                                         << log;
}

// ---- WEDGED ----

class Uevents {
 public:
  Uevents() : fd_(socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT)) {
    sockaddr_nl address = {};
    address.nl_family = AF_NETLINK;
    address.nl_groups = 1;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~Uevents() { close(fd_); }

  // The next event with WEDGED=, its strings one a line; empty after `seconds`.
  std::string next_wedged(int seconds) {
    for (;;) {
      pollfd item = {.fd = fd_, .events = POLLIN, .revents = 0};
      if (poll(&item, 1, seconds * 1000) != 1) return "";
      std::array<char, 8192> buffer;
      const ssize_t got = recv(fd_, buffer.data(), buffer.size(), 0);
      if (got <= 0) return "";
      std::string text(buffer.data(), static_cast<size_t>(got));
      std::replace(text.begin(), text.end(), '\0', '\n');
      if (text.find("WEDGED=") != std::string::npos) return text;
    }
  }

 private:
  int fd_;
};

TEST_F(Explain, CardResetIsAnEventAndADump) {
  Uevents events;
  ASSERT_TRUE(write_file(first_match("/sys/kernel/debug/accel/*:*/reset"), "card"));
  expect_lines(events.next_wedged(5),
               {"change@/devices/", "SUBSYSTEM=accel\n", "DEVNAME=accel/accel", "WEDGED=none\n"});
  expect_lines(dump(), {"reason       the card was about to be reset\n", "CONTROL  "});
  LookupJob lookup(device_, 4096, 1);
  EXPECT_EQ(lookup.run_checked(2), 0);
}

// The last one: there is no card after it.
TEST_F(Explain, CardThatIsGoneWantsToBeBoundAnew) {
  Uevents events;
  LookupJob lookup(device_, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, 3000);
  const drm_npu_job job = lookup.job();
  const drm_npu_sync done = {.handle = device_.create_syncobj(), .flags = 0, .point = 0};
  ASSERT_EQ(device_.submit(lookup.queue(), {&job, 1}, {}, {&done, 1}), 0);
  ASSERT_TRUE(inject("kind=gone"));
  expect_lines(events.next_wedged(20), {"SUBSYSTEM=accel\n", "WEDGED=rebind\n"});
  ASSERT_EQ(device_.wait_syncobj(done.handle), 0);
  EXPECT_EQ(device_.fence_status(done.handle), -ENODEV);
  // Not what reads of an empty slot return.
  drm_npu_telemetry telemetry = {};
  drm_npu_dev_query query = {.type = DRM_NPU_QUERY_TELEMETRY,
                             .size = sizeof telemetry,
                             .pointer = reinterpret_cast<uintptr_t>(&telemetry)};
  EXPECT_EQ(device_.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &query), -ENODEV);
}

}  // namespace
}  // namespace kmd
