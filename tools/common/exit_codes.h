// SPDX-License-Identifier: MIT
//
// Exit statuses of all programs, the one place that defines and documents them.
// --help, man pages and docs/tools.md show this table.
#ifndef NPU_TOOLS_EXIT_CODES_H_
#define NPU_TOOLS_EXIT_CODES_H_

namespace npu::tools {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,
  kExitUsage = 2,
  kExitUnsupported = 3,
  kExitPermission = 4,
  kExitNoDevice = 5,
  kExitDevice = 6,
  kExitVersion = 7,
  kExitTimeout = 8,
  kExitBadInput = 9,
  kExitDegraded = 10,
  kExitFailed = 11,
  kExitMismatch = 12,
  kExitJob = 13,
  kExitWrongTarget = 14,
  kExitInterrupted = 130,
};

struct ExitCodeText {
  ExitCode code;
  const char* text;
};

inline constexpr ExitCodeText kExitCodes[] = {
    {kExitOk, "success"},
    {kExitFailure, "failure that no other status describes, e.g. a file cannot be written"},
    {kExitUsage, "wrong command line"},
    {kExitUnsupported, "the model, device or this build cannot do what was asked for"},
    {kExitPermission, "permission denied"},
    {kExitNoDevice, "no such device"},
    {kExitDevice, "the device was reset or removed, or has failed"},
    {kExitVersion, "driver, library and program do not fit together"},
    {kExitTimeout, "the time limit passed"},
    {kExitBadInput, "an input file is missing, damaged or does not fit the model"},
    {kExitDegraded, "reserved: degraded"},
    {kExitFailed, "reserved: failed"},
    {kExitMismatch, "the results differ from what was expected"},
    {kExitJob, "a job failed on the device"},
    {kExitWrongTarget, "the model was compiled for another card"},
    {kExitInterrupted, "interrupted (Ctrl-C)"},
};

}  // namespace npu::tools

#endif  // NPU_TOOLS_EXIT_CODES_H_
