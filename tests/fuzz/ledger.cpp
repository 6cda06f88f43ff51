// SPDX-License-Identifier: MIT
#include "ledger.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace npu::fuzz {
namespace {

constexpr std::string_view kEnumerations[] = {
    "npu_access",      "npu_engine",        "npu_event_type", "npu_inject_kind",
    "npu_opcode",      "npu_packet_opcode", "npu_pool_kind",  "npu_queue_state",
    "npu_status_code", "npu_vec_function",  "NPU_RESET_KIND", "NPU_CORE_STATE"};
constexpr size_t kValues = 64;

// libFuzzer treats these as it does the counters of branches, by their section.
__attribute__((section("__libfuzzer_extra_counters")))
uint8_t counters[std::size(kEnumerations) * kValues];

}  // namespace

void Ledger::tell_fuzzer(std::string_view enumeration, uint64_t value) {
  const auto* at = std::find(std::begin(kEnumerations), std::end(kEnumerations), enumeration);
  const auto index =
      static_cast<size_t>(at - std::begin(kEnumerations)) * kValues + value % kValues;
  if (index < std::size(counters)) counters[index] = 1;
}

}  // namespace npu::fuzz
