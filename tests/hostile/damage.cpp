// SPDX-License-Identifier: MIT
#include "damage.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>

#include "npu/command.h"
#include "npu/compiled_model.h"
#include "npu/compiled_model_objects.h"

namespace npu::testing {
namespace {

using format::ModelT;

std::unique_ptr<ModelT> unpack(const File& file) {
  return std::unique_ptr<ModelT>(
      format::GetModel(file.data() + sizeof(npu_model_header))->UnPack());
}

File pack(const ModelT& model) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(format::Model::Pack(builder, &model));
  const auto* begin = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return {begin, begin + builder.GetSize()};
}

npu_model_header header_of(const File& payload) {
  npu_model_header header = {};
  header.magic = NPU_MODEL_FILE_MAGIC;
  header.version = NPU_MODEL_FILE_VERSION;
  header.header_bytes = sizeof header;
  header.payload_bytes = payload.size();
  header.payload_crc32 = static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(payload.data()), payload.size()));
  return header;
}

}  // namespace

uint64_t Damage::edge(unsigned bits, uint64_t value) {
  const uint64_t top = uint64_t{1} << (bits - 1), all = top | (top - 1);
  switch (pick(14)) {
    case 0:
      return 0;
    case 1:
      return 1;
    case 2:
      return all;
    case 3:
      return top;
    case 4:
      return top - 1;
    case 5:
      return (value + 1) & all;
    case 6:
      return (value - 1) & all;
    case 7:
      return (value * 2) & all;
    case 8:
      return value / 2;
    case 9:
      return value ^ (uint64_t{1} << pick(bits));
    case 10:
      return (~value + 1) & all;
    case 11:  // just beyond a power of two
      return ((uint64_t{1} << pick(bits)) + pick(3) - 1) & all;
    case 12:
      return pick(256) & all;
    default:
      return ((uint64_t{random_()} << 32) | random_()) & all;
  }
}

template <typename T>
void Damage::change(T& number) {
  uint64_t value = 0;
  std::memcpy(&value, &number, sizeof number);
  value = edge(sizeof number * 8, value);
  std::memcpy(&number, &value, sizeof number);
}

void Damage::change_tensor(ModelT& model) {
  auto& tensors = chance(50) ? model.inputs : model.outputs;
  if (tensors.empty()) return;
  const size_t at = pick(tensors.size());
  format::TensorT& tensor = *tensors[at];
  switch (pick(9)) {
    case 0:
      return change(tensor.bytes);
    case 1:
      return change(tensor.region);
    case 2: {
      uint8_t type = static_cast<uint8_t>(tensor.type);
      change(type);
      tensor.type = static_cast<format::DataType>(type);
      return;
    }
    case 3:
      if (!tensor.shape.empty()) change(tensor.shape[pick(tensor.shape.size())]);
      return;
    case 4:  // the size that the shape asks for, now
      if (tensor.shape.empty()) return;
      change(tensor.shape[pick(tensor.shape.size())]);
      tensor.bytes = 1;
      for (const uint32_t dimension : tensor.shape) tensor.bytes *= dimension;
      return;
    case 5:
      tensor.shape.resize(pick(12), 1);
      return;
    case 6:
      if (tensor.quantization == nullptr || tensor.quantization->scale.empty()) return;
      if (chance(50))
        change(tensor.quantization->scale[0]);
      else
        change(tensor.quantization->axis);
      return;
    case 7:
      tensor.name.resize(pick(2) * pick(100'000));
      return;
    default:
      if (chance(50))
        tensors.push_back(std::make_unique<format::TensorT>(tensor));
      else
        tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(at));
      return;
  }
}

void Damage::change_job(ModelT& model) {
  if (model.jobs.empty()) return;
  const size_t at = pick(model.jobs.size());
  format::JobT& job = *model.jobs[at];
  const auto place = model.jobs.begin() + static_cast<std::ptrdiff_t>(at);
  switch (pick(7)) {
    case 0:
      if (!job.streams.empty()) change(job.streams[pick(job.streams.size())]->offset);
      return;
    case 1:
      if (!job.streams.empty()) change(job.streams[pick(job.streams.size())]->bytes);
      return;
    case 2:  // shorter or longer, and still whole records
      if (!job.streams.empty())
        job.streams.back()->bytes =
            static_cast<uint32_t>(NPU_RECORD_BYTES * pick(job.streams.back()->bytes / 64 + 1));
      return;
    case 3:
      if (!job.streams.empty())
        job.streams.push_back(std::make_unique<format::StreamT>(*job.streams.back()));
      return;
    case 4:
      job.restartable = !job.restartable;
      return;
    case 5:
      model.jobs.insert(place, std::make_unique<format::JobT>(job));
      return;
    default:
      if (chance(50))
        model.jobs.erase(place);
      else
        std::swap(*place, model.jobs[pick(model.jobs.size())]);
      return;
  }
}

// Command records are little-endian numbers at multiples of their own size.
void Damage::change_field(std::vector<uint8_t>& commands) {
  const size_t bytes = size_t{1} << pick(4);
  const size_t records = commands.size() / NPU_RECORD_BYTES;
  if (records == 0) return;
  const size_t at = pick(records) * NPU_RECORD_BYTES + pick(NPU_RECORD_BYTES / bytes) * bytes;
  if (chance(25)) {  // what another command has there
    std::memcpy(&commands[at], &commands[pick(records) * NPU_RECORD_BYTES + at % NPU_RECORD_BYTES],
                bytes);
    return;
  }
  uint64_t value = 0;
  std::memcpy(&value, &commands[at], bytes);
  value = edge(static_cast<unsigned>(bytes) * 8, value);
  std::memcpy(&commands[at], &value, bytes);
}

void Damage::change_commands(ModelT& model, const ModelT& other) {
  std::vector<uint8_t>& commands = model.commands;
  const size_t records = commands.size() / NPU_RECORD_BYTES;
  if (records == 0) return;
  uint8_t* const one = commands.data() + pick(records) * NPU_RECORD_BYTES;
  uint8_t* const two = commands.data() + pick(records) * NPU_RECORD_BYTES;
  switch (pick(8)) {
    case 0:  // in another order
      if (one != two) std::swap_ranges(one, one + NPU_RECORD_BYTES, two);
      return;
    case 1:
      std::memmove(one, two, NPU_RECORD_BYTES);
      return;
    case 2: {  // a piece of another model's
      const size_t theirs = other.commands.size() / NPU_RECORD_BYTES;
      if (theirs == 0) return;
      const size_t from = pick(theirs), to = pick(records);
      const size_t count = 1 + pick(std::min(theirs - from, records - to));
      std::copy_n(other.commands.data() + from * NPU_RECORD_BYTES, count * NPU_RECORD_BYTES,
                  commands.data() + to * NPU_RECORD_BYTES);
      return;
    }
    case 3:
      commands.resize(pick(commands.size() * 2));
      return;
    default:
      return change_field(commands);
  }
}

void Damage::change_table(ModelT& model) {
  switch (pick(8)) {
    case 0:
      return change(model.regions);
    case 1:
      return change(model.scratch_bytes);
    case 2:
      if (!model.target.empty()) change(model.target[pick(model.target.size())]);
      return;
    case 3:
      model.target.resize(pick(200));
      return;
    case 4:
      model.constants.resize(pick(model.constants.size() * 2));
      return;
    case 5:
      change(model.macs);
      change(model.cycles);
      return;
    case 6:
      change(model.sram_peak_bytes);
      model.name.resize(pick(1000));
      return;
    default:
      if (chance(50) && !model.operators.empty())
        model.operators.resize(pick(model.operators.size()));
      else if (!model.constants.empty())
        change(model.constants[pick(model.constants.size())]);
      return;
  }
}

void Damage::change_model(ModelT& model, const ModelT& other) {
  switch (pick(10)) {
    case 0:
      return change_table(model);
    case 1:
      return change_tensor(model);
    case 2:
      return change_job(model);
    default:
      return change_commands(model, other);
  }
}

void Damage::change_bytes(File& payload, const File& other) {
  const size_t at = pick(payload.size());
  const size_t count = std::min(payload.size() - at, 1 + pick(size_t{1} << pick(12)));
  const auto begin = payload.begin() + static_cast<std::ptrdiff_t>(at);
  const auto end = begin + static_cast<std::ptrdiff_t>(count);
  switch (pick(6)) {
    case 0:
      if (count > 0) payload[at] ^= std::byte{1} << pick(8);
      return;
    case 1:  // a number, as the container has them
      if (payload.size() - at >= 4) {
        uint32_t value;
        std::memcpy(&value, &payload[at & ~size_t{3}], 4);
        change(value);
        std::memcpy(&payload[at & ~size_t{3}], &value, 4);
      }
      return;
    case 2:
      payload.erase(begin, payload.end());
      return;
    case 3:
      payload.erase(begin, end);
      return;
    case 4: {
      const File piece(begin, end);
      payload.insert(begin, piece.begin(), piece.end());
      return;
    }
    default: {
      const size_t from = pick(other.size());
      const size_t fit = std::min(count, other.size() - from);
      std::copy_n(other.begin() + static_cast<std::ptrdiff_t>(from), fit, begin);
      return;
    }
  }
}

File Damage::file() {
  const File& sound = sound_[pick(sound_.size())];
  const File& other = sound_[pick(sound_.size())];
  File payload(sound.begin() + sizeof(npu_model_header), sound.end());
  const bool by_bytes = chance(25);
  if (by_bytes) {
    for (size_t changes = 1 + pick(4); changes > 0; changes--) change_bytes(payload, other);
  } else {
    const auto model = unpack(sound);
    const auto another = unpack(other);
    for (size_t changes = 1 + pick(3); changes > 0; changes--) change_model(*model, *another);
    payload = pack(*model);
  }
  npu_model_header header = header_of(payload);
  if (chance(2)) change(reinterpret_cast<uint32_t*>(&header)[pick(sizeof header / 4)]);
  File file(sizeof header + payload.size());
  std::memcpy(file.data(), &header, sizeof header);
  std::copy(payload.begin(), payload.end(), file.begin() + sizeof header);
  if (chance(2)) file.resize(pick(file.size() + 1));
  return file;
}

}  // namespace npu::testing
