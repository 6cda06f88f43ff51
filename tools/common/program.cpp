// SPDX-License-Identifier: MIT
#include "tools/common/program.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <new>

#include "arch/text.h"
#include "tools/common/manual.h"

#ifndef NPU_VERSION
#error "NPU_VERSION comes from the build"
#endif

namespace npu::tools {
namespace {

volatile sig_atomic_t interrupt_seen = 0;

// The second one kills, for those who do not want to wait.
void on_interrupt(int signal_number) {
  interrupt_seen = 1;
  signal(signal_number, SIG_DFL);
}

}  // namespace

bool interrupted() {
  return interrupt_seen != 0;
}

void stop_if_interrupted() {
  if (interrupted()) throw ToolError(kExitInterrupted, "interrupted");
}

Program::Program(const std::string& name, const std::string& description,
                 std::vector<std::pair<std::string, std::string>> examples)
    : app_(description, name), examples_(std::move(examples)) {
  app_.set_version_flag("--version", name + " " NPU_VERSION);
  app_.get_formatter()->column_width(34);
  app_.failure_message(CLI::FailureMessage::simple);
  std::string footer;
  if (!examples_.empty()) {
    footer += "Examples:\n";
    for (const auto& [command, text] : examples_) {
      footer += fmt::format("  {}\n      {}\n", command, text);
    }
  }
  footer += "\nExit statuses: 'man " + name + "' and docs/tools.md list them.";
  app_.footer(footer);
}

int Program::run(int argc, char** argv, const std::function<int()>& body) {
  const std::string name = app_.get_name();
  // For the build: man page and completion from the same description.
  if (argc == 2 && std::strcmp(argv[1], "--help-man") == 0) {
    std::cout << manual_page(app_, examples_);
    return kExitOk;
  }
  if (argc == 2 && std::strcmp(argv[1], "--help-completion") == 0) {
    std::cout << bash_completion(app_);
    return kExitOk;
  }
  signal(SIGINT, on_interrupt);
  signal(SIGTERM, on_interrupt);
  signal(SIGPIPE, SIG_IGN);
  int status = kExitFailure;
  std::string message;
  try {
    app_.parse(argc, argv);
    status = body();
  } catch (const CLI::CallForHelp& help) {
    return app_.exit(help, std::cout, std::cerr);
  } catch (const CLI::CallForAllHelp& help) {
    return app_.exit(help, std::cout, std::cerr);
  } catch (const CLI::CallForVersion& version) {
    return app_.exit(version, std::cout, std::cerr);
  } catch (const CLI::ParseError& error) {
    message = std::string(error.what()) + " (see " + name + " --help)";
    status = kExitUsage;
  } catch (const ToolError& error) {
    message = error.what();
    status = error.code();
  } catch (const std::bad_alloc&) {
    message = "not enough memory";
  } catch (const std::exception& error) {
    message = error.what();
  }
  // What is wrong is often told with names from files. Problems of a model have a line each.
  for (size_t at = 0; at < message.size();) {
    const size_t end = std::min(message.find('\n', at), message.size());
    fmt::print(stderr, "{}{}\n", at == 0 ? name + ": " : "",
               arch::printable(message.substr(at, end - at)));
    at = end + 1;
  }
  // A reader that went away (head, less) is no failure.
  if (std::fflush(stdout) != 0 && errno != EPIPE && status == kExitOk) {
    fmt::print(stderr, "{}: cannot write the output: {}\n", name, std::strerror(errno));
    status = kExitFailure;
  }
  return status;
}

}  // namespace npu::tools
