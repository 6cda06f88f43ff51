// SPDX-License-Identifier: MIT
//
// Compiled models that are wrong: bytes, sections, commands and fields of sound ones changed.
#ifndef NPU_TESTS_HOSTILE_DAMAGE_H_
#define NPU_TESTS_HOSTILE_DAMAGE_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace npu::format {
struct ModelT;
struct TensorT;
struct JobT;
}  // namespace npu::format

namespace npu::testing {

using File = std::vector<std::byte>;

// One damaged file of a seed; the same seed and sound files give the same one.
class Damage {
 public:
  Damage(uint32_t seed, std::span<const File> sound) : random_(seed), sound_(sound) {}

  File file();

 private:
  // Below `count`; 0 if that is 0.
  size_t pick(size_t count) { return count == 0 ? 0 : random_() % count; }
  bool chance(unsigned percent) { return random_() % 100 < percent; }
  // What is likely to be at the edge of some rule, `bits` wide.
  uint64_t edge(unsigned bits, uint64_t value);
  template <typename T>
  void change(T& number);

  void change_model(format::ModelT& model, const format::ModelT& other);
  void change_table(format::ModelT& model);
  void change_tensor(format::ModelT& model);
  void change_job(format::ModelT& model);
  void change_commands(format::ModelT& model, const format::ModelT& other);
  void change_field(std::vector<uint8_t>& commands);
  void change_bytes(File& payload, const File& other);

  std::mt19937 random_;
  std::span<const File> sound_;
};

}  // namespace npu::testing

#endif  // NPU_TESTS_HOSTILE_DAMAGE_H_
