// SPDX-License-Identifier: MIT
#include "tools/common/json_output.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>

#include "tools/common/program.h"

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
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  if (!file) throw ToolError(kExitFailure, path + ": cannot write: " + std::strerror(errno));
}

}  // namespace npu::tools
