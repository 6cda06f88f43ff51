// SPDX-License-Identifier: MIT
#include "tools/run/real_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tools/common/device.h"

namespace npu::tools {
namespace {

float to_real(const npu_tensor_info& tensor, int32_t stored) {
  return static_cast<float>(stored - tensor.zero_point) * tensor.scale;
}

int32_t lowest(const npu_tensor_info& tensor) {
  return tensor.type == NPU_ELEMENT_INT8 ? -128 : 0;
}

}  // namespace

bool is_quantized(const npu_tensor_info& tensor) {
  return tensor.scale > 0 && (tensor.type == NPU_ELEMENT_INT8 || tensor.type == NPU_ELEMENT_UINT8);
}

Tensor quantize(const npu_tensor_info& tensor, const Tensor& real, bool exact,
                const std::string& file) {
  Tensor out = {static_cast<npu_type>(tensor.type), real.shape, {}, real.name};
  const size_t count = real.bytes.size() / sizeof(float);
  out.bytes.reserve(count);
  const float low = static_cast<float>(lowest(tensor) - tensor.zero_point);
  const float high = low + 255;
  for (size_t i = 0; i < count; i++) {
    float value;
    std::memcpy(&value, &real.bytes[i * sizeof value], sizeof value);
    if (std::isnan(value)) {
      throw ToolError(kExitBadInput,
                      fmt::format("{}: element {} of '{}' is not a number", file, i, tensor.name));
    }
    const float scaled = std::clamp(value / tensor.scale, low, high);
    const int32_t stored = static_cast<int32_t>(std::nearbyintf(scaled)) + tensor.zero_point;
    if (exact && to_real(tensor, stored) != value) {
      throw ToolError(kExitMismatch,
                      fmt::format("{}: element {} is {}, which '{}' cannot be; the nearest is {}",
                                  file, i, value, tensor.name, to_real(tensor, stored)));
    }
    out.bytes.push_back(static_cast<std::byte>(stored & 0xff));
  }
  return out;
}

Tensor dequantize(const npu_tensor_info& tensor, const Tensor& stored) {
  Tensor out = {NPU_ELEMENT_FP32, stored.shape, {}, stored.name};
  out.bytes.resize(stored.bytes.size() * sizeof(float));
  for (size_t i = 0; i < stored.bytes.size(); i++) {
    const auto byte = static_cast<uint8_t>(stored.bytes[i]);
    const float value =
        to_real(tensor, tensor.type == NPU_ELEMENT_INT8 ? static_cast<int8_t>(byte) : byte);
    std::memcpy(&out.bytes[i * sizeof value], &value, sizeof value);
  }
  return out;
}

}  // namespace npu::tools
