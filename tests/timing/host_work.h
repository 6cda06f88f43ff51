// SPDX-License-Identifier: MIT
//
// What checking and timing a job that the card has not seen takes this machine,
// as counts, which are the same everywhere. npu-bench timing tells the seconds.
#ifndef NPU_TESTS_TIMING_HOST_WORK_H_
#define NPU_TESTS_TIMING_HOST_WORK_H_

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "npu/target.h"

namespace npu::testing {

// Fails if the job is not valid, or takes more than the limits that keep it
// above a million commands per second; docs/timing.md names them.
void expect_little_work(const std::string& name, std::vector<std::span<const std::byte>> streams,
                        const npu_target& target);

}  // namespace npu::testing

#endif  // NPU_TESTS_TIMING_HOST_WORK_H_
