// SPDX-License-Identifier: MIT
#include "compiler/emit/image_tiles.h"

#include <fmt/format.h>

#include <algorithm>

#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

constexpr int64_t kMaxField = 65535;

VecPlan make_plan(const ImageLayer& layer, const Extent& tile, uint32_t slots) {
  VecPlan plan;
  plan.tile_h = tile[0];
  plan.tile_w = tile[1];
  plan.tile_c = tile[2];
  plan.slots = slots;
  if (layer.entry_bytes > 0)
    plan.table_bytes = slots * slot_size((tile[0] + tile[1]) * layer.entry_bytes);
  if (!layer.input.direct())
    plan.a_bytes = slot_size(layer.reach(0, tile[0]) * layer.reach(1, tile[1]) * tile[2]);
  if (!layer.output.direct()) plan.out_bytes = slot_size(tile[0] * tile[1] * tile[2]);
  return plan;
}

bool fits(const ImageLayer& layer, const VecPlan& plan, uint32_t sram_bytes) {
  const uint64_t data = uint64_t{plan.a_bytes} + plan.out_bytes;  // in 64 bits: may wrap
  return plan.slots * data <= sram_bytes && plan.sram_bytes() <= sram_bytes &&
         plan.tile_h <= kMaxField && plan.tile_w <= kMaxField && plan.tile_c <= kMaxField &&
         layer.reach(0, plan.tile_h) <= kMaxField && layer.reach(1, plan.tile_w) <= kMaxField;
}

Estimate estimate(const ImageLayer& layer, const VecPlan& plan, const npu_target& target) {
  const auto tiles = static_cast<uint64_t>(ceil_div(layer.out[0], plan.tile_h) *
                                           ceil_div(layer.out[1], plan.tile_w) *
                                           ceil_div(layer.out[2], plan.tile_c));
  uint64_t images = 1;
  for (const OuterDim& dim : layer.outer) images *= static_cast<uint64_t>(dim.extent);
  const auto cycles = [&](const Operand& operand, const Extent& size) -> uint64_t {
    if (operand.direct()) return 0;
    return channel_cycles(transfer_bytes(operand, size, target.dma_granule_bytes), operand.region,
                          target);
  };
  const uint64_t moved =
      cycles(layer.input, {layer.reach(0, plan.tile_h), layer.reach(1, plan.tile_w), plan.tile_c}) +
      cycles(layer.output, {plan.tile_h, plan.tile_w, plan.tile_c}) +
      channel_cycles(plan.table_bytes / plan.slots, NPU_REGION_CONSTANTS, target);
  Estimate e;
  e.engine = images * layer.operations / target.mac_outputs;
  e.memory = images * tiles * moved;
  e.serial = moved + (plan.slots > 1 ? 0 : std::min(e.engine, e.memory));
  return e;
}

}  // namespace

std::optional<VecPlan> plan_image(const ImageLayer& layer, const npu_target& target,
                                  uint32_t sram_bytes, std::string& error) {
  const bool resident = layer.input.direct() && layer.output.direct();
  for (const uint32_t slots : {2u, 1u}) {
    Extent tile = layer.out;
    tile[0] = layer.rows_at_once > 0 ? layer.rows_at_once
                                     : std::max<int64_t>(1, ceil_div(tile[0], resident ? 8 : 4));
    VecPlan plan = make_plan(layer, tile, slots);
    while (!fits(layer, plan, sram_bytes)) {
      const bool channels = tile[2] > target.mac_outputs || tile[1] == 1;
      int64_t& extent = tile[tile[0] > 1 ? 0 : channels ? 2 : 1];
      if (extent == 1) break;
      extent = ceil_div(extent, 2);
      plan = make_plan(layer, tile, slots);
    }
    if (!fits(layer, plan, sram_bytes)) continue;
    plan.estimate = estimate(layer, plan, target);
    return plan;
  }
  error = fmt::format("its smallest tile needs {} bytes of SRAM",
                      make_plan(layer, {1, 1, 1}, 1).sram_bytes());
  return std::nullopt;
}

}  // namespace npu::compiler
