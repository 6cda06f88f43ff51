// SPDX-License-Identifier: MIT
//
// What the cases are written with: a card behind the front end at hand, packets
// to it, and the effects that are expected of them.
#ifndef NPU_TESTS_CARD_SUITE_H_
#define NPU_TESTS_CARD_SUITE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <iosfwd>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "arch/stream.h"
#include "arch/test_commands.h"
#include "front_end.h"
#include "testing/card_driver.h"

namespace npu::card {

using arch::StreamBuilder;
using model::testing::CardDriver;
using model::testing::JobSpace;
using model::testing::ResetKind;
namespace packets = model::testing;

// What the outside sees of some packets: how far counters moved, what arrived.
struct Effects {
  uint32_t doorbells = 0;
  uint32_t packets = 0;
  uint32_t jobs = 0;
  uint32_t faults = 0;
  uint32_t interrupts = 0;
  std::map<unsigned, unsigned> messages = {};  // by vector; none is not listed
  std::vector<uint32_t> events = {};           // types, in order

  bool operator==(const Effects&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Effects& effects);

class CardTest : public testing::TestWithParam<FrontEnd> {
 protected:
  static constexpr uint32_t kQueue = 1;
  static constexpr uint16_t kAsid = 1;
  static constexpr uint64_t kDataBytes = 128 << 10;
  static constexpr uint64_t kHalf = kDataBytes / 2;
  static constexpr uint64_t kNowhere = 1ull << 40;  // nothing answers there

  void SetUp() override;

  // A card with its tables. A test that needs the card to work on its own asks
  // for `background` before anything else.
  void open(bool background = false);
  CardDriver& card() { return *card_; }
  CardPort& port() { return *port_; }
  // Queues 0 and kQueue started, an address space, region 0 of kDataBytes.
  void start(npu_memory data = NPU_MEMORY_CARD);
  JobSpace& space() { return *space_; }

  template <typename T>
  npu_completion submit(const T& packet) {
    return card().submit(kQueue, packet);
  }
  npu_completion run(const StreamBuilder& stream, uint8_t flags = 0) {
    return submit(space().packet(stream.bytes(), flags));
  }
  // LOADs from offset 0, STOREs at kHalf.
  static StreamBuilder copy_stream(uint32_t bytes = 4096);
  // Works for seconds, unless it is stopped.
  static StreamBuilder long_stream();
  void fill_data(uint8_t seed);

  void stop_queue(uint32_t queue) { card().command(queue, NPU_QUEUE_CMD_STOP); }
  uint32_t state(uint32_t queue) { return card().queue_reg(queue, NPU_QUEUE_STATE); }
  // Arms a fault through page 2.
  void inject(npu_inject_kind kind, uint32_t queue = NPU_INJECT_ANY_QUEUE, uint64_t argument = 0,
              uint32_t count = 1, uint32_t skip = 0);
  // The first job of kQueue executes commands, and will for a while.
  void wait_until_running();

  // Since the last call, or since the start.
  Effects effects();
  void expect_effects(Effects expected);
  // The events that effects() has seen last.
  const std::vector<npu_event>& events() const { return events_; }

 private:
  Effects counters();

  std::unique_ptr<CardPort> port_;
  std::unique_ptr<CardDriver> card_;
  std::unique_ptr<JobSpace> space_;
  Effects before_;
  std::vector<npu_event> events_;
};

}  // namespace npu::card

#define NPU_CARD_SUITE(suite)                                            \
  INSTANTIATE_TEST_SUITE_P(Card, suite, testing::ValuesIn(front_ends()), \
                           [](const auto& info) { return info.param.name; })

#endif  // NPU_TESTS_CARD_SUITE_H_
