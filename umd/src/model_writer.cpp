// SPDX-License-Identifier: MIT
#include "model_writer.h"

#include <zlib.h>

#include <cstring>

#include "npu/command.h"
#include "npu/compiled_model.h"
#include "npu/compiled_model_generated.h"

namespace npu::umd {
namespace {

namespace format = npu::format;
using Builder = flatbuffers::FlatBufferBuilder;

flatbuffers::Offset<flatbuffers::Vector<uint8_t>> aligned_bytes(
    Builder& builder, const std::vector<std::byte>& data) {
  builder.ForceVectorAlignment(data.size(), 1, NPU_RECORD_BYTES);
  return builder.CreateVector(reinterpret_cast<const uint8_t*>(data.data()), data.size());
}

auto write_tensors(Builder& builder, const std::vector<ModelDescription::Tensor>& tensors,
                   uint8_t region) {
  std::vector<flatbuffers::Offset<format::Tensor>> out;
  for (const ModelDescription::Tensor& tensor : tensors) {
    out.push_back(format::CreateTensorDirect(builder, tensor.name.c_str(),
                                             static_cast<format::DataType>(tensor.type),
                                             &tensor.shape, 0, region++, tensor.bytes));
  }
  return builder.CreateVector(out);
}

}  // namespace

std::vector<std::byte> write_model(const ModelDescription& d) {
  Builder builder;
  std::vector<std::byte> commands;
  std::vector<flatbuffers::Offset<format::Job>> jobs;
  for (const ModelDescription::Job& job : d.jobs) {
    std::vector<flatbuffers::Offset<format::Stream>> streams;
    for (const std::vector<std::byte>& stream : job.streams) {
      streams.push_back(
          format::CreateStream(builder, commands.size(), static_cast<uint32_t>(stream.size())));
      commands.insert(commands.end(), stream.begin(), stream.end());
    }
    jobs.push_back(format::CreateJobDirect(builder, &streams, job.restartable));
  }
  std::vector<flatbuffers::Offset<format::Operator>> operators;
  for (const ModelDescription::Operator& op : d.operators) {
    operators.push_back(
        format::CreateOperatorDirect(builder, op.name.c_str(), op.type.c_str(), op.macs));
  }
  uint32_t target[NPU_TARGET_WORDS];
  std::memcpy(target, &d.target, sizeof target);
  const auto name = builder.CreateString(d.name);
  const auto producer = builder.CreateString("model_writer");
  const auto target_words = builder.CreateVector(target, NPU_TARGET_WORDS);
  const auto inputs = write_tensors(builder, d.inputs, NPU_REGION_TENSORS);
  const auto outputs =
      write_tensors(builder, d.outputs, static_cast<uint8_t>(NPU_REGION_TENSORS + d.inputs.size()));
  const auto operator_vector = builder.CreateVector(operators);
  const auto job_vector = builder.CreateVector(jobs);
  const auto command_bytes = aligned_bytes(builder, commands);
  const auto constant_bytes = aligned_bytes(builder, d.constants);
  format::ModelBuilder model(builder);
  model.add_name(name);
  model.add_producer(producer);
  model.add_target(target_words);
  model.add_inputs(inputs);
  model.add_outputs(outputs);
  model.add_operators(operator_vector);
  model.add_jobs(job_vector);
  model.add_regions(static_cast<uint32_t>(NPU_REGION_TENSORS + d.inputs.size() + d.outputs.size()));
  model.add_commands(command_bytes);
  model.add_constants(constant_bytes);
  model.add_scratch_bytes(d.scratch_bytes);
  model.add_macs(d.macs);
  format::FinishModelBuffer(builder, model.Finish());

  npu_model_header header = {};
  header.magic = NPU_MODEL_FILE_MAGIC;
  header.version = NPU_MODEL_FILE_VERSION;
  header.header_bytes = sizeof header;
  header.payload_bytes = builder.GetSize();
  header.payload_crc32 =
      static_cast<uint32_t>(crc32_z(0, builder.GetBufferPointer(), builder.GetSize()));
  std::vector<std::byte> file(sizeof header + builder.GetSize());
  std::memcpy(file.data(), &header, sizeof header);
  std::memcpy(file.data() + sizeof header, builder.GetBufferPointer(), builder.GetSize());
  return file;
}

}  // namespace npu::umd
