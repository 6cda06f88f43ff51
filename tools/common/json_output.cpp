// SPDX-License-Identifier: MIT
#include "tools/common/json_output.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>

#include "tools/common/program.h"

namespace npu::tools {

void write_json(const std::string& path, const Json& json) {
  // Names come from models and processes and need not be UTF-8.
  const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
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
