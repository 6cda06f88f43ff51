// SPDX-License-Identifier: MIT
#include "tracing.h"

#include <sys/mount.h>
#include <sys/stat.h>

namespace kmd {

std::string tracing_folder() {
  mkdir("/sys/kernel/tracing", 0755);
  mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, nullptr);
  return "/sys/kernel/tracing/";
}

}  // namespace kmd
