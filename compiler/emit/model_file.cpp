// SPDX-License-Identifier: MIT
#include "compiler/emit/model_file.h"

#include <zlib.h>

#include <cstring>

#include "npu/compiled_model.h"
#include "npu/compiled_model_generated.h"

namespace npu::compiler {
namespace {

namespace format = npu::format;

constexpr const char* kProducer = "npu-compile " NPU_COMPILER_VERSION;

flatbuffers::Offset<format::Tensor> write_tensor(flatbuffers::FlatBufferBuilder& builder,
                                                 const Value& value, const std::string& name,
                                                 unsigned region) {
  flatbuffers::Offset<format::Quantization> quantization;
  if (value.quantization.scale > 0) {
    const std::vector<float> scale{value.quantization.scale};
    const std::vector<int32_t> zero{value.quantization.zero};
    quantization = format::CreateQuantizationDirect(builder, &scale, &zero, -1);
  }
  const std::vector<uint32_t> shape(value.shape.begin(), value.shape.end());
  return format::CreateTensorDirect(
      builder, name.c_str(),
      value.type == ByteType::kInt8 ? format::DataType::Int8 : format::DataType::Uint8, &shape,
      quantization, static_cast<uint8_t>(region), static_cast<uint64_t>(elements(value.shape)));
}

}  // namespace

std::vector<std::byte> write_model(const Graph& graph, const ModelParts& parts,
                                   const CompileReport& report, const npu_target& target) {
  uint64_t stream_bytes = 0;
  for (const Job& job : parts.jobs)
    for (const JobStream& stream : job.streams) stream_bytes += stream.bytes.size();
  if (stream_bytes + parts.constants.size() > 0x7f000000u) return {};

  flatbuffers::FlatBufferBuilder builder(stream_bytes + parts.constants.size() + 65536);
  unsigned region = NPU_REGION_TENSORS;
  std::vector<flatbuffers::Offset<format::Tensor>> inputs, outputs;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    inputs.push_back(
        write_tensor(builder, graph.value(graph.inputs[i]), graph.input_names[i], region++));
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    outputs.push_back(
        write_tensor(builder, graph.value(graph.outputs[i]), graph.output_names[i], region++));
  }
  std::vector<flatbuffers::Offset<format::Operator>> operators;
  uint64_t macs = 0;
  for (const Source& source : graph.sources) {
    operators.push_back(format::CreateOperatorDirect(builder, source.name.c_str(),
                                                     source.type.c_str(), source.macs));
    macs += source.macs;
  }
  std::vector<flatbuffers::Offset<format::Job>> jobs;
  uint64_t offset = 0;
  for (size_t i = 0; i < parts.jobs.size(); ++i) {
    std::vector<flatbuffers::Offset<format::Stream>> streams;
    for (const JobStream& stream : parts.jobs[i].streams) {
      streams.push_back(
          format::CreateStream(builder, offset, static_cast<uint32_t>(stream.bytes.size())));
      offset += stream.bytes.size();
    }
    // The first job reads only inputs and constants before it writes; a later
    // one may overwrite scratch memory that it has read.
    jobs.push_back(format::CreateJobDirect(builder, &streams, i == 0));
  }

  builder.ForceVectorAlignment(parts.constants.size(), 1, NPU_RECORD_BYTES);
  const auto constants = builder.CreateVector(parts.constants);
  builder.ForceVectorAlignment(stream_bytes, 1, NPU_RECORD_BYTES);
  uint8_t* at = nullptr;
  const auto commands = builder.CreateUninitializedVector<uint8_t>(stream_bytes, &at);
  for (const Job& job : parts.jobs) {
    for (const JobStream& stream : job.streams) {
      std::memcpy(at, stream.bytes.data(), stream.bytes.size());
      at += stream.bytes.size();
    }
  }
  std::vector<uint32_t> target_words(NPU_TARGET_WORDS);
  std::memcpy(target_words.data(), &target, sizeof(target));

  const auto name = builder.CreateString(graph.name);
  const auto producer = builder.CreateString(kProducer);
  const auto words = builder.CreateVector(target_words);
  const auto input_vector = builder.CreateVector(inputs);
  const auto output_vector = builder.CreateVector(outputs);
  const auto operator_vector = builder.CreateVector(operators);
  const auto job_vector = builder.CreateVector(jobs);
  format::ModelBuilder model(builder);
  model.add_name(name);
  model.add_producer(producer);
  model.add_target(words);
  model.add_inputs(input_vector);
  model.add_outputs(output_vector);
  model.add_operators(operator_vector);
  model.add_jobs(job_vector);
  model.add_regions(region);
  model.add_commands(commands);
  model.add_constants(constants);
  model.add_scratch_bytes(parts.scratch_bytes);
  model.add_macs(macs);
  model.add_sram_peak_bytes(report.sram_peak_bytes);
  model.add_cycles(report.cycles);
  builder.Finish(model.Finish());

  npu_model_header header = {};
  header.magic = NPU_MODEL_FILE_MAGIC;
  header.version = NPU_MODEL_FILE_VERSION;
  header.header_bytes = sizeof(header);
  header.payload_bytes = builder.GetSize();
  header.payload_crc32 = static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(builder.GetBufferPointer()), builder.GetSize()));
  std::vector<std::byte> file(sizeof(header) + builder.GetSize());
  std::memcpy(file.data(), &header, sizeof(header));
  std::memcpy(file.data() + sizeof(header), builder.GetBufferPointer(), builder.GetSize());
  return file;
}

}  // namespace npu::compiler
