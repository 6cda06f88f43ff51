// SPDX-License-Identifier: MIT
#include "tools/common/json_output.h"

#include <iostream>

#include "tools/common/files.h"

namespace npu::tools {

std::string json_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void write_json(const std::string& path, const Json& json) {
  const std::string text = json_text(json);
  if (path == "-") {
    std::cout << text << std::flush;
    return;
  }
  write_file(path, text.data(), text.size());
}

}  // namespace npu::tools
