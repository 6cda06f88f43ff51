// SPDX-License-Identifier: MIT
//
// Any bytes as a script of what a driver, its user programs and the host can do
// to the card, through the C ABI. Deterministic; ends soon whatever the script.
#ifndef NPU_TESTS_FUZZ_CARD_SCRIPT_H_
#define NPU_TESTS_FUZZ_CARD_SCRIPT_H_

#include <cstddef>
#include <cstdint>

#include "ledger.h"

namespace npu::fuzz {

// Abort if a promise is broken. `ledger` may be null. The first byte says what
// the others are: a script for a card, or streams for the checks alone.
void play_card_script(const uint8_t* data, size_t size, Ledger* ledger);
void play_stream_script(const uint8_t* data, size_t size, Ledger* ledger);
// Streams of which each word in turn is changed in several ways.
void play_spoilt_streams(const uint8_t* data, size_t size);

}  // namespace npu::fuzz

#endif  // NPU_TESTS_FUZZ_CARD_SCRIPT_H_
