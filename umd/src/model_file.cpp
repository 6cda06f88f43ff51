// SPDX-License-Identifier: MIT
#include "model_file.h"

#include <zlib.h>

#include <cmath>
#include <cstring>

#include "libnpu/npu.h"
#include "npu/queue.h"

namespace npu::umd {
namespace {

namespace format = npu::format;

constexpr size_t kAlignment = 128;
constexpr size_t kMaxPayload = 0x7fffffff;  // FlatBuffers' limit
constexpr size_t kMaxTables = 4'000'000;
constexpr uint64_t kMaxTensorBytes = uint64_t{1} << 36;

Error bad(const std::string& text) {
  return fail(NPU_ERROR_BAD_MODEL, "compiled model: " + text);
}

Status check_header(std::span<const std::byte> file, npu_model_header& header) {
  if (file.size() < sizeof header) {
    return bad("the file has " + std::to_string(file.size()) +
               " bytes, less than its header; it is empty or was cut off");
  }
  std::memcpy(&header, file.data(), sizeof header);
  if (header.magic != NPU_MODEL_FILE_MAGIC) {
    return bad("this is not a compiled model (wrong magic number); make one with npu-compile");
  }
  if (header.version != NPU_MODEL_FILE_VERSION || header.header_bytes != sizeof header) {
    return bad("file version " + std::to_string(header.version) + " is not version " +
               std::to_string(NPU_MODEL_FILE_VERSION) +
               " that this library reads; compile the model again");
  }
  for (uint32_t word : header.reserved) {
    if (word != 0) return bad("a reserved word of the header is not zero; the file is damaged");
  }
  const size_t payload = file.size() - sizeof header;
  if (header.payload_bytes != payload) {
    return bad("the header announces " + std::to_string(header.payload_bytes) +
               " bytes of payload, the file has " + std::to_string(payload) +
               "; it was cut off or is damaged");
  }
  if (payload > kMaxPayload) return bad("the payload is larger than 2 GiB");
  const auto crc = crc32_z(0, reinterpret_cast<const Bytef*>(file.data()) + sizeof header, payload);
  if (crc != header.payload_crc32) {
    return bad("checksum mismatch; the file is damaged: copy or compile it again");
  }
  return {};
}

std::string quoted(const flatbuffers::String* name) {
  std::string text(1, '\'');
  text += name->str();
  text += '\'';
  return text;
}

}  // namespace

std::string describe_tensor(const format::Tensor& tensor) {
  std::string text = arch::data_type_name(static_cast<unsigned>(tensor.type()));
  text += "[";
  for (unsigned i = 0; i < tensor.shape()->size(); i++) {
    if (i > 0) text += ",";
    text += std::to_string(tensor.shape()->Get(i));
  }
  return text + "]";
}

Result<ModelFile> ModelFile::parse(std::span<const std::byte> file) {
  npu_model_header header = {};
  if (auto status = check_header(file, header); !status.ok()) return status.error();
  const size_t bytes = header.payload_bytes;
  ModelFile result;
  result.payload_.reset(static_cast<uint8_t*>(
      std::aligned_alloc(kAlignment, (bytes + kAlignment) / kAlignment * kAlignment)));
  if (result.payload_ == nullptr) {
    return fail(NPU_ERROR_NO_MEMORY, "no host memory for the compiled model");
  }
  std::memcpy(result.payload_.get(), file.data() + sizeof header, bytes);
  flatbuffers::Verifier verifier(result.payload_.get(), bytes, 64, kMaxTables);
  if (bytes < 8 || !format::VerifyModelBuffer(verifier)) {
    return bad("the container is malformed; compile the model again");
  }
  if (auto status = result.check_structure(); !status.ok()) return status.error();
  return result;
}

const npu_target& ModelFile::target() const {
  return *reinterpret_cast<const npu_target*>(model().target()->data());
}

std::span<const std::byte> ModelFile::commands() const {
  return {reinterpret_cast<const std::byte*>(model().commands()->data()),
          model().commands()->size()};
}

std::span<const std::byte> ModelFile::constants() const {
  return {reinterpret_cast<const std::byte*>(model().constants()->data()),
          model().constants()->size()};
}

const format::Tensor& ModelFile::tensor(unsigned index) const {
  const unsigned inputs = model().inputs()->size();
  return index < inputs ? *model().inputs()->Get(index) : *model().outputs()->Get(index - inputs);
}

Status ModelFile::check_structure() const {
  const format::Model& m = model();
  if (m.target()->size() != NPU_TARGET_WORDS) return bad("the target has the wrong size");
  if (target().name[sizeof target().name - 1] != '\0') return bad("the target's name is too long");
  const uint64_t tensors = uint64_t{m.inputs()->size()} + m.outputs()->size();
  if (m.outputs()->size() == 0) return bad("it has no outputs");
  if (m.regions() > NPU_MAX_REGIONS || m.regions() != NPU_REGION_TENSORS + tensors) {
    return bad("it has " + std::to_string(m.regions()) + " regions for " + std::to_string(tensors) +
               " tensors");
  }
  uint64_t regions_seen = 0;
  for (unsigned i = 0; i < tensor_count(); i++) {
    if (auto status = check_tensor(i, regions_seen); !status.ok()) return status;
  }
  return check_jobs();
}

Status ModelFile::check_tensor(unsigned index, uint64_t& regions_seen) const {
  const format::Tensor& t = tensor(index);
  const std::string name = "tensor " + quoted(t.name());
  if (t.name()->size() == 0) return bad("tensor " + std::to_string(index) + " has no name");
  const unsigned bits = arch::data_type_bits(static_cast<unsigned>(t.type()));
  if (bits == 0) return bad(name + " has an unknown type");
  if (t.shape()->size() > NPU_MAX_RANK) return bad(name + " has too many dimensions");
  unsigned __int128 total = bits;
  for (uint32_t dimension : *t.shape()) {
    if (dimension == 0) return bad(name + " has a dimension of 0");
    total *= dimension;
    if (total > (unsigned __int128){kMaxTensorBytes} * 8) return bad(name + " is too large");
  }
  const auto bytes = static_cast<uint64_t>((total + 7) / 8);
  if (t.bytes() != bytes) {
    return bad(name + " claims " + std::to_string(t.bytes()) + " bytes, its shape needs " +
               std::to_string(bytes));
  }
  if (t.region() < NPU_REGION_TENSORS || t.region() >= model().regions() ||
      (regions_seen >> t.region() & 1) != 0) {
    return bad(name + " has a region that does not exist or is another tensor's");
  }
  regions_seen |= uint64_t{1} << t.region();
  const format::Quantization* q = t.quantization();
  if (q != nullptr && q->scale() != nullptr) {
    const unsigned scales = q->scale()->size();
    const unsigned zeros = q->zero_point() != nullptr ? q->zero_point()->size() : 0;
    const unsigned rank = t.shape()->size();
    if (q->axis() >= static_cast<int>(rank) || q->axis() < -1 || zeros != scales ||
        scales != (q->axis() < 0 ? 1 : t.shape()->Get(static_cast<unsigned>(q->axis())))) {
      return bad(name + " has quantization parameters that do not fit its shape");
    }
    for (float scale : *q->scale()) {
      if (!std::isfinite(scale) || scale <= 0) return bad(name + " has a scale that is not > 0");
    }
  }
  return {};
}

Status ModelFile::check_jobs() const {
  const format::Model& m = model();
  if (m.jobs()->size() == 0) return bad("it has no jobs");
  uint64_t next = 0;  // no command belongs to two jobs, so that checking them all has an end
  for (unsigned j = 0; j < m.jobs()->size(); j++) {
    const auto& streams = *m.jobs()->Get(j)->streams();
    const std::string name = "job " + std::to_string(j);
    if (streams.size() == 0 || streams.size() > NPU_MAX_CORES) {
      return bad(name + " has " + std::to_string(streams.size()) + " streams");
    }
    for (const format::Stream* stream : streams) {
      if (stream->offset() != next || stream->offset() % NPU_RECORD_BYTES != 0 ||
          stream->bytes() == 0 || stream->bytes() % NPU_RECORD_BYTES != 0 ||
          stream->bytes() > NPU_STREAM_MAX_BYTES || stream->offset() > m.commands()->size() ||
          stream->bytes() > m.commands()->size() - stream->offset()) {
        return bad(name + " has a stream outside the commands, or not right after the one before");
      }
      next = stream->offset() + stream->bytes();
    }
  }
  return {};
}

Status ModelFile::check_target(const npu_target& card) const {
  const npu_target& mine = target();
  const auto wrong = [&](const char* parameter, uint64_t model_value, const char* relation,
                         uint64_t card_value) {
    const std::string card_name(card.name, strnlen(card.name, sizeof card.name));
    return fail(NPU_ERROR_WRONG_TARGET,
                "compiled model for target '" + std::string(mine.name) + "' cannot run on '" +
                    card_name + "': " + parameter + " is " + std::to_string(model_value) +
                    " in the model, " + std::to_string(card_value) + " on the device" + relation +
                    "; compile it again with npu-compile --target " + card_name);
  };
  if (mine.mac_outputs != card.mac_outputs) {
    return wrong("mac_outputs", mine.mac_outputs, "", card.mac_outputs);
  }
  if (mine.accumulator_rows != card.accumulator_rows) {
    return wrong("accumulator_rows", mine.accumulator_rows, "", card.accumulator_rows);
  }
  if (mine.sram_bytes > card.sram_bytes) {
    return wrong("sram_bytes", mine.sram_bytes, ", which is less", card.sram_bytes);
  }
  for (const format::Job* job : *model().jobs()) {
    if (job->streams()->size() > card.cores) {
      return wrong("cores", job->streams()->size(), ", which is less", card.cores);
    }
    for (const format::Stream* stream : *job->streams()) {
      if (stream->bytes() > card.max_stream_bytes) {
        return wrong("max_stream_bytes", stream->bytes(), ", which is less", card.max_stream_bytes);
      }
    }
  }
  const uint64_t memory = uint64_t{card.card_memory_mib} << 20;
  const unsigned __int128 need =
      (unsigned __int128){model().scratch_bytes()} + constants().size() + commands().size();
  if (need > memory) {
    return wrong("card memory needed (bytes)", static_cast<uint64_t>(need), ", which is less",
                 memory);
  }
  return {};
}

uint64_t ModelFile::region_bytes(unsigned region) const {
  if (region == NPU_REGION_CONSTANTS) return constants().size();
  if (region == NPU_REGION_SCRATCH) return model().scratch_bytes();
  for (unsigned i = 0; i < tensor_count(); i++) {
    if (tensor(i).region() == region) return tensor(i).bytes();
  }
  return 0;
}

Status ModelFile::check_external(const arch::Command& command) const {
  if (command.opcode() != NPU_OP_LOAD && command.opcode() != NPU_OP_STORE) return {};
  const npu_command_dma& dma = command.dma();
  if (dma.region >= model().regions()) return bad("region " + std::to_string(dma.region));
  const uint64_t bytes = region_bytes(dma.region);
  if (dma.external_offset + arch::external_extent(dma) > bytes) {
    return bad("reaches beyond region " + std::to_string(dma.region) + " of " +
               std::to_string(bytes) + " bytes");
  }
  if (command.opcode() == NPU_OP_STORE) {
    if (dma.region == NPU_REGION_CONSTANTS) return bad("stores into the constants");
    for (const format::Tensor* input : *model().inputs()) {
      if (input->region() == dma.region) return bad("stores into input " + quoted(input->name()));
    }
  }
  return {};
}

Result<std::vector<uint32_t>> ModelFile::check_commands(const npu_target& card) const {
  std::vector<uint32_t> counts;
  for (unsigned j = 0; j < model().jobs()->size(); j++) {
    const auto& streams = *model().jobs()->Get(j)->streams();
    const auto where = [&](unsigned core, uint32_t command) {
      return "job " + std::to_string(j) + ", core " + std::to_string(core) +
             (command == NPU_NO_COMMAND ? std::string() : ", command " + std::to_string(command));
    };
    std::vector<arch::Stream> decoded(streams.size());
    uint32_t count = 0;
    for (unsigned core = 0; core < streams.size(); core++) {
      arch::StreamError error;
      if (!arch::decode_stream(stream(*streams.Get(core)), card, core, streams.size(),
                               decoded[core], error)) {
        return bad(where(core, error.command) + ": " + arch::status_name(error.status) + ": " +
                   error.text);
      }
      for (uint32_t i = 0; i < decoded[core].size(); i++) {
        const arch::Command& command = decoded[core][i];
        if (auto status = check_external(command); !status.ok()) {
          return bad(where(core, i) + " (" + arch::opcode_name(command.header().opcode) +
                     "): " + status.error().text);
        }
        if (command.header().source_op >= model().operators()->size() &&
            !(command.header().source_op == 0 && model().operators()->size() == 0)) {
          return bad(where(core, i) + ": operator " + std::to_string(command.header().source_op) +
                     " does not exist");
        }
      }
      count += static_cast<uint32_t>(decoded[core].size());
    }
    arch::StreamError error;
    if (!arch::check_deadlock(decoded, error)) {
      return bad(where(error.core, error.command) + ": " + arch::status_name(error.status) + ": " +
                 error.text);
    }
    counts.push_back(count);
  }
  return counts;
}

}  // namespace npu::umd
