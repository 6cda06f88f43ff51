// SPDX-License-Identifier: MIT
//
// How functions inside the library report failure: a value or an Error. The C
// calls turn an Error into a result code and the thread's last-error text.
#ifndef NPU_UMD_RESULT_H_
#define NPU_UMD_RESULT_H_

#include <string>
#include <utility>
#include <variant>

#include "libnpu/npu.h"

namespace npu::umd {

struct Error {
  npu_result code = NPU_OK;
  int os_errno = 0;
  std::string text;  // cause, place, remedy; one line
};

// Success, or an Error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}

  bool ok() const { return error_.code == NPU_OK; }
  const Error& error() const { return error_; }

 private:
  Error error_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : value_(std::move(error)) {}

  bool ok() const { return value_.index() == 0; }
  T& value() { return std::get<0>(value_); }
  const T& value() const { return std::get<0>(value_); }
  T& operator*() { return value(); }
  T* operator->() { return &value(); }
  const Error& error() const { return std::get<1>(value_); }

 private:
  std::variant<T, Error> value_;
};

inline Error fail(npu_result code, std::string text, int os_errno = 0) {
  return Error{code, os_errno, std::move(text)};
}

// Makes `error` the calling thread's last failure and returns its code.
npu_result set_last_error(const Error& error);
inline npu_result set_last_error(const Status& status) {
  return status.ok() ? NPU_OK : set_last_error(status.error());
}

}  // namespace npu::umd

#endif  // NPU_UMD_RESULT_H_
