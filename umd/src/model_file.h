// SPDX-License-Identifier: MIT
//
// A compiled-model file in memory, checked: after parse() every table, offset
// and size in it can be relied on; after check_target() and check_commands()
// so can its commands, on that card.
#ifndef NPU_UMD_MODEL_FILE_H_
#define NPU_UMD_MODEL_FILE_H_

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "arch/stream.h"
#include "npu/compiled_model.h"
#include "npu/compiled_model_generated.h"
#include "npu/target.h"
#include "result.h"

namespace npu::umd {

class ModelFile {
 public:
  // Copies `file`. BAD_MODEL if anything about it is wrong.
  static Result<ModelFile> parse(std::span<const std::byte> file);

  const npu::format::Model& model() const { return *npu::format::GetModel(payload_.get()); }
  // What it was compiled for.
  const npu_target& target() const;
  std::span<const std::byte> commands() const;
  std::span<const std::byte> constants() const;

  // Inputs, then outputs.
  unsigned tensor_count() const { return model().inputs()->size() + model().outputs()->size(); }
  const npu::format::Tensor& tensor(unsigned index) const;
  bool is_output(unsigned index) const { return index >= model().inputs()->size(); }

  std::span<const std::byte> stream(const npu::format::Stream& stream) const {
    return commands().subspan(stream.offset(), stream.bytes());
  }

  // WRONG_TARGET, with the parameter, if the model cannot run on `card`.
  Status check_target(const npu_target& card) const;
  // BAD_MODEL if a command breaks a rule or reaches outside its region. Returns
  // the number of commands of each job.
  Result<std::vector<uint32_t>> check_commands(const npu_target& card) const;

 private:
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  Status check_structure() const;
  Status check_tensor(unsigned index, uint64_t& regions_seen) const;
  Status check_jobs() const;
  uint64_t region_bytes(unsigned region) const;
  Status check_external(const arch::Command& command) const;

  std::unique_ptr<uint8_t, Free> payload_;  // aligned as the container asks
};

// "uint8[1,3,28,28]"
std::string describe_tensor(const npu::format::Tensor& tensor);

}  // namespace npu::umd

#endif  // NPU_UMD_MODEL_FILE_H_
