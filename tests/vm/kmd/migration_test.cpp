// SPDX-License-Identifier: MIT
//
// What runs on the card while tests/vm/migrate.sh moves the machine.
#include <gtest/gtest.h>
#include <unistd.h>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

// Jobs of about a second each, from card memory to card memory, one after
// another, until the script says that it is enough.
TEST(Migration, LongJobsAllAlong) {
  Device device;
  LookupJob lookup(device, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 16000);
  uint8_t key = 0;
  do {
    ASSERT_EQ(lookup.run_checked(++key), 0);
  } while (access("/tmp/enough", F_OK) != 0);
}

}  // namespace
}  // namespace kmd
