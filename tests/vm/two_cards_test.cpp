// SPDX-License-Identifier: MIT
//
// Two cards of different kinds, used by one process through libnpu.
// Arguments: MODEL for the first card, MODEL for the second.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <libnpu/npu.hpp>
#include <string>
#include <thread>
#include <vector>

namespace {

std::string models[2];

std::vector<std::byte> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

// A network on a device, and what it makes of an input.
class Runner {
 public:
  Runner(const std::string& selector, const std::string& model)
      : device_(npu::Device::open(selector).value()),
        network_(device_.load(read_file(model)).value()),
        queue_(device_.create_queue().value()),
        run_(npu::Execution::create(device_, network_).value()) {}

  void set_input(uint32_t seed) {
    for (std::byte& value : run_.input(0)) {
      seed = seed * 1664525 + 1013904223;
      value = static_cast<std::byte>(seed >> 24);
    }
  }
  void start() { run_.start(queue_).value(); }
  npu::Result<> wait() { return run_.wait(); }
  std::vector<std::byte> output() {
    const auto bytes = run_.output(0);
    return {bytes.begin(), bytes.end()};
  }
  std::vector<std::byte> infer(uint32_t seed) {
    set_input(seed);
    start();
    wait().value();
    return output();
  }

 private:
  npu::Device device_;
  npu::Network network_;
  npu::Queue queue_;
  npu::Execution run_;
};

TEST(TwoCards, BothAreRightAtTheSameTime) {
  Runner cards[] = {{"0", models[0]}, {"1", models[1]}};
  Runner simulators[] = {{"sim:card", models[0]}, {"sim:edge", models[1]}};
  for (uint32_t seed = 0; seed < 40; ++seed) {
    for (Runner& card : cards) {
      card.set_input(seed);
      card.start();
    }
    for (int i : {0, 1}) {
      cards[i].wait().value();
      EXPECT_EQ(cards[i].output(), simulators[i].infer(seed)) << "card " << i << ", " << seed;
    }
  }
}

// One hangs and is reset; the other does not notice.
TEST(TwoCards, WhatHappensToOneIsNothingToTheOther) {
  Runner first("0", models[0]), second("1", models[1]);
  const std::vector<std::byte> expected = second.infer(7);
  std::ofstream("/sys/kernel/debug/accel/0000:01:00.0/inject") << "kind=hang count=1" << std::flush;
  std::atomic<bool> done = false;
  std::thread other([&] {
    do {
      EXPECT_EQ(second.infer(7), expected);
    } while (!done);
  });
  first.set_input(1);
  first.start();
  const auto result = first.wait();
  EXPECT_FALSE(result) << "it was to hang";
  done = true;
  other.join();
  EXPECT_EQ(second.infer(7), expected);
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc != 3) {
    std::fprintf(stderr, "usage: two_cards_test MODEL MODEL\n");
    return 2;
  }
  models[0] = argv[1];
  models[1] = argv[2];
  return RUN_ALL_TESTS();
}
