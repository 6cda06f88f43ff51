// SPDX-License-Identifier: MIT
//
// What stands between a model and its compiled form: collected, not thrown, so
// that a user sees everything at once.
#ifndef NPU_COMPILER_DIAGNOSTICS_H_
#define NPU_COMPILER_DIAGNOSTICS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace npu::compiler {

// What kind of problem ended a compilation. tools/compile/npu-compile.cpp gives each an
// exit status.
enum class Status : uint8_t {
  kOk,
  kTarget,       // the description of the card makes no sense
  kMalformed,    // not an ONNX model, or one that contradicts itself
  kUnsupported,  // an operator, attribute, type or shape beyond the compiler
  kResources,    // does not fit the target's memory
  kInternal,     // the compiler produced something its own checks refuse
};

struct Problem {
  Status status = Status::kUnsupported;
  std::string node;        // name of the ONNX node; empty: the whole model
  std::string op;          // its type
  std::string rule;        // the rule that is broken
  std::string value;       // what the model has
  std::string suggestion;  // nearest form that works; may be empty

  std::string text() const;
};

class Diagnostics {
 public:
  void add(Problem problem);
  void malformed(std::string rule, std::string value = {});
  void internal(std::string rule, std::string value = {});

  bool ok() const { return problems_.empty(); }
  const std::vector<Problem>& problems() const { return problems_; }
  // Of the first problem.
  Status status() const { return ok() ? Status::kOk : problems_.front().status; }
  // All problems, one per line.
  std::string text() const;

 private:
  std::vector<Problem> problems_;
  size_t dropped_ = 0;
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_DIAGNOSTICS_H_
