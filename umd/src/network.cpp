// SPDX-License-Identifier: MIT
#include "network.h"

#include <algorithm>
#include <cstring>

#include "npu/status.h"
#include "structs.h"

namespace npu::umd {
namespace {

constexpr uint64_t kProfileAlignment = 128;

// Card memory of a copy of `bytes`; memory of one byte stands for none.
Result<std::unique_ptr<Memory>> upload_bytes(Device& device, std::span<const std::byte> bytes) {
  auto memory = device.allocate(std::max<size_t>(bytes.size(), 1), DRM_NPU_PLACEMENT_CARD, true);
  if (!memory.ok()) return memory.error();
  auto pointer = (*memory)->map();
  if (!pointer.ok()) return pointer.error();
  std::memcpy(*pointer, bytes.data(), bytes.size());
  return memory;
}

}  // namespace

Result<std::shared_ptr<Network>> Network::load(const std::shared_ptr<Device>& device,
                                               std::span<const std::byte> bytes, uint32_t flags) {
  auto file = ModelFile::parse(bytes);
  if (!file.ok()) return file.error();
  if (auto status = file->check_target(device->target()); !status.ok()) return status.error();
  if (file->model().jobs()->size() > device->backend().caps().max_jobs) {
    return fail(NPU_ERROR_UNSUPPORTED,
                "compiled model: a run has " + std::to_string(file->model().jobs()->size()) +
                    " jobs, the device takes " + std::to_string(device->backend().caps().max_jobs) +
                    " in one submit");
  }
  std::vector<uint32_t> counts;
  if (flags & NPU_NETWORK_UNCHECKED) {
    // Every command has at least one record.
    for (const npu::format::Job* job : *file->model().jobs()) {
      uint32_t records = 0;
      for (const npu::format::Stream* stream : *job->streams()) {
        records += stream->bytes() / NPU_RECORD_BYTES;
      }
      counts.push_back(records);
    }
  } else {
    auto checked = file->check_commands(device->target());
    if (!checked.ok()) return checked.error();
    counts = std::move(*checked);
  }
  std::shared_ptr<Network> network(new Network(device, std::move(*file)));
  network->job_commands_ = std::move(counts);
  if (auto status = network->upload(); !status.ok()) return status.error();
  return network;
}

Status Network::upload() {
  for (unsigned i = 0; i < file_.tensor_count(); i++) tensors_.push_back(&file_.tensor(i));
  auto constants = upload_bytes(*device_, file_.constants());
  if (!constants.ok()) return constants.error();
  constants_ = std::move(*constants);
  auto commands = upload_bytes(*device_, file_.commands());
  if (!commands.ok()) return commands.error();
  commands_ = std::move(*commands);
  for (const npu::format::Job* job : *file_.model().jobs()) {
    const auto& streams = *job->streams();
    drm_npu_job out = {};
    out.stream_va = commands_->va() + streams.Get(0)->offset();
    out.stream_count = streams.size();
    out.region_count = file_.model().regions();
    if (job->restartable()) out.flags |= DRM_NPU_JOB_RESTARTABLE;
    for (unsigned i = 0; i < streams.size(); i++) out.stream_bytes[i] = streams.Get(i)->bytes();
    jobs_.push_back(out);
  }
  return {};
}

void Network::fill_regions(const uint64_t* tensor_va, uint64_t scratch_va, uint64_t* table) const {
  table[NPU_REGION_CONSTANTS] = constants_->va();
  table[NPU_REGION_SCRATCH] = scratch_va;
  for (size_t i = 0; i < tensors_.size(); i++) table[tensors_[i]->region()] = tensor_va[i];
}

uint64_t Network::profile_offset(size_t job, bool with_commands) const {
  uint64_t offset = 0;
  for (size_t i = 0; i < job; i++) {
    uint64_t bytes = sizeof(npu_profile);
    if (with_commands) bytes += uint64_t{job_commands_[i]} * sizeof(struct npu_profile_command);
    offset += (bytes + kProfileAlignment - 1) / kProfileAlignment * kProfileAlignment;
  }
  return offset;
}

npu_network_info Network::info() const {
  const npu::format::Model& m = file_.model();
  npu_network_info info = {};
  info.inputs = m.inputs()->size();
  info.outputs = m.outputs()->size();
  info.operators = m.operators()->size();
  info.jobs = m.jobs()->size();
  info.sram_peak_bytes = m.sram_peak_bytes();
  info.name = m.name() != nullptr ? m.name()->c_str() : "";
  info.producer = m.producer() != nullptr ? m.producer()->c_str() : "";
  info.macs = m.macs();
  info.predicted_cycles = m.cycles();
  info.constant_bytes = file_.constants().size();
  info.command_bytes = file_.commands().size();
  info.scratch_bytes = m.scratch_bytes();
  for (uint32_t count : job_commands_) info.commands += count;
  info.profile_bytes = profile_bytes(false);
  info.profile_command_bytes = profile_bytes(true);
  return info;
}

Status Network::tensor_info(uint32_t index, npu_tensor_info& info) const {
  if (index >= tensors_.size()) {
    return fail(NPU_ERROR_INVALID, "tensor " + std::to_string(index) +
                                       " does not exist: there are " +
                                       std::to_string(tensors_.size()));
  }
  const npu::format::Tensor& t = *tensors_[index];
  info.type = static_cast<uint32_t>(t.type());
  info.name = t.name()->c_str();
  info.is_output = file_.is_output(index);
  info.rank = t.shape()->size();
  for (unsigned i = 0; i < info.rank; i++) info.shape[i] = t.shape()->Get(i);
  info.bytes = t.bytes();
  info.alignment = tensor_alignment();
  const npu::format::Quantization* q = t.quantization();
  if (q != nullptr && q->scale() != nullptr && q->scale()->size() == 1) {
    info.scale = q->scale()->Get(0);
    info.zero_point = q->zero_point()->Get(0);
  }
  return {};
}

Status Network::operator_info(uint32_t index, npu_operator_info& info) const {
  const auto& operators = *file_.model().operators();
  if (index >= operators.size()) {
    return fail(NPU_ERROR_INVALID, "operator " + std::to_string(index) +
                                       " does not exist: there are " +
                                       std::to_string(operators.size()));
  }
  info.name = operators.Get(index)->name()->c_str();
  info.type = operators.Get(index)->type()->c_str();
  info.macs = operators.Get(index)->macs();
  return {};
}

const npu_profile* Network::profile_of(std::span<const std::byte> profile, size_t job,
                                       bool with_commands) const {
  const uint64_t end = profile_offset(job + 1, with_commands);
  if (end > profile.size()) return nullptr;
  return reinterpret_cast<const npu_profile*>(profile.data() + profile_offset(job, with_commands));
}

// Only a run with NPU_RUN_PROFILE_COMMANDS writes a number of records.
bool Network::has_commands(std::span<const std::byte> profile) const {
  const npu_profile* first = profile_of(profile, 0, false);
  return first != nullptr && first->commands != 0;
}

Status Network::report(std::span<const std::byte> profile, npu_run_report& report) const {
  const bool with_commands = has_commands(profile);
  bool valid = true;
  uint64_t start = UINT64_MAX, end = 0;
  for (size_t job = 0; job < jobs_.size(); job++) {
    const npu_profile* p = profile_of(profile, job, with_commands);
    if (p == nullptr) {
      return fail(NPU_ERROR_INVALID, "the profile buffer is smaller than a run's records: " +
                                         std::to_string(profile_bytes(with_commands)) +
                                         " bytes are needed");
    }
    const npu_completion& c = p->completion;
    if (c.sequence == 0) break;
    report.jobs++;
    if (c.status != NPU_STATUS_OK && report.status == NPU_STATUS_OK) report.status = c.status;
    valid = valid && (c.flags & NPU_COMPLETION_CYCLES_VALID);
    report.cycles += c.cycles_solo;
    report.cycles_observed += c.cycles_observed;
    report.macs += c.macs;
    report.card_bytes += c.card_bytes;
    report.pcie_bytes += c.pcie_bytes;
    report.energy_pj += c.energy_pj;
    report.mac_cycles += c.mac_cycles;
    report.vec_cycles += c.vec_cycles;
    report.dma_cycles += c.dma_cycles;
    report.sram_peak_bytes = std::max(report.sram_peak_bytes, p->sram_peak_bytes);
    report.command_records += with_commands ? std::min(p->commands, job_commands_[job]) : 0;
    start = std::min<uint64_t>(start, c.start_ns);
    end = std::max<uint64_t>(end, c.end_ns);
  }
  if (report.jobs == 0) {
    return fail(NPU_ERROR_INVALID,
                "the profile buffer has no records: run with NPU_RUN_PROFILE and wait first");
  }
  report.cycles_valid = valid;
  report.device_ns = end - start;
  if (!valid) {
    report.cycles = report.cycles_observed = report.energy_pj = 0;
    report.mac_cycles = report.vec_cycles = report.dma_cycles = 0;
  } else if (device_->target().clock_mhz != 0) {
    report.modelled_ns = report.cycles * 1000 / device_->target().clock_mhz;
  }
  return {};
}

Status Network::record(std::span<const std::byte> profile, uint64_t index,
                       npu_command_report& out) const {
  if (has_commands(profile)) {
    uint64_t before = 0;
    for (size_t job = 0; job < jobs_.size(); job++) {
      const npu_profile* p = profile_of(profile, job, true);
      if (p == nullptr || p->completion.sequence == 0) break;
      const uint64_t count = std::min(p->commands, job_commands_[job]);
      if (index - before >= count) {
        before += count;
        continue;
      }
      const auto& r = reinterpret_cast<const struct npu_profile_command*>(p + 1)[index - before];
      out.job = static_cast<uint32_t>(job);
      out.core = r.core;
      out.command = r.command;
      out.engine = r.engine;
      out.opcode = r.opcode;
      out.operator_index = r.source_op;
      out.start_cycle = r.start_cycle;
      out.execute_cycles = r.execute_cycles;
      out.stall_cycles = r.stall_cycles;
      out.wait_cycles = r.wait_cycles;
      return {};
    }
  }
  return fail(NPU_ERROR_INVALID, "the profile has no record " + std::to_string(index));
}

}  // namespace npu::umd
