// SPDX-License-Identifier: MIT
//
// A QEMU without a guest: this process is its processor. It accesses memory and
// ports over QEMU's qtest protocol, moves the virtual clock, and drives the
// monitor (QMP). Starting and ending one takes about 0.1 s.
//
// Errors of the transport, QEMU's death among them, are exceptions: GoogleTest
// reports them as failures of the test at hand.
#ifndef NPU_TESTS_QTEST_MACHINE_H_
#define NPU_TESTS_QTEST_MACHINE_H_

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace npu::qtest {

class QtestMachine {
 public:
  // Why no machine can be started here; empty if one can. Tests skip with it.
  static std::string missing();

  // A q35 with 128 MiB of memory at address 0 and nothing else but `arguments`,
  // e.g. {"-device", "npu,addr=4"}.
  explicit QtestMachine(const std::vector<std::string>& arguments);
  // Ends QEMU, and fails the test unless it ends with status 0.
  ~QtestMachine();
  QtestMachine(const QtestMachine&) = delete;
  QtestMachine& operator=(const QtestMachine&) = delete;

  static constexpr uint64_t kMemoryBytes = 128u << 20;

  // Memory, in accesses of any width.
  void read(uint64_t address, void* data, size_t bytes);
  void write(uint64_t address, const void* data, size_t bytes);
  void zero(uint64_t address, size_t bytes);
  template <typename T>
  T load(uint64_t address) {
    T value;
    read(address, &value, sizeof(value));
    return value;
  }
  template <typename T>
  void store(uint64_t address, const T& value) {
    write(address, &value, sizeof(value));
  }

  // One access of exactly 1, 2, 4 or 8 bytes.
  uint64_t read_word(uint64_t address, unsigned bytes);
  void write_word(uint64_t address, uint64_t value, unsigned bytes);
  uint32_t in32(uint16_t port);
  void out32(uint16_t port, uint32_t value);

  // Moves the virtual clock, which stands still otherwise; returns it, in ns.
  uint64_t clock_step(uint64_t ns);

  // The monitor. `arguments` is a JSON object or empty; the result is the text
  // of the answer. qmp() throws when the answer is an error, qmp_error() when
  // it is none.
  std::string qmp(const std::string& command, const std::string& arguments = "");
  std::string qmp_error(const std::string& command, const std::string& arguments = "");
  // A line of the human monitor; returns what it printed, as a JSON string.
  std::string hmp(const std::string& line);
  void reset();
  // Waits for an event; returns its text. Those of earlier calls count, once.
  std::string wait_event(const std::string& name);

  bool running();

 private:
  void start(const std::vector<std::string>& arguments);
  std::string command(const std::string& line);
  std::string read_line(int fd, std::string& buffer);
  void send(int fd, const std::string& text);
  std::string ask(const std::string& command, const std::string& arguments);
  int wait_exit();

  pid_t pid_ = -1;
  int qtest_ = -1, qmp_ = -1;
  std::string qtest_buffer_, qmp_buffer_;
  std::vector<std::string> events_;
};

// Polls until `done` holds; false after `limit` of this machine's time, which
// is generous: only a failing test waits for it.
bool eventually(const std::function<bool()>& done,
                std::chrono::milliseconds limit = std::chrono::seconds(30));

}  // namespace npu::qtest

#endif  // NPU_TESTS_QTEST_MACHINE_H_
