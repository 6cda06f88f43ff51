// SPDX-License-Identifier: MIT
//
// What all programs share: command line, --help, --version, man page and
// completion from one description, errors and exit statuses, Ctrl-C.
#ifndef NPU_TOOLS_PROGRAM_H_
#define NPU_TOOLS_PROGRAM_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tools/common/exit_codes.h"

namespace npu::tools {

// Ends the program with `code` and `text` on stderr.
class ToolError : public std::runtime_error {
 public:
  ToolError(ExitCode code, const std::string& text) : std::runtime_error(text), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

// True once Ctrl-C or SIGTERM arrived; programs look between steps.
bool interrupted();
// Throws the ToolError of an interrupted program if it was.
void stop_if_interrupted();

class Program {
 public:
  // examples: lines of a command and what it does, for man page and help.
  Program(const std::string& name, const std::string& description,
          std::vector<std::pair<std::string, std::string>> examples = {});

  CLI::App& app() { return app_; }

  // Parses, runs `body` and turns what is thrown into a message and a status.
  // `body` returns the status.
  int run(int argc, char** argv, const std::function<int()>& body);

 private:
  CLI::App app_;
  std::vector<std::pair<std::string, std::string>> examples_;
};

}  // namespace npu::tools

#endif  // NPU_TOOLS_PROGRAM_H_
