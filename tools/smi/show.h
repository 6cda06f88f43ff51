// SPDX-License-Identifier: MIT
//
// Snapshots as text and as JSON.
#ifndef NPU_TOOLS_SMI_SHOW_H_
#define NPU_TOOLS_SMI_SHOW_H_

#include <string>

#include "tools/common/json_output.h"
#include "tools/smi/snapshot.h"

namespace npu::tools {

// Schema of everything npu-smi writes as JSON. Keys are only ever added.
inline constexpr char kSmiSchema[] = "npu-smi/1";

Json to_json(const Snapshot& snapshot);

// Two rows a device, then the processes.
std::string show_table(const Snapshot& snapshot, const std::string& version);
std::string show_list(const Snapshot& snapshot);
std::string show_info(const Snapshot& snapshot);
std::string show_processes(const Snapshot& snapshot);
// One line per device, for a terminal that scrolls; the header line apart.
std::string stats_header();
std::string show_stats(const Snapshot& snapshot);

}  // namespace npu::tools

#endif  // NPU_TOOLS_SMI_SHOW_H_
