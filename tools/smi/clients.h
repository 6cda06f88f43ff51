// SPDX-License-Identifier: MIT
//
// Who uses the cards: the DRM usage statistics of /proc/PID/fdinfo.
#ifndef NPU_TOOLS_SMI_CLIENTS_H_
#define NPU_TOOLS_SMI_CLIENTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace npu::tools {

// One open file of a device. A number that the driver does not tell is missing.
struct Client {
  int pid = 0;
  std::string name;  // of the process
  std::string bdf;   // of the device
  uint64_t id = 0;
  std::optional<uint64_t> busy_ns;            // of the card's engine, since the file was opened
  std::optional<uint64_t> cycles;             // modelled
  std::optional<uint64_t> memory_bytes;       // of all its buffers
  std::optional<uint64_t> card_memory_bytes;  // of those in card memory
};

// Clients of driver "npu" that the caller may see, each once, by device and pid.
std::vector<Client> find_clients(const std::string& proc);

// One fdinfo file; false if it is no client of the driver.
bool parse_fdinfo(const std::string& text, Client& client);

}  // namespace npu::tools

#endif  // NPU_TOOLS_SMI_CLIENTS_H_
