// SPDX-License-Identifier: MIT
//
// Descriptions of cards: presets (generated from configs/) and their checks.
#ifndef NPU_ARCH_TARGET_H_
#define NPU_ARCH_TARGET_H_

#include <span>
#include <string>
#include <string_view>

#include "npu/target.h"

namespace npu::arch {

// The presets, "card" and "edge"; nullptr if there is none of that name.
const npu_target* find_target(std::string_view name);
std::span<const npu_target> all_targets();

// The card of the build's configuration (.config): the default of the QEMU
// device and of the simulator.
const npu_target& configured_target();

// Empty if every parameter is in its range, else a sentence naming field,
// value and range.
std::string validate_target(const npu_target& target);

}  // namespace npu::arch

#endif  // NPU_ARCH_TARGET_H_
