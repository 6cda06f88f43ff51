// SPDX-License-Identifier: MIT
#include "compiler/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace npu::compiler {

void for_each_index(size_t count, const std::function<void(size_t)>& body) {
  std::atomic<size_t> next = 0;
  std::exception_ptr thrown;
  std::mutex mutex;
  const auto work = [&] {
    for (size_t i; (i = next++) < count;) {
      try {
        body(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!thrown) thrown = std::current_exception();
        next = count;
      }
    }
  };
  std::vector<std::jthread> helpers;
  const size_t threads = std::min<size_t>(std::thread::hardware_concurrency(), count);
  try {
    while (helpers.size() + 1 < threads) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // Fewer threads than there could be.
  }
  work();
  helpers.clear();  // waits for them
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace npu::compiler
