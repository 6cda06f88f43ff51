// SPDX-License-Identifier: MIT
#include "card_script.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  npu::fuzz::Ledger ledger;
  npu::fuzz::play_card_script(data, size, &ledger);
  return 0;
}
