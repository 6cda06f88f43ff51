// SPDX-License-Identifier: MIT
//
// Streams through everything that reads streams, without a card: many more of
// them a second, and gangs larger than the small card's.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "arch/job_check.h"
#include "arch/stream.h"
#include "arch/target.h"
#include "card_script.h"
#include "input.h"
#include "npu/command.h"
#include "streams.h"

namespace npu::fuzz {
namespace {

constexpr unsigned kMaxSlices = 200;  // of 0.1 ms; what is longer is dropped, as by an abort

void require(bool condition, const char* promise) {
  if (condition) return;
  std::fprintf(stderr, "card-fuzz: a check broke a promise: %s\n", promise);
  std::abort();
}

// The check in slices gives what the functions give that compilers and loaders call.
void compare(const std::vector<std::span<const std::byte>>& bytes, const npu_target& target,
             const arch::JobCheck& sliced) {
  const auto gang = static_cast<unsigned>(bytes.size());
  std::vector<arch::Stream> streams(gang);
  arch::StreamError error;
  bool good = true;
  for (unsigned core = 0; core < gang && good; ++core)
    good = arch::decode_stream(bytes[core], target, core, gang, streams[core], error);
  good =
      good && arch::check_deadlock(streams, error) && arch::check_hazards(streams, target, error);
  require(good == (sliced.error.status == NPU_STATUS_OK) && error.text == sliced.error.text &&
              error.command == sliced.error.command && error.address == sliced.error.address,
          "checking in slices or at once gives the same");
}

}  // namespace

void play_stream_script(const uint8_t* data, size_t size, Ledger* ledger) {
  Input in(data, size);
  const uint8_t how = in.u8();
  npu_target target = *arch::find_target((how & 1) != 0 ? "card" : "edge");
  target.sram_bytes = 64 << 10;
  const unsigned gang = 1 + (how >> 1 & 7);
  std::vector<std::vector<uint8_t>> made(gang);
  Counts counts;
  for (auto& stream : made) stream = make_stream(in, gang, 64 * NPU_RECORD_BYTES, counts);
  if ((how & 16) != 0) made[0].resize(made[0].size() + in.number() % 20000);
  std::vector<std::span<const std::byte>> streams;
  for (const auto& stream : made) streams.push_back(std::as_bytes(std::span(stream)));

  arch::JobCheck check(streams, target);
  if ((how & 32) == 0)
    check.request_timing([how](unsigned index) {
      return (how >> 6 & (index + 1)) != 0 ? arch::External::kHost : arch::External::kCard;
    });
  unsigned slices = 0;
  while (!check.run(100'000))
    if (++slices == kMaxSlices) return;
  const arch::StreamError& error = check.error;
  require((error.status == NPU_STATUS_OK) == error.text.empty(), "an error has a text");
  if (ledger != nullptr && error.text.find("not implemented") != std::string::npos)
    ledger->missing(error.text);
  for (const arch::Stream& stream : check.streams)
    for (const arch::Command& command : stream)
      require(!arch::disassemble(command).empty(), "every command has a text");
  if (error.status == NPU_STATUS_OK && (how & 32) == 0)
    require(check.timing.sram_peak_bytes <= target.sram_bytes, "SRAM is what there is");
  compare(streams, target, check);
}

void play_spoilt_streams(const uint8_t* data, size_t size) {
  Input in(data, size);
  const uint8_t how = in.u8();
  npu_target target = *arch::find_target((how & 1) != 0 ? "card" : "edge");
  target.sram_bytes = 64 << 10;
  target.accumulator_rows = 64;
  const unsigned gang = 1 + (how >> 1 & 1);
  std::vector<std::vector<uint8_t>> made(gang);
  Counts counts;
  for (auto& stream : made) stream = make_stream(in, gang, 8 * NPU_RECORD_BYTES, counts);
  std::vector<uint8_t>& spoilt = made[how >> 2 & (gang - 1)];
  if (spoilt.empty()) return;
  const size_t record = (how >> 3) % (spoilt.size() / NPU_RECORD_BYTES) * NPU_RECORD_BYTES;
  std::vector<std::span<const std::byte>> streams;
  for (const auto& stream : made) streams.push_back(std::as_bytes(std::span(stream)));

  unsigned slices = 0;
  for (size_t at = record; at < record + NPU_RECORD_BYTES; at += 2) {
    uint16_t good;
    std::memcpy(&good, &spoilt[at], sizeof(good));
    const auto next = static_cast<uint16_t>(good + 1), previous = static_cast<uint16_t>(good - 1);
    for (const uint16_t word : {uint16_t{0}, uint16_t{1}, next, previous, uint16_t{0x7fff},
                                uint16_t{0xffff}, static_cast<uint16_t>(good ^ 0x100)}) {
      std::memcpy(&spoilt[at], &word, sizeof(word));
      arch::JobCheck check(streams, target);
      check.request_timing([](unsigned) { return arch::External::kCard; });
      while (!check.run(1'000'000))
        if (++slices == kMaxSlices) return;
      require((check.error.status == NPU_STATUS_OK) == check.error.text.empty(),
              "an error has a text");
      for (const arch::Stream& stream : check.streams)
        for (const arch::Command& command : stream) arch::disassemble(command);
    }
    std::memcpy(&spoilt[at], &good, sizeof(good));
  }
}

}  // namespace npu::fuzz
