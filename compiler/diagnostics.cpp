// SPDX-License-Identifier: MIT
#include "compiler/diagnostics.h"

#include <fmt/format.h>

namespace npu::compiler {
namespace {

// A hostile file could otherwise produce a message per node.
constexpr size_t kMaxProblems = 200;

// Names come from the file: keep messages on one line and of sane length.
std::string printable(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (out.size() >= 160) return out + "...";
    out += (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) ? '?' : c;
  }
  return out;
}

}  // namespace

std::string Problem::text() const {
  std::string out;
  if (!node.empty() || !op.empty()) {
    out = fmt::format("node '{}' ({}): ", printable(node), printable(op));
  }
  out += rule;
  if (!value.empty()) out += fmt::format("; this model has {}", printable(value));
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
