// SPDX-License-Identifier: MIT
//
// Several layers run together, stripe of rows by stripe of rows: each stripe
// goes through all of them before the next one starts. What lies between them
// is only ever a few rows, in rings in SRAM; no row is computed twice. Of a gang,
// each core makes its share of the last layer's rows, by itself: what both of two
// neighbours need of the layers before, each computes.
// What is behind a pool may lag a stripe, so that the array has work while the
// vector unit makes what it needs.
#ifndef NPU_COMPILER_SCHEDULE_STRIPES_H_
#define NPU_COMPILER_SCHEDULE_STRIPES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "compiler/schedule/steps.h"

namespace npu::compiler {

// An image of which some rows are in SRAM.
struct Ring {
  int storage = -1;
  int64_t height = 0, width = 0, channels = 0;
  int64_t rows = 0;    // kept at once; the image's height: all of them
  bool load = false;   // comes from external memory
  bool store = false;  // goes there
  Operand external;    // where, if so

  // Rows on SRAM words of their own, so that neighbours do not share a granule of the hazard
  // detector.
  int64_t row_bytes() const { return (width * channels + 15) / 16 * 16; }
  uint32_t bytes() const { return slot_size(rows * row_bytes()); }
  // The image as an operand, the ring at `address`.
  Operand operand(uint32_t address) const;
};

// Rows [begin, end) of a ring loaded or stored, or of a step's output computed.
struct StripeAction {
  enum class Kind { kLoad, kCompute, kStore } kind = Kind::kCompute;
  size_t index = 0;  // of the ring, or of the step within the segment
  int64_t begin = 0, end = 0;
};

// What one core does.
struct StripeWork {
  std::vector<StripeAction> actions;  // in order
  // By step: rows of its output, from the first to the last.
  std::vector<std::pair<int64_t, int64_t>> computed;
};

struct Stripes {
  std::vector<Ring> rings;         // every core's
  std::vector<StripeWork> work;    // by core
  std::vector<int64_t> step_rows;  // most rows of a step's output at once
  uint64_t ring_bytes = 0;
  uint64_t first_load_bytes = 0;  // of the first core
};

// Whether a step can be part of such a segment at all.
bool can_stripe(const Step& step);

// `resident`: by storage, which operands of the segment lie in SRAM as a whole. `used_later`:
// by storage, whether a step behind the segment reads it. With `images`, each core makes all rows.
// With `lag`, the steps behind the first pool are a stripe behind. nullopt if the steps do not form
// a chain of whole images, or a core would have nothing to do.
std::optional<Stripes> make_stripes(std::span<const Step> steps, int64_t rows,
                                    const std::vector<bool>& resident,
                                    const std::vector<bool>& used_later, unsigned cores,
                                    bool images, bool lag);
// Whether steps can lag: some, with a pool before the first of them.
bool can_lag(std::span<const Step> steps);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_SCHEDULE_STRIPES_H_
