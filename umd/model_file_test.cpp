// SPDX-License-Identifier: MIT
//
// Damaged compiled models: every truncation, every byte. (tests/hostile damages those that the
// compiler makes, and runs what is still accepted.)
#include "model_file.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>

#include "arch/target.h"
#include "npu/compiled_model.h"
#include "npu/compiled_model_generated.h"
#include "npu/queue.h"
#include "testing/streams.h"

namespace npu::umd {
namespace {

std::vector<std::byte> small_model() {
  return write_model(testing::copy_model(*arch::find_target("card"), 256, 2));
}

// As the library loads: file, target, commands.
Status load(std::span<const std::byte> file) {
  auto parsed = ModelFile::parse(file);
  if (!parsed.ok()) return parsed.error();
  const npu_target& card = *arch::find_target("card");
  if (auto status = parsed->check_target(card); !status.ok()) return status;
  auto counts = parsed->check_commands(card);
  return counts.ok() ? Status() : Status(counts.error());
}

void fix_checksum(std::vector<std::byte>& file) {
  npu_model_header header;
  std::memcpy(&header, file.data(), sizeof header);
  header.payload_crc32 = static_cast<uint32_t>(crc32_z(
      0, reinterpret_cast<const Bytef*>(file.data()) + sizeof header, file.size() - sizeof header));
  std::memcpy(file.data(), &header, sizeof header);
}

TEST(ModelFile, SoundModelLoads) {
  const auto status = load(small_model());
  EXPECT_TRUE(status.ok()) << status.error().text;
}

TEST(ModelFile, EveryTruncationIsRefused) {
  const std::vector<std::byte> file = small_model();
  for (size_t length = 0; length < file.size(); length++) {
    const auto status = load(std::span(file).first(length));
    ASSERT_EQ(status.error().code, NPU_ERROR_BAD_MODEL) << length;
    ASSERT_FALSE(status.error().text.empty());
  }
}

TEST(ModelFile, EveryChangedByteIsRefused) {
  const std::vector<std::byte> file = small_model();
  for (size_t at = 0; at < file.size(); at++) {
    std::vector<std::byte> changed = file;
    changed[at] ^= std::byte{0x10};
    ASSERT_EQ(load(changed).error().code, NPU_ERROR_BAD_MODEL) << at;
  }
}

// A small file could otherwise make the loader check the same commands for every job.
TEST(ModelFile, JobsDoNotShareCommands) {
  std::vector<std::byte> file = small_model();
  npu::format::Model* model =
      flatbuffers::GetMutableRoot<npu::format::Model>(file.data() + sizeof(npu_model_header));
  const auto& streams = *model->jobs()->Get(1)->streams();
  const uint64_t first_bytes = model->jobs()->Get(0)->streams()->Get(0)->bytes();
  ASSERT_EQ(streams.Get(0)->offset(), first_bytes);
  ASSERT_EQ(streams.Get(0)->bytes(), first_bytes);
  auto* stream = reinterpret_cast<flatbuffers::Table*>(
      const_cast<npu::format::Stream*>(streams.Get(0)));  // generated code has no setters
  ASSERT_TRUE(stream->SetField<uint64_t>(npu::format::Stream::VT_OFFSET, 0, 1));
  fix_checksum(file);
  const auto status = load(file);
  ASSERT_EQ(status.error().code, NPU_ERROR_BAD_MODEL);
  EXPECT_NE(status.error().text.find("job 1"), std::string::npos) << status.error().text;
}

// With the checksum made right, what is left must be sound or refused, and
// nothing may read outside the file: run under the address sanitizer.
TEST(ModelFile, ChangedBytesBehindTheChecksumNeverCrash) {
  const std::vector<std::byte> file = small_model();
  unsigned refused = 0;
  for (size_t at = sizeof(npu_model_header); at < file.size(); at++) {
    for (const uint8_t change : {0x01, 0x80, 0xff}) {
      std::vector<std::byte> changed = file;
      changed[at] ^= std::byte{change};
      fix_checksum(changed);
      const auto status = load(changed);
      refused += !status.ok();
      if (!status.ok()) {
        ASSERT_FALSE(status.error().text.empty()) << at;
      }
    }
  }
  EXPECT_GT(refused, 0u);
}

// What a rule forbids, and a word of the message that must say so.
struct Broken {
  const char* what;
  void (*change)(ModelDescription&);
  const char* word;
};

class BrokenModel : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenModel, IsRefusedByName) {
  ModelDescription model = testing::copy_model(*arch::find_target("card"), 256, 2);
  GetParam().change(model);
  const auto status = load(write_model(model));
  ASSERT_EQ(status.error().code, NPU_ERROR_BAD_MODEL);
  EXPECT_NE(status.error().text.find(GetParam().word), std::string::npos) << status.error().text;
}

std::vector<std::byte> one_transfer(npu_opcode opcode, unsigned region, uint64_t offset,
                                    uint32_t bytes, uint32_t source_op = 0) {
  arch::StreamBuilder builder;
  builder.append(testing::transfer(opcode, region, offset, 0, bytes, source_op));
  return builder.bytes();
}

INSTANTIATE_TEST_SUITE_P(
    Rules, BrokenModel,
    ::testing::Values(
        Broken{"no jobs", [](ModelDescription& m) { m.jobs.clear(); }, "no jobs"},
        Broken{"no outputs", [](ModelDescription& m) { m.outputs.clear(); }, "outputs"},
        Broken{"empty stream", [](ModelDescription& m) { m.jobs[0].streams[0].clear(); }, "job 0"},
        Broken{"too many streams", [](ModelDescription& m) { m.jobs[1].streams.resize(9); },
               "job 1"},
        Broken{"bytes do not fit the shape", [](ModelDescription& m) { m.inputs[0].bytes++; },
               "'in'"},
        Broken{"shape overflows",
               [](ModelDescription& m) { m.inputs[0].shape.assign(8, UINT32_MAX); }, "'in'"},
        Broken{"dimension 0", [](ModelDescription& m) { m.outputs[0].shape = {0}; }, "'out'"},
        Broken{"unknown type", [](ModelDescription& m) { m.outputs[0].type = 77; }, "'out'"},
        Broken{"nameless", [](ModelDescription& m) { m.inputs[0].name.clear(); }, "name"},
        Broken{"loads beyond the input",
               [](ModelDescription& m) {
                 m.jobs[0].streams[0] = one_transfer(NPU_OP_LOAD, 2, 193, 64);
               },
               "region 2"},
        Broken{"offset that wraps",
               [](ModelDescription& m) {
                 m.jobs[0].streams[0] = one_transfer(NPU_OP_LOAD, 2, UINT64_MAX - 10, 64);
               },
               "job 0"},
        Broken{
            "region that does not exist",
            [](ModelDescription& m) { m.jobs[1].streams[0] = one_transfer(NPU_OP_LOAD, 9, 0, 64); },
            "job 1"},
        Broken{"stores into constants",
               [](ModelDescription& m) {
                 m.jobs[0].streams[0] = one_transfer(NPU_OP_STORE, 0, 0, 64);
               },
               "constants"},
        Broken{"stores into an input",
               [](ModelDescription& m) {
                 m.jobs[0].streams[0] = one_transfer(NPU_OP_STORE, 2, 0, 64);
               },
               "'in'"},
        Broken{"operator that does not exist",
               [](ModelDescription& m) {
                 m.jobs[0].streams[0] = one_transfer(NPU_OP_LOAD, 2, 0, 64, 5);
               },
               "operator 5"},
        Broken{"beyond SRAM",
               [](ModelDescription& m) {
                 npu_command_dma dma = testing::transfer(NPU_OP_LOAD, 2, 0, 2097152 - 63, 64);
                 arch::StreamBuilder builder;
                 builder.append(dma);
                 m.jobs[0].streams[0] = builder.bytes();
               },
               "SRAM_RANGE"}),
    [](const auto& info) {
      std::string name = info.param.what;
      for (char& c : name) c = isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

}  // namespace
}  // namespace npu::umd
