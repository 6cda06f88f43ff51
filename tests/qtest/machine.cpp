// SPDX-License-Identifier: MIT
#include "machine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace npu::qtest {
namespace {

constexpr int kAnswerMs = 60'000;
// QEMU reads a command up to its newline into memory; blocks keep that small.
constexpr size_t kBlock = 32 * 1024;

std::string tree() {
  return NPU_SOURCE_TREE;
}

std::string program() {
  const char* own = std::getenv("QEMU");
  return own != nullptr ? own : tree() + "/build/bin/qemu-system-x86_64";
}

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

char width(unsigned bytes) {
  switch (bytes) {
    case 1:
      return 'b';
    case 2:
      return 'w';
    case 4:
      return 'l';
    case 8:
      return 'q';
    default:
      throw std::invalid_argument("an access has 1, 2, 4 or 8 bytes");
  }
}

[[noreturn]] void run_qemu(const std::vector<std::string>& words, int qtest, int qmp) {
  // The ends that QEMU gets survive the exec, under numbers that it is told.
  dup2(qtest, 3);
  dup2(qmp, 4);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setenv("LD_LIBRARY_PATH", (tree() + "/build/lib").c_str(), 1);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execv(arguments[0], arguments.data());
  _exit(127);
}

}  // namespace

std::string QtestMachine::missing() {
  if (access(program().c_str(), X_OK) != 0) return "QEMU with the card is not built (make qemu)";
  return "";
}

QtestMachine::QtestMachine(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {program(),
                                    "-nodefaults",
                                    "-no-user-config",
                                    "-display",
                                    "none",
                                    "-machine",
                                    "q35",
                                    "-accel",
                                    "qtest",
                                    "-m",
                                    std::to_string(kMemoryBytes >> 20),
                                    "-chardev",
                                    "socket,id=qtest,fd=3",
                                    "-qtest",
                                    "chardev:qtest",
                                    "-qtest-log",
                                    "none",
                                    "-chardev",
                                    "socket,id=qmp,fd=4",
                                    "-mon",
                                    "chardev=qmp,mode=control"};
  for (const char* folder : {"seabios", "qemu"}) {
    words.push_back("-L");
    words.push_back(tree() + "/build/qemu/fw/usr/share/" + folder);
  }
  words.insert(words.end(), arguments.begin(), arguments.end());
  start(words);
  read_line(qmp_, qmp_buffer_);  // the greeting
  ask("qmp_capabilities", "");
}

void QtestMachine::start(const std::vector<std::string>& words) {
  // Above the numbers that QEMU's ends get, so that none is overwritten.
  int ends[2][2];
  for (auto& pair : ends) {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      throw std::system_error(errno, std::generic_category(), "socketpair");
    for (int& end : pair) {
      const int high = fcntl(end, F_DUPFD_CLOEXEC, 10);
      close(end);
      end = high;
    }
  }
  qtest_ = ends[0][0];
  qmp_ = ends[1][0];
  pid_ = fork();
  if (pid_ == 0) run_qemu(words, ends[0][1], ends[1][1]);
  close(ends[0][1]);
  close(ends[1][1]);
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
}

QtestMachine::~QtestMachine() {
  try {
    if (running()) ask("quit", "");
  } catch (const std::exception&) {
    // It is dying; its status says how.
  }
  close(qtest_);
  close(qmp_);
  EXPECT_EQ(wait_exit(), 0) << "QEMU's exit status";
}

bool QtestMachine::running() {
  return pid_ > 0 &&
         waitid(P_PID, static_cast<id_t>(pid_), nullptr, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         kill(pid_, 0) == 0;
}

// As the shell has it: 128 + the signal that ended it.
int QtestMachine::wait_exit() {
  int status = 0;
  for (int i = 0; i < 1000; ++i) {
    if (waitpid(pid_, &status, WNOHANG) == pid_)
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  kill(pid_, SIGKILL);
  waitpid(pid_, &status, 0);
  return 128 + SIGKILL;
}

// --- The qtest protocol ---------------------------------------------------

void QtestMachine::send(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::send(fd, text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw std::runtime_error("QEMU has closed the connection");
    done += static_cast<size_t>(n);
  }
}

std::string QtestMachine::read_line(int fd, std::string& buffer) {
  for (;;) {
    const size_t end = buffer.find('\n');
    if (end != std::string::npos) {
      std::string line = buffer.substr(0, end);
      buffer.erase(0, end + 1);
      return line;
    }
    pollfd item = {.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = poll(&item, 1, kAnswerMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) throw std::runtime_error("QEMU does not answer");
    char block[4096];
    const ssize_t n = recv(fd, block, sizeof(block), 0);
    if (n <= 0) throw std::runtime_error("QEMU has ended");
    buffer.append(block, static_cast<size_t>(n));
  }
}

std::string QtestMachine::command(const std::string& line) {
  send(qtest_, line + "\n");
  const std::string answer = read_line(qtest_, qtest_buffer_);
  if (!answer.starts_with("OK")) throw std::runtime_error("qtest: " + line + ": " + answer);
  return answer.size() > 3 ? answer.substr(3) : "";
}

void QtestMachine::read(uint64_t address, void* data, size_t bytes) {
  auto* out = static_cast<uint8_t*>(data);
  while (bytes > 0) {
    const size_t block = std::min(bytes, kBlock);
    const std::string text = command("read " + hex(address) + " " + hex(block));  // 0x...
    for (size_t i = 0; i < block; ++i)
      out[i] = static_cast<uint8_t>(std::stoul(text.substr(2 + 2 * i, 2), nullptr, 16));
    address += block;
    out += block;
    bytes -= block;
  }
}

void QtestMachine::write(uint64_t address, const void* data, size_t bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  const auto* in = static_cast<const uint8_t*>(data);
  while (bytes > 0) {
    const size_t block = std::min(bytes, kBlock);
    std::string text = "0x";
    for (size_t i = 0; i < block; ++i) {
      text += kDigits[in[i] >> 4];
      text += kDigits[in[i] & 15];
    }
    command("write " + hex(address) + " " + hex(block) + " " + text);
    address += block;
    in += block;
    bytes -= block;
  }
}

void QtestMachine::zero(uint64_t address, size_t bytes) {
  command("memset " + hex(address) + " " + hex(bytes) + " 0x0");
}

uint64_t QtestMachine::read_word(uint64_t address, unsigned bytes) {
  return std::stoull(command(std::string("read") + width(bytes) + " " + hex(address)), nullptr, 0);
}

void QtestMachine::write_word(uint64_t address, uint64_t value, unsigned bytes) {
  command(std::string("write") + width(bytes) + " " + hex(address) + " " + hex(value));
}

uint32_t QtestMachine::in32(uint16_t port) {
  return static_cast<uint32_t>(std::stoul(command("inl " + hex(port)), nullptr, 0));
}

void QtestMachine::out32(uint16_t port, uint32_t value) {
  command("outl " + hex(port) + " " + hex(value));
}

uint64_t QtestMachine::clock_step(uint64_t ns) {
  return std::stoull(command("clock_step " + std::to_string(ns)), nullptr, 0);
}

// --- QMP --------------------------------------------------------------------

std::string QtestMachine::ask(const std::string& command, const std::string& arguments) {
  send(qmp_, "{\"execute\":\"" + command + "\"" +
                 (arguments.empty() ? "" : ",\"arguments\":" + arguments) + "}\n");
  for (;;) {
    std::string line = read_line(qmp_, qmp_buffer_);
    if (line.starts_with("{\"return\"") || line.starts_with("{\"error\"")) return line;
    events_.push_back(std::move(line));
  }
}

std::string QtestMachine::qmp(const std::string& command, const std::string& arguments) {
  std::string answer = ask(command, arguments);
  if (!answer.starts_with("{\"return\""))
    throw std::runtime_error("QMP: " + command + ": " + answer);
  return answer;
}

std::string QtestMachine::qmp_error(const std::string& command, const std::string& arguments) {
  std::string answer = ask(command, arguments);
  if (!answer.starts_with("{\"error\""))
    throw std::runtime_error("QMP: " + command + " was to fail: " + answer);
  return answer;
}

std::string QtestMachine::hmp(const std::string& line) {
  return qmp("human-monitor-command", "{\"command-line\":\"" + line + "\"}");
}

void QtestMachine::reset() {
  qmp("system_reset");
  wait_event("RESET");
}

std::string QtestMachine::wait_event(const std::string& name) {
  for (;;) {
    const auto found = std::find_if(events_.begin(), events_.end(), [&](const std::string& event) {
      return event.find("\"event\": \"" + name + "\"") != std::string::npos;
    });
    if (found != events_.end()) {
      std::string event = std::move(*found);
      events_.erase(found);
      return event;
    }
    events_.push_back(read_line(qmp_, qmp_buffer_));
  }
}

bool eventually(const std::function<bool()>& done, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

}  // namespace npu::qtest
