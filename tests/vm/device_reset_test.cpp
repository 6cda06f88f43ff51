// SPDX-License-Identifier: MIT
//
// The function is reset under a program that uses libnpu: it is told so, opens
// the device and loads its model again, and goes on in the same process.
// Argument: MODEL.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <libnpu/npu.hpp>
#include <memory>
#include <string>
#include <vector>

namespace {

std::string model;

std::vector<std::byte> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

void reset_function() {
  std::ofstream("/sys/kernel/debug/accel/0000:01:00.0/reset") << "function" << std::flush;
}

struct Session {
  npu::Device device = npu::Device::open("0").value();
  npu::Network network = device.load(read_file(model)).value();
  npu::Queue queue = device.create_queue().value();
  npu::Execution run = npu::Execution::create(device, network).value();

  npu::Result<> infer() {
    for (std::byte& value : run.input(0)) value = std::byte{7};
    if (auto started = run.start(queue); !started) return started.error();
    return run.wait();
  }
  std::vector<std::byte> output() {
    const auto bytes = run.output(0);
    return {bytes.begin(), bytes.end()};
  }
};

TEST(DeviceReset, AProgramOpensAgainAndGoesOn) {
  auto session = std::make_unique<Session>();
  session->infer().value();
  const std::vector<std::byte> expected = session->output();
  for (int round = 0; round < 3; ++round) {
    reset_function();
    // A run or two may still get through.
    npu::Result<> result = session->infer();
    for (int i = 0; i < 10000 && result; ++i) result = session->infer();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, NPU_ERROR_DEVICE_RESET) << result.error().text;
    // It stays that way, whatever is asked of the old handle.
    EXPECT_EQ(session->infer().error().code, NPU_ERROR_DEVICE_RESET);
    session.reset();
    session = std::make_unique<Session>();
    session->infer().value();
    EXPECT_EQ(session->output(), expected);
  }
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc != 2) {
    std::fprintf(stderr, "usage: device_reset_test MODEL\n");
    return 2;
  }
  model = argv[1];
  return RUN_ALL_TESTS();
}
