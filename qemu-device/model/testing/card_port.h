// SPDX-License-Identifier: MIT
//
// What a machine offers to whoever drives the card in it: registers and memory,
// messages, a clock, resets. The front ends of the card implement this, so that a
// test written against it runs on each of them.
#ifndef NPU_MODEL_TESTING_CARD_PORT_H_
#define NPU_MODEL_TESTING_CARD_PORT_H_

#include <cstddef>
#include <cstdint>
#include <functional>

namespace npu::model::testing {

enum class ResetKind { kPower, kFunctionLevel };

class CardPort {
 public:
  virtual ~CardPort() = default;

  // One access to a BAR of exactly `bytes` = 1, 2, 4 or 8.
  virtual uint64_t bar_read(unsigned bar, uint64_t offset, unsigned bytes) = 0;
  virtual void bar_write(unsigned bar, uint64_t offset, uint64_t value, unsigned bytes) = 0;

  // Card memory through BAR2, and bus memory; accesses of any width.
  virtual void read_card(uint64_t offset, void* data, size_t bytes) = 0;
  virtual void write_card(uint64_t offset, const void* data, size_t bytes) = 0;
  virtual void read_memory(uint64_t address, void* data, size_t bytes) = 0;
  virtual void write_memory(uint64_t address, const void* data, size_t bytes) = 0;
  // Bus addresses of memory that is the driver's: zero until it writes them.
  virtual uint64_t memory_begin() = 0;
  virtual uint64_t memory_end() = 0;

  // Messages of the MSI-X vector since the last call. Where they cannot be
  // counted, 1 stands for any number.
  virtual unsigned take_messages(unsigned vector) = 0;
  virtual bool counts_messages() const { return true; }
  virtual void mask_vector(unsigned vector, bool masked) = 0;

  // Lets the card work until `done` holds; false if it never does.
  virtual bool run_until(const std::function<bool()>& done) = 0;
  // Lets the card do everything that it can do by itself.
  virtual void settle() = 0;
  // Moves the machine's clock, which stands still otherwise.
  virtual void advance(uint64_t ns) = 0;

  // Afterwards BARs, MSI-X and bus mastering are set up again.
  virtual void reset(ResetKind kind) = 0;
  virtual void set_bus_master(bool on) = 0;
};

}  // namespace npu::model::testing

#endif  // NPU_MODEL_TESTING_CARD_PORT_H_
