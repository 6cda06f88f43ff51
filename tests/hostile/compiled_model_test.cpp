// SPDX-License-Identifier: MIT
//
// A compiled model comes from anywhere. Whatever is in it, the library refuses it or runs it, the
// card ends it with a status, and neither crashes, hangs nor touches what is not the model's.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <ctime>
#include <libnpu/npu.hpp>
#include <string>
#include <vector>

#include "arch/target.h"
#include "compiler/compile.h"
#include "compiler/testing/mutations.h"
#include "compiler/testing/random_graph.h"
#include "damage.h"

namespace npu::testing {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kCycleLimit = 3'000'000;
// Beyond, a model is sound but for a machine of another size.
constexpr uint64_t kMostTensorBytes = 16u << 20;
constexpr std::clock_t kMostSeconds = 10;
constexpr std::byte kGuard{0x5c};

// Small, so that hostile sizes meet its limits; streams so short that some networks take several
// jobs.
npu_target small_card() {
  npu_target target = *arch::find_target("edge");
  std::strcpy(target.name, "small");
  target.cores = 2;
  target.sram_bytes = 65536;
  target.card_memory_mib = 16;
  target.max_stream_bytes = 16384;
  return target;
}

// What the compiler makes of all sorts of networks: one core and two, one job and several, with
// and without YIELDs and stripes.
std::vector<File> sound_models(const npu_target& target) {
  std::vector<File> out;
  for (uint32_t seed = 1; seed <= 24; seed++) {
    const int64_t images = seed % 5 == 0 ? 2 : 1;
    compiler::CompileOptions options;
    options.target = target;
    options.cores = seed % 3 == 0 ? 2 : 1;
    options.max_yield_gap = seed % 2 == 0 ? 2000 : 0;
    options.keep_fastest = false;
    options.target.sram_bytes = seed % 4 == 0 ? 16384 : target.sram_bytes;
    compiler::Diagnostics diagnostics;
    const compiler::Graph graph = seed % 6 == 1 ? compiler::testing::random_encoder(seed, images)
                                                : compiler::testing::random_network(seed, images);
    // Several cores cannot share out a job that is too long.
    if (auto model = compiler::compile_graph(graph, options, diagnostics))
      out.push_back(std::move(model->file));
  }
  return out;
}

// Of a run that ended, however it did.
struct Outcome {
  npu_result code = NPU_OK;
  bool ran = false;
  std::vector<std::vector<std::byte>> outputs;
};

class Card {
 public:
  explicit Card(const npu_target& target) : device_(open(target)), queue_(create_queue()) {
    guard_.emplace(device_.create_buffer(65536).value());
    std::fill(guard_->bytes().begin(), guard_->bytes().end(), kGuard);
  }

  // Loads, asks for everything that a program asks, and runs.
  Outcome try_model(const File& file, uint32_t flags) {
    auto loaded = device_.load(file, flags);
    if (!loaded) {
      EXPECT_FALSE(loaded.error().text.empty());
      return {.code = loaded.code(), .outputs = {}};
    }
    const Network network = std::move(loaded).value();
    const npu_network_info info = network.info();
    for (uint32_t i = 0; i < info.operators; i++) (void)network.operator_info(i).value();
    uint64_t bytes = info.profile_command_bytes;
    for (const npu_tensor_info& tensor : network.tensors()) bytes += tensor.bytes;
    if (bytes > kMostTensorBytes) return {.code = NPU_ERROR_NO_MEMORY, .outputs = {}};

    auto made = Execution::create(device_, network, NPU_RUN_PROFILE_COMMANDS);
    if (!made) return {.code = made.code(), .outputs = {}};
    Execution run = std::move(made).value();
    for (size_t i = 0; i < network.inputs().size(); i++) fill(run.input(i));
    auto started = run.start(queue_);
    if (!started) return {.code = started.code(), .outputs = {}};
    Outcome out{.ran = true, .outputs = {}};
    out.code = run.wait(after(120s)).code();
    EXPECT_NE(out.code, NPU_ERROR_TIMEOUT) << "the card neither ends nor stops the job";
    EXPECT_NE(out.code, NPU_ERROR_INTERNAL) << Error::last().text;
    if (out.code != NPU_OK) {
      EXPECT_FALSE(std::string(queue_.info().value().fault.text).empty());
      queue_ = create_queue();
    } else {
      const uint64_t records = run.report().value().command_records;
      for (uint64_t i = 0; i < records; i++) (void)run.record(i).value();
    }
    if ((flags & NPU_NETWORK_UNCHECKED) == 0) {
      std::vector<std::byte> expected;
      for (size_t i = 0; i < network.inputs().size(); i++) {
        expected.resize(run.input(i).size());
        fill(expected);
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), run.input(i).begin()))
            << "the job has written to input " << i;
      }
    }
    for (size_t i = 0; i < network.outputs().size(); i++)
      out.outputs.emplace_back(run.output(i).begin(), run.output(i).end());
    return out;
  }

  bool guard_is_whole() const {
    for (const std::byte b : guard_->bytes())
      if (b != kGuard) return false;
    return true;
  }

 private:
  static Device open(const npu_target& target) {
    std::array<uint32_t, NPU_CARD_PARAMETERS> words;
    static_assert(sizeof words == sizeof target);
    std::memcpy(words.data(), &target, sizeof words);
    npu_open_desc desc = {};
    desc.struct_size = sizeof desc;
    desc.sim_target = words.data();
    return Device::open("sim", &desc).value();
  }
  Queue create_queue() {
    npu_queue_desc desc = {};
    desc.cycle_limit = kCycleLimit;
    return device_.create_queue(desc).value();
  }
  static void fill(std::span<std::byte> bytes) {
    for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<std::byte>(i * 37 + i / 251);
  }

  Device device_;
  Queue queue_;
  std::optional<Buffer> guard_;
};

TEST(HostileModel, SoundOnesRun) {
  const npu_target target = small_card();
  const std::vector<File> sound = sound_models(target);
  EXPECT_GT(sound.size(), 15u);
  Card card(target);
  for (const File& file : sound) {
    const Outcome outcome = card.try_model(file, 0);
    EXPECT_TRUE(outcome.ran);
    EXPECT_EQ(outcome.code, NPU_OK) << Error::last().text;
  }
}

TEST(HostileModel, DamagedOnesEndAndHarmNothing) {
  const npu_target target = small_card();
  const std::vector<File> sound = sound_models(target);
  // Models that passed the library's checks, and such that the card alone has to stop: these may
  // write over all that their process has mapped.
  Card checked(target), unchecked(target);
  const auto expected = checked.try_model(sound[0], 0).outputs;
  unsigned refused = 0, ran = 0, failed = 0, unchecked_ran = 0, unchecked_failed = 0;
  const auto range = compiler::testing::mutations(1500);
  for (uint32_t i = range.first; i != range.end; i++) {
    SCOPED_TRACE("NPU_MUTATIONS_FROM=" + std::to_string(i));
    const File file = Damage(i, sound).file();
    const std::clock_t begin = std::clock();
    const Outcome outcome = checked.try_model(file, 0);
    refused += !outcome.ran;
    ran += outcome.ran && outcome.code == NPU_OK;
    failed += outcome.ran && outcome.code != NPU_OK;
    const Outcome again = unchecked.try_model(file, NPU_NETWORK_UNCHECKED);
    unchecked_ran += again.ran && again.code == NPU_OK;
    unchecked_failed += again.ran && again.code != NPU_OK;
    ASSERT_LT((std::clock() - begin) / CLOCKS_PER_SEC, kMostSeconds);
    if (i % 64 == 0) {
      ASSERT_EQ(checked.try_model(sound[0], 0).outputs, expected);
      ASSERT_EQ(unchecked.try_model(sound[0], 0).outputs, expected);
    }
    ASSERT_TRUE(checked.guard_is_whole());
    ASSERT_FALSE(HasFailure());
  }
  // Every way was taken.
  std::printf(
      "%u damaged models: %u refused, %u ran, %u failed on the card; unchecked %u ran, %u failed\n",
      range.count(), refused, ran, failed, unchecked_ran, unchecked_failed);
  EXPECT_GT(refused, range.count() / 4);
  EXPECT_GT(ran, range.count() / 50);
  EXPECT_GT(failed, 0u);
  EXPECT_GT(unchecked_failed, failed);
  EXPECT_GT(unchecked_ran, 0u);
}

}  // namespace
}  // namespace npu::testing
