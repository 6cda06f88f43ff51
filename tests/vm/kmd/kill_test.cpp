// SPDX-License-Identifier: MIT
//
// kill -9 at random moments under mixed load. The kernel's tracer says where in
// the driver each one struck: some inside each of SUBMIT, VM_BIND, an eviction
// and a reset. Others' results stay right, and nothing is left over.
//
// NPU_KILLS: how many, default 100. NPU_KILL_SEED: of the moments.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "device.h"
#include "processes.h"
#include "streams.h"

namespace kmd {
namespace {

// What a victim was doing, and the function of the driver that stands for it.
struct Place {
  const char* name;
  const char* function;
  const char* entry;  // in the trace
  const char* end;
};
constexpr Place kPlaces[] = {
    {"submit", "npu_submit_ioctl", " submit: ", " submit_end: "},
    {"bind", "npu_vm_bind_ioctl", " bind: ", " bind_end: "},
    {"evict", "npu_vm_evict_bo", " evict: ", " evict_end: "},
    {"reset", "npu_watchdog_card_reset_now", " reset: ", " reset_end: "},
};
constexpr size_t kPlaceCount = std::size(kPlaces);

// Entries and returns of those functions, and signals, in the order of time.
class Tracer {
 public:
  ~Tracer() {
    write_file(root_ + "tracing_on", "0");
    write_file(root_ + "events/enable", "0");
    write_file(root_ + "kprobe_events", "\n");
  }
  bool start() {
    mkdir(root_.c_str(), 0755);
    mount("tracefs", root_.c_str(), "tracefs", 0, nullptr);
    std::ostringstream probes;
    for (const Place& place : kPlaces)
      probes << "p:npu/" << place.name << " npu:" << place.function << "\nr256:npu/" << place.name
             << "_end npu:" << place.function << "\n";
    return write_file(root_ + "buffer_size_kb", "8") &&
           write_file(root_ + "kprobe_events", probes.str()) &&
           write_file(root_ + "events/signal/signal_generate/filter", "sig==9") &&
           write_file(root_ + "events/signal/signal_generate/enable", "1") &&
           write_file(root_ + "events/npu/enable", "1") && write_file(root_ + "tracing_on", "1");
  }
  // The places that `pid` was in when it was sent its last signal.
  std::vector<size_t> places_of(pid_t pid) const {
    std::istringstream lines(read_file(root_ + "trace"));
    char task[32], target[32];
    snprintf(task, sizeof(task), "-%d ", pid);
    snprintf(target, sizeof(target), " pid=%d ", pid);
    int inside[kPlaceCount] = {};
    std::vector<size_t> found;
    for (std::string line; std::getline(lines, line);) {
      if (line.find(target) != std::string::npos) {
        found.clear();
        for (size_t i = 0; i < kPlaceCount; ++i)
          if (inside[i] > 0) found.push_back(i);
      }
      if (line.find(task) == std::string::npos) continue;
      for (size_t i = 0; i < kPlaceCount; ++i) {
        if (line.find(kPlaces[i].entry) != std::string::npos) ++inside[i];
        // The entry of one that began before the oldest line is not there.
        if (line.find(kPlaces[i].end) != std::string::npos && inside[i] > 0) --inside[i];
      }
    }
    return found;
  }

 private:
  std::string root_ = "/sys/kernel/tracing/";
};

enum Exit { kFine = 0, kWrongResult = 2, kBadError = 3 };

// Errors that a reset beside one may cause.
bool excusable(int ret) {
  return ret == 0 || ret == -ECANCELED || ret == -EBUSY;
}

// What a worker ends with, after one line that says why.
int bad_error(const char* what, int ret) {
  fprintf(stderr, "%d: %s: %s\n", getpid(), what, strerror(-ret));
  return kBadError;
}

int submitter(uint8_t seed) {
  Device device;
  LookupJob lookup(device, 8000, seed, DRM_NPU_PLACEMENT_CARD);
  const std::vector<drm_npu_job> jobs(8, lookup.job());
  for (uint8_t key = seed;; ++key) {
    for (int i = 0; i < 16; ++i)
      if (const int ret = device.submit(lookup.queue(), jobs); !excusable(ret))
        return bad_error("submit", ret);
    const int ret = lookup.run_checked(key);
    if (ret == 1) return kWrongResult;
    if (!excusable(ret)) return bad_error("run", ret);
  }
}

int binder(uint8_t seed) {
  Device device;
  LookupJob lookup(device, 4096, seed);
  Buffer buffer(device, 64 * kPage, DRM_NPU_PLACEMENT_HOST);
  constexpr uint64_t kVa = 0x7000'0000;
  for (uint8_t key = seed;; ++key) {
    for (uint64_t page = 0; page < 64; page += 2)
      if (const int ret =
              device.map(lookup.vm(), buffer.handle(), kVa + page * kPage, kPage, page * kPage))
        return bad_error("map", ret);
    if (const int ret = device.unmap(lookup.vm(), kVa, 64 * kPage)) return bad_error("unmap", ret);
    const int ret = lookup.run_checked(key);
    if (ret == 1) return kWrongResult;
    if (!excusable(ret)) return bad_error("run", ret);
  }
}

// Two of these want more card memory than there is.
int evictor(uint8_t seed) {
  Device device;
  LookupJob lookup(device, 8000, seed, DRM_NPU_PLACEMENT_CARD);
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (int i = 0; i < 5; ++i)
    buffers.push_back(std::make_unique<Buffer>(device, 4 << 20, DRM_NPU_PLACEMENT_CARD));
  constexpr uint64_t kVa = 0x7000'0000;
  for (size_t i = 0; i < buffers.size(); ++i)
    if (const int ret =
            device.map(lookup.vm(), buffers[i]->handle(), kVa + (i << 24), buffers[i]->size()))
      return bad_error("map", ret);
  for (uint8_t key = seed;; ++key) {
    buffers[key % buffers.size()]->bytes()[key * kPage] = key;
    const int ret = lookup.run_checked(key);
    if (ret == 1) return kWrongResult;
    if (!excusable(ret)) return bad_error("run", ret);
  }
}

int resetter() {
  const std::string file = first_match("/sys/kernel/debug/accel/*:*/reset");
  for (;;) {
    if (!write_file(file, "card")) return bad_error("reset", -errno);
    usleep(2000);
  }
}

// Never killed. Its jobs may run again, so that only many resets in a row end one.
int control(std::atomic<bool>* stop, std::atomic<uint32_t>* results) {
  Device device;
  LookupJob lookup(device, 8000, 200, DRM_NPU_PLACEMENT_CARD);
  drm_npu_job job = lookup.job();
  job.flags = DRM_NPU_JOB_RESTARTABLE;
  for (uint8_t key = 0; !*stop; ++key) {
    lookup.prepare(key);
    const int ret = device.run(lookup.queue(), {&job, 1});
    if (ret == -ECANCELED) continue;
    if (ret != 0) return bad_error("run", ret);
    if (!lookup.correct()) return kWrongResult;
    ++*results;
  }
  return testing::Test::HasFailure() ? kBadError : kFine;
}

struct Stage {
  std::atomic<bool> stop = false;
  std::atomic<uint32_t> results = 0;
};

constexpr size_t kWorkers = 7;

pid_t start(size_t worker, uint32_t seed) {
  const auto key = static_cast<uint8_t>(seed);
  return spawn([=] {
    switch (worker) {
      case 0:
      case 1:
        return submitter(key);
      case 2:
      case 3:
        return binder(key);
      case 4:
      case 5:
        return evictor(key);
      default:
        return resetter();
    }
  });
}

uint32_t setting(const char* name, uint32_t otherwise) {
  const char* text = getenv(name);
  return text ? static_cast<uint32_t>(strtoul(text, nullptr, 0)) : otherwise;
}

TEST(Kill, AtRandomMomentsUnderMixedLoad) {
  const uint32_t kills = setting("NPU_KILLS", 100);
  std::mt19937 random(setting("NPU_KILL_SEED", 1));
  Tracer tracer;
  ASSERT_TRUE(tracer.start()) << "this kernel has no kprobe events";
  Shared<Stage> stage;
  const pid_t other = spawn([&] { return control(&stage->stop, &stage->results); });
  pid_t workers[kWorkers];
  for (size_t i = 0; i < kWorkers; ++i) workers[i] = start(i, random());

  uint32_t count = 0, hits[kPlaceCount] = {};
  // More, if one of the places was not hit by then.
  while (count < kills || (count < 10 * kills && *std::ranges::min_element(hits) == 0)) {
    usleep(random() % 60'000);
    const size_t i = random() % kWorkers;
    kill(workers[i], SIGKILL);
    ASSERT_EQ(join(workers[i]), -1) << "worker " << i << " ended by itself after " << count;
    ++count;
    for (const size_t place : tracer.places_of(workers[i])) ++hits[place];
    workers[i] = start(i, random());
  }
  for (const pid_t worker : workers) {
    kill(worker, SIGKILL);
    EXPECT_EQ(join(worker), -1);
  }
  stage->stop = true;
  EXPECT_EQ(join(other), kFine);
  EXPECT_GT(stage->results, count / 10);

  Device device;
  EXPECT_TRUE(wait_for_counts(device, 0, 0, 0));
  EXPECT_EQ(driver_state().find("buffers 0 vms 0 queues 0 fences 0 inflight 0"), 0u)
      << driver_state();
  LookupJob lookup(device, 4096, 5);
  EXPECT_EQ(lookup.run_checked(6), 0);
  printf("%u kills", count);
  for (size_t i = 0; i < kPlaceCount; ++i) {
    printf(", %u in %s", hits[i], kPlaces[i].name);
    EXPECT_GT(hits[i], 0u) << kPlaces[i].function;
  }
  printf("; %u results of the one that was spared\n", stage->results.load());
}

}  // namespace
}  // namespace kmd
