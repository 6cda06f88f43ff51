// SPDX-License-Identifier: MIT
//
// Other processes of a test.
#ifndef NPU_TESTS_VM_KMD_PROCESSES_H_
#define NPU_TESTS_VM_KMD_PROCESSES_H_

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <new>

namespace kmd {

// Runs `body` in a child; its return value is the exit status.
template <typename Body>
pid_t spawn(Body body) {
  fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  return pid;
}

// The exit status; -1 if it was killed.
inline int join(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A T that parent and children see; atomics in it work between them.
template <typename T>
class Shared {
 public:
  Shared()
      : value_(new (mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                         0)) T{}) {}
  ~Shared() { munmap(value_, sizeof(T)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  T* operator->() const { return value_; }

 private:
  T* value_;
};

}  // namespace kmd

#endif  // NPU_TESTS_VM_KMD_PROCESSES_H_
