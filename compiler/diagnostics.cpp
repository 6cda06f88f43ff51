// SPDX-License-Identifier: MIT
#include "compiler/diagnostics.h"

#include <fmt/format.h>

#include "arch/text.h"

namespace npu::compiler {
namespace {

// A hostile file could otherwise produce a message per node.
constexpr size_t kMaxProblems = 200;

// Of what comes from the file, in bytes.
constexpr size_t kMostOfAName = 160, kMostOfARule = 400;

}  // namespace

std::string Problem::text() const {
  std::string out;
  if (!node.empty() || !op.empty()) {
    out = fmt::format("node '{}' ({}): ", arch::printable(node, kMostOfAName),
                      arch::printable(op, kMostOfAName));
  }
  out += arch::printable(rule, kMostOfARule);
  if (!value.empty())
    out += fmt::format("; this model has {}", arch::printable(value, kMostOfAName));
  if (!suggestion.empty()) out += fmt::format(". {}", suggestion);
  return out;
}

void Diagnostics::add(Problem problem) {
  if (problems_.size() < kMaxProblems) {
    problems_.push_back(std::move(problem));
  } else {
    ++dropped_;
  }
}

void Diagnostics::malformed(std::string rule, std::string value) {
  add({.status = Status::kMalformed,
       .node = {},
       .op = {},
       .rule = std::move(rule),
       .value = std::move(value),
       .suggestion = {}});
}

void Diagnostics::internal(std::string rule, std::string value) {
  add({.status = Status::kInternal,
       .node = {},
       .op = {},
       .rule = std::move(rule),
       .value = std::move(value),
       .suggestion = {}});
}

std::string Diagnostics::text() const {
  std::string out;
  for (const Problem& problem : problems_) out += problem.text() + "\n";
  if (dropped_ > 0) out += fmt::format("... and {} more problems\n", dropped_);
  return out;
}

}  // namespace npu::compiler
