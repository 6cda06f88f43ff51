// SPDX-License-Identifier: MIT
#include "compiler/report/occupancy.h"

#include <algorithm>

#include "arch/sram_access.h"

namespace npu::compiler {
namespace {

// What a row of addresses holds.
struct Held {
  int32_t node = Occupancy::kFree;
  uint64_t since = 0, read = 0;  // cycles; not read: 0
};

class Painter {
 public:
  explicit Painter(Occupancy& picture) : picture_(picture), held_(picture.rows) {}

  void write(unsigned row, int32_t node, uint64_t begin) {
    Held& held = held_[row];
    if (held.node == node) return;
    paint(row);
    held = {node, begin, 0};
  }
  void read(unsigned row, uint64_t end) { held_[row].read = std::max(held_[row].read, end); }
  void finish() {
    for (unsigned row = 0; row < picture_.rows; ++row) paint(row);
  }

 private:
  uint64_t column(uint64_t cycle) const {
    return std::min<uint64_t>(picture_.columns, cycle * picture_.columns / picture_.cycles);
  }
  void paint(unsigned row) {
    const Held& held = held_[row];
    if (held.node == Occupancy::kFree || held.read <= held.since) return;
    const auto at = picture_.nodes.begin() + std::ptrdiff_t{row} * picture_.columns;
    const auto first = static_cast<std::ptrdiff_t>(column(held.since));
    const auto last = static_cast<std::ptrdiff_t>(column(held.read));
    std::fill(at + first, at + std::max(first, last), held.node);
  }

  Occupancy& picture_;
  std::vector<Held> held_;
};

}  // namespace

Occupancy sram_occupancy(const std::vector<JobTrace>& traces, const npu_target& target,
                         unsigned rows, unsigned columns) {
  Occupancy out;
  out.row_bytes = std::max<uint64_t>(1, (target.sram_bytes + rows - 1) / rows);
  out.rows = static_cast<unsigned>((target.sram_bytes + out.row_bytes - 1) / out.row_bytes);
  out.columns = columns;
  for (const JobTrace& trace : traces) out.cycles += trace.timing.cycles;
  out.cycles = std::max<uint64_t>(1, out.cycles);
  out.nodes.assign(size_t{out.rows} * out.columns, Occupancy::kFree);
  Painter painter(out);
  std::vector<arch::SramAccess> accesses;
  for (const JobTrace& trace : traces) {
    std::vector<const npu_profile_command*> order;
    for (const npu_profile_command& record : trace.records) order.push_back(&record);
    std::stable_sort(order.begin(), order.end(),
                     [](auto* a, auto* b) { return a->start_cycle < b->start_cycle; });
    for (const npu_profile_command* record : order) {
      accesses.clear();
      append_sram_accesses(trace.command(*record), record->core, accesses);
      // Reads first: a command may write where it has read.
      for (const bool write : {false, true}) {
        for (const arch::SramAccess& access : accesses) {
          if (access.write != write || access.core != 0 || access.end() <= access.address) continue;
          const auto last = static_cast<unsigned>((access.end() - 1) / out.row_bytes);
          for (auto row = static_cast<unsigned>(access.address / out.row_bytes); row <= last;
               ++row) {
            if (write)
              painter.write(row, static_cast<int32_t>(record->source_op), trace.begin(*record));
            else
              painter.read(row, trace.end(*record));
          }
        }
      }
    }
  }
  painter.finish();
  return out;
}

}  // namespace npu::compiler
