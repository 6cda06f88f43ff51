// SPDX-License-Identifier: MIT
//
// A job's streams, decoded, checked and timed. That work depends on nothing
// but the bytes of the streams and on which memory the regions lie in, so the
// results of recent jobs are kept: a model that is run again costs a compare.
#ifndef NPU_MODEL_PREPARED_H_
#define NPU_MODEL_PREPARED_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "arch/job_check.h"
#include "arch/stream.h"
#include "arch/timing.h"
#include "npu/target.h"

namespace npu::model {

// The bytes as fetched from memory: they are read once, here.
struct JobBytes {
  std::vector<std::vector<std::byte>> streams;
  std::vector<arch::External> regions;
  arch::External commands = arch::External::kCard;
};

struct Prepared {
  JobBytes bytes;
  // What follows is empty until the check is done.
  arch::StreamError error;  // status OK: valid
  std::vector<arch::Stream> streams;
  bool timed = false;
  arch::JobTiming timing;
  std::vector<npu_profile_command> trace;     // stream order, core by core
  std::vector<size_t> trace_begin;            // of each core
  std::vector<std::vector<uint32_t>> yields;  // commands of each core
  // What the job moves alone, in windows of time one after another.
  struct Traffic {
    uint64_t bytes[2] = {};  // by npu_memory
  };
  std::vector<Traffic> traffic;
  uint64_t window_cycles = 1;

  // Retirement time of a command, in cycles from job start.
  uint64_t retired_at(unsigned core, uint32_t command) const;
  // Whether all cores have a YIELD of this number; then: bytes in the save area if the job is
  // put aside there, and when the first core comes to it.
  bool all_yield(size_t number) const;
  uint64_t save_bytes(size_t number) const;
  uint64_t yields_at(size_t number) const;
};

// A check under way, in slices of host time.
class Preparation {
 public:
  Preparation(JobBytes bytes, const npu_target& target, bool timed);

  // Goes on for about `nanoseconds`. True once result() is complete.
  bool run(uint64_t nanoseconds);
  const JobBytes& bytes() const { return result_->bytes; }
  std::shared_ptr<const Prepared> result() const { return result_; }

 private:
  void take_result();
  bool spread_traffic(uint64_t nanoseconds);
  void spread(uint64_t from, uint64_t to, uint64_t bytes, unsigned memory);

  std::shared_ptr<Prepared> result_;  // before check_, which refers to its bytes
  std::unique_ptr<arch::JobCheck> check_;
  const npu_target& target_;
  const bool timed_;
  bool checked_ = false;
  unsigned core_ = 0;  // of the next command whose traffic is to be spread
  uint32_t command_ = 0;
  uint64_t rest_[2] = {};  // bytes that belong to no command, by npu_memory
};

class PreparedCache {
 public:
  std::shared_ptr<const Prepared> find(const JobBytes& bytes);
  void add(std::shared_ptr<const Prepared> prepared);

 private:
  static constexpr size_t kMaxEntries = 16;
  static constexpr size_t kMaxBytes = 32u << 20;  // of streams; the rest is in proportion

  std::list<std::shared_ptr<const Prepared>> entries_;  // most recent first
  size_t bytes_held_ = 0;
};

}  // namespace npu::model

#endif  // NPU_MODEL_PREPARED_H_
