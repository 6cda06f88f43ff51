// SPDX-License-Identifier: MIT
#include "compiler/schedule/sram_map.h"

#include <algorithm>

namespace npu::compiler {
namespace {

// Bytes that must lie still while segments [begin, end] run.
struct Block {
  size_t begin, end;
  // From here on if there is room: what other engines load or make for this segment can then
  // run while the one before computes.
  size_t early;
  uint32_t bytes;
  uint32_t* address;
};

class Packer {
 public:
  explicit Packer(uint32_t sram_bytes) : sram_bytes_(sram_bytes) {}

  void add(size_t begin, size_t end, size_t early, uint32_t bytes, uint32_t* address) {
    if (bytes > 0) blocks_.push_back({begin, end, early, slot_size(bytes), address});
  }

  // First fit in several orders; what lives long and is large first is the best bet.
  bool pack() {
    const auto length = [](const Block& b) { return b.end - b.begin; };
    const auto by_bytes = [](const Block& a, const Block& b) { return a.bytes > b.bytes; };
    const auto by_life = [&](const Block& a, const Block& b) {
      const bool long_a = length(a) > 0, long_b = length(b) > 0;
      return long_a != long_b ? long_a : a.bytes > b.bytes;
    };
    const auto by_area = [&](const Block& a, const Block& b) {
      return uint64_t{a.bytes} * (length(a) + 1) > uint64_t{b.bytes} * (length(b) + 1);
    };
    const auto by_time = [&](const Block& a, const Block& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.bytes > b.bytes;
    };
    return attempt(by_life) || attempt(by_bytes) || attempt(by_area) || attempt(by_time);
  }

  bool is_early(const uint32_t* address) const {
    return std::any_of(placed_.begin(), placed_.end(), [&](const Block& block) {
      return block.address == address && block.begin == block.early;
    });
  }

 private:
  template <typename Order>
  bool attempt(Order order) {
    std::stable_sort(blocks_.begin(), blocks_.end(), order);
    placed_.clear();
    for (const Block& block : blocks_)
      if (!place(block, block.begin)) return false;
    // Then again, each a little longer where that still fits.
    for (const Block& block : blocks_) {
      if (block.early == block.begin) continue;
      const auto it = std::find_if(placed_.begin(), placed_.end(), [&](const Block& other) {
        return other.address == block.address;
      });
      const Block before = *it;
      const uint32_t address = *block.address;
      placed_.erase(it);
      if (place(block, block.early)) continue;
      *before.address = address;
      placed_.push_back(before);
    }
    return true;
  }

  bool place(const Block& block, size_t begin) {
    // Taken ranges during the block's life.
    std::vector<std::pair<uint64_t, uint64_t>> taken;
    for (const Block& other : placed_)
      if (other.begin <= block.end && begin <= other.end)
        taken.emplace_back(*other.address, uint64_t{*other.address} + other.bytes);
    std::sort(taken.begin(), taken.end());
    uint64_t at = 0;
    for (const auto& [from, to] : taken) {
      if (at + block.bytes <= from) break;
      at = std::max(at, to);
    }
    if (at + block.bytes > sram_bytes_) return false;
    *block.address = static_cast<uint32_t>(at);
    placed_.push_back(block);
    placed_.back().begin = begin;
    return true;
  }

  const uint32_t sram_bytes_;
  std::vector<Block> blocks_, placed_;
};

}  // namespace

std::optional<SramMap> map_sram(const Schedule& schedule, const std::vector<Step>& steps,
                                const MemoryPlan& plan, uint32_t sram_bytes) {
  const size_t count = plan.storages.size(), segments = schedule.segments.size();
  SramMap map;
  map.storages.assign(count, 0);
  map.steps.assign(steps.size(), {});
  map.rings.resize(segments);
  map.holds.assign(segments, false);
  // Segments between which each resident storage is needed; one that takes another's place
  // shares its block.
  std::vector<size_t> first(count, segments), last(count, 0);
  for (size_t g = 0; g < segments; ++g) {
    const Segment& segment = schedule.segments[g];
    for (size_t i = segment.first; i < segment.last; ++i) {
      for_each_operand(steps[i].layer, [&](const Operand& operand, bool) {
        const auto s = static_cast<size_t>(operand.storage);
        first[s] = std::min(first[s], g);
        last[s] = std::max(last[s], g);
      });
    }
  }
  Packer packer(sram_bytes);
  std::vector<int> place(count, -1);  // whose block
  for (size_t s = 0; s < count; ++s) {
    if (!schedule.resident[s]) continue;
    int root = static_cast<int>(s);
    while (schedule.in_place_of[static_cast<size_t>(root)] >= 0)
      root = schedule.in_place_of[static_cast<size_t>(root)];
    place[s] = root;
    const auto r = static_cast<size_t>(root);
    first[r] = std::min(first[r], first[s]);
    last[r] = std::max(last[r], last[s]);
    for (size_t g = first[s]; g <= last[s]; ++g) map.holds[g] = true;
  }
  for (size_t s = 0; s < count; ++s) {
    if (place[s] == static_cast<int>(s))
      packer.add(first[s], last[s], first[s] > 0 ? first[s] - 1 : 0,
                 static_cast<uint32_t>(plan.storages[s].bytes), &map.storages[s]);
  }
  for (size_t g = 0; g < segments; ++g) {
    const Segment& segment = schedule.segments[g];
    if (segment.stripes) {
      map.holds[g] = true;
      map.rings[g].assign(segment.stripes->rings.size(), 0);
      for (size_t r = 0; r < map.rings[g].size(); ++r)
        packer.add(g, g, g, segment.stripes->rings[r].bytes(), &map.rings[g][r]);
    }
    const size_t early = g > 0 ? g - 1 : 0;
    for (size_t i = segment.first; i < segment.last; ++i) {
      const StepPlan& step = segment.plans[i - segment.first];
      packer.add(g, g, early, constant_bytes(step), &map.steps[i].constants);
      packer.add(g, g, g, data_bytes(step), &map.steps[i].data);
    }
  }
  if (!packer.pack()) return std::nullopt;
  for (const WorkMemory& step : map.steps)
    map.early_constants.push_back(packer.is_early(&step.constants));
  for (size_t s = 0; s < count; ++s)
    if (place[s] >= 0) map.storages[s] = map.storages[static_cast<size_t>(place[s])];
  return map;
}

}  // namespace npu::compiler
