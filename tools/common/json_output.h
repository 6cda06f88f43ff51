// SPDX-License-Identifier: MIT
//
// JSON results: keys in the order they were set, null for what is not
// available.
#ifndef NPU_TOOLS_JSON_OUTPUT_H_
#define NPU_TOOLS_JSON_OUTPUT_H_

#include <nlohmann/json.hpp>
#include <string>

namespace npu::tools {

using Json = nlohmann::ordered_json;

// Names come from models and processes and need not be UTF-8.
std::string json_text(const Json& json);

// To a file, or with "-" to stdout; throws ToolError.
void write_json(const std::string& path, const Json& json);

// `value`, or null if it is not valid.
template <typename T>
Json valid_or_null(bool valid, T value) {
  return valid ? Json(value) : Json(nullptr);
}

}  // namespace npu::tools

#endif  // NPU_TOOLS_JSON_OUTPUT_H_
