// SPDX-License-Identifier: MIT
//
// What an input has made the card do, counted by kind: proof that the corpus
// reaches everything the contract names.
#ifndef NPU_TESTS_FUZZ_LEDGER_H_
#define NPU_TESTS_FUZZ_LEDGER_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace npu::fuzz {

// By the name of the enumeration in include/npu, a literal, and the enumerator's
// value.
class Ledger {
 public:
  void count(const char* enumeration, uint64_t value) {
    ++seen_[{enumeration, value}];
    tell_fuzzer(enumeration, value);
  }
  // The card said that it has not got this.
  void missing(const std::string& what) { ++missing_[what]; }

  using Kind = std::pair<std::string_view, uint64_t>;
  const std::map<Kind, uint64_t>& seen() const { return seen_; }
  const std::map<std::string, uint64_t>& missing() const { return missing_; }

 private:
  // A kind that is new is as good as a branch that is new.
  static void tell_fuzzer(std::string_view enumeration, uint64_t value);

  std::map<Kind, uint64_t> seen_;
  std::map<std::string, uint64_t> missing_;
};

}  // namespace npu::fuzz

#endif  // NPU_TESTS_FUZZ_LEDGER_H_
