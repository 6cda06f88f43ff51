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
#include <utility>
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
  explicit Prepared(JobBytes of) : bytes(std::move(of)) {}

  JobBytes bytes;
  arch::StreamError error;  // status OK: valid
  std::vector<arch::Stream> streams;
  bool timed = false;
  arch::JobTiming timing;
  std::vector<npu_profile_command> trace;  // stream order, core by core
  std::vector<size_t> trace_begin;         // of each core

  // Retirement time of a command, in cycles from job start.
  uint64_t retired_at(unsigned core, uint32_t command) const;
};

// The work, in slices: full-length streams can take seconds to check, hostile
// ones minutes.
class Preparation {
 public:
  Preparation(JobBytes bytes, const npu_target& target, bool timed);

  // Goes on for about so much host time; true once done.
  bool run(uint64_t nanoseconds);
  const JobBytes& bytes() const { return prepared_->bytes; }
  // Once, after run() has returned true.
  std::shared_ptr<const Prepared> finish();

 private:
  std::shared_ptr<Prepared> prepared_;
  arch::JobCheck check_;
  const bool timed_;
};

class PreparedCache {
 public:
  PreparedCache(const npu_target& target, bool timed) : target_(target), timed_(timed) {}

  // Null if these bytes are not known.
  std::shared_ptr<const Prepared> find(const JobBytes& bytes);
  std::unique_ptr<Preparation> begin(JobBytes bytes) const {
    return std::make_unique<Preparation>(std::move(bytes), target_, timed_);
  }
  void keep(const std::shared_ptr<const Prepared>& prepared);
  // find, or all of the work at once.
  std::shared_ptr<const Prepared> prepare(JobBytes bytes);
  void clear() { entries_.clear(), bytes_held_ = 0; }

 private:
  static constexpr size_t kMaxEntries = 16;
  static constexpr size_t kMaxBytes = 32u << 20;  // of streams; the rest is in proportion

  const npu_target& target_;
  const bool timed_;
  std::list<std::shared_ptr<const Prepared>> entries_;  // most recent first
  size_t bytes_held_ = 0;
};

}  // namespace npu::model

#endif  // NPU_MODEL_PREPARED_H_
