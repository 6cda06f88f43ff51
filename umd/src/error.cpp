// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>

#include "result.h"
#include "structs.h"

namespace npu::umd {
namespace {

thread_local npu_error last_error = {sizeof(npu_error), NPU_OK, 0, 0, ""};

}  // namespace

npu_result set_last_error(const Error& error) {
  last_error.code = error.code;
  last_error.os_errno = error.os_errno;
  copy_text(last_error.text, error.text);
  return error.code;
}

}  // namespace npu::umd

extern "C" npu_result npu_last_error(npu_error* error) {
  if (error == nullptr || error->struct_size < offsetof(npu_error, text) + 1) {
    return NPU_ERROR_INVALID;
  }
  npu_error copy = npu::umd::last_error;
  npu::umd::store_struct(copy, error);
  reinterpret_cast<char*>(error)[std::min<size_t>(error->struct_size, sizeof copy) - 1] = '\0';
  return NPU_OK;
}
