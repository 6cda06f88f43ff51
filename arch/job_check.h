// SPDX-License-Identifier: MIT
//
// Everything there is to check and to time about a job, in slices. A hostile
// gang of full-length streams can take minutes of host time to check; who must
// stay responsive meanwhile, as a card must, uses this instead of calling
// decode_stream, check_deadlock, check_hazards and simulate_job.
#ifndef NPU_ARCH_JOB_CHECK_H_
#define NPU_ARCH_JOB_CHECK_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "arch/stream.h"
#include "arch/timing.h"

namespace npu::arch {

class JobCheck {
 public:
  // `streams`: the bytes of each core's stream. Bytes and target must outlive
  // the check.
  JobCheck(std::vector<std::span<const std::byte>> streams, const npu_target& target);
  ~JobCheck();
  JobCheck(const JobCheck&) = delete;
  JobCheck& operator=(const JobCheck&) = delete;

  // Also simulate a valid job, with a trace. Before the first run().
  void request_timing(std::function<External(unsigned index)> region_memory);

  // Goes on for about `nanoseconds` of host time; the estimate may be off by a
  // small factor, and one command of the hazard check may take some
  // milliseconds. True once done. The result does not depend on the slices.
  bool run(uint64_t nanoseconds);

  // Valid once run() has returned true. `error.status` is NPU_STATUS_OK for a
  // valid job; otherwise streams may be incomplete.
  StreamError error;
  // The quick look did not tell whether there is a hazard, so that the granules of
  // each access were compared, which takes many times longer.
  bool by_granule = false;
  uint64_t compared = 0;  // of that quick look, and
  uint64_t events = 0;    // points in time simulated: most of the work
  std::vector<Stream> streams;
  JobTiming timing;
  std::vector<npu_profile_command> trace;  // stream order, core by core

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace npu::arch

#endif  // NPU_ARCH_JOB_CHECK_H_
