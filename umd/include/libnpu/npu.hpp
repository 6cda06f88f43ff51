// SPDX-License-Identifier: MIT
//
// libnpu for C++20, header only: the objects of npu.h with automatic
// lifetimes, results instead of out parameters, spans and chrono.
//
//   auto device = npu::Device::open("sim").value();
//   auto network = device.load(file_bytes).value();
//   auto queue = device.create_queue().value();
//   auto run = npu::Execution::create(device, network).value();
//   std::ranges::copy(image, run.input(0).begin());
//   run.start(queue).value();
//   run.wait().value();
//   use(run.output(0));
//
// A Result may be tested (`if (!r) report(r.error().text)`) or made to throw
// (`r.value()`); without exceptions value() of an error ends the program.
// Objects are as thread safe as those of npu.h.
#ifndef LIBNPU_NPU_HPP
#define LIBNPU_NPU_HPP

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "npu.h"

namespace npu {

// Why a call failed: what to do about it (code), and in words.
struct Error {
  npu_result code = NPU_OK;
  int os_errno = 0;
  std::string text;

  // The calling thread's last failure.
  static Error last() {
    npu_error error = {};
    error.struct_size = sizeof error;
    npu_last_error(&error);
    return {static_cast<npu_result>(error.code), error.os_errno, error.text};
  }
};

class Exception : public std::runtime_error {
 public:
  explicit Exception(Error error) : std::runtime_error(error.text), error_(std::move(error)) {}
  const Error& error() const noexcept { return error_; }

 private:
  Error error_;
};

struct Nothing {};

template <typename T = Nothing>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : value_(std::move(error)) {}

  explicit operator bool() const noexcept { return value_.index() == 0; }
  npu_result code() const noexcept { return *this ? NPU_OK : error().code; }
  // Only if there is one.
  const Error& error() const noexcept { return *std::get_if<1>(&value_); }

  T& value() & { return checked(), *std::get_if<0>(&value_); }
  T value() && { return checked(), std::move(*std::get_if<0>(&value_)); }

 private:
  void checked() const {
    if (*this) return;
#ifdef __cpp_exceptions
    throw Exception(error());
#else
    std::fprintf(stderr, "libnpu: %s\n", error().text.c_str());
    std::abort();
#endif
  }
  std::variant<T, Error> value_;
};

inline Result<> to_result(npu_result code) {
  if (code == NPU_OK) return Nothing{};
  return Error::last();
}

// A moment to wait until: `after(10ms)`, `forever`, `poll`.
using Deadline = uint64_t;
inline constexpr Deadline forever = UINT64_MAX;
inline constexpr Deadline poll = 0;
inline Deadline after(std::chrono::nanoseconds time) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();  // CLOCK_MONOTONIC
  return static_cast<Deadline>(std::chrono::nanoseconds(now + time).count());
}

namespace detail {
template <auto Destroy>
struct Deleter {
  template <typename T>
  void operator()(T* object) const noexcept {
    Destroy(object);
  }
};
template <typename T, auto Destroy>
using Handle = std::unique_ptr<T, Deleter<Destroy>>;

template <typename T>
T sized() {
  T value = {};
  value.struct_size = sizeof value;
  return value;
}
}  // namespace detail

class Buffer {
 public:
  npu_buffer* get() const noexcept { return handle_.get(); }
  std::span<std::byte> bytes() const noexcept { return bytes_; }
  // The contents as an array of T.
  template <typename T>
  std::span<T> as() const noexcept {
    return {reinterpret_cast<T*>(bytes_.data()), bytes_.size() / sizeof(T)};
  }
  Result<> sync(npu_sync direction) const {
    return to_result(npu_buffer_sync(get(), direction, 0, bytes_.size()));
  }
  // A descriptor, the caller's.
  Result<int> export_fd() const {
    int fd = -1;
    if (npu_buffer_export(get(), &fd) != NPU_OK) return Error::last();
    return fd;
  }

 private:
  friend class Device;
  Buffer(npu_buffer* buffer, std::span<std::byte> bytes) : handle_(buffer), bytes_(bytes) {}
  detail::Handle<npu_buffer, npu_buffer_destroy> handle_;
  std::span<std::byte> bytes_;
};

class Network {
 public:
  npu_network* get() const noexcept { return handle_.get(); }
  npu_network_info info() const {
    auto info = detail::sized<npu_network_info>();
    npu_network_query(get(), &info);
    return info;
  }
  // Inputs, then outputs.
  std::span<const npu_tensor_info> tensors() const noexcept { return tensors_; }
  std::span<const npu_tensor_info> inputs() const noexcept { return tensors().first(input_count_); }
  std::span<const npu_tensor_info> outputs() const noexcept {
    return tensors().subspan(input_count_);
  }
  // Index among all tensors; nothing if there is none of that name.
  std::optional<uint32_t> find(std::string_view name) const noexcept {
    for (uint32_t i = 0; i < tensors_.size(); i++) {
      if (name == tensors_[i].name) return i;
    }
    return std::nullopt;
  }
  Result<npu_operator_info> operator_info(uint32_t index) const {
    auto info = detail::sized<npu_operator_info>();
    if (npu_network_operator(get(), index, &info) != NPU_OK) return Error::last();
    return info;
  }

 private:
  friend class Device;
  explicit Network(npu_network* network) : handle_(network) {
    const npu_network_info i = info();
    input_count_ = i.inputs;
    tensors_.resize(i.inputs + i.outputs, detail::sized<npu_tensor_info>());
    for (uint32_t t = 0; t < tensors_.size(); t++) npu_network_tensor(get(), t, &tensors_[t]);
  }
  detail::Handle<npu_network, npu_network_unload> handle_;
  std::vector<npu_tensor_info> tensors_;
  size_t input_count_ = 0;
};

class Queue {
 public:
  npu_queue* get() const noexcept { return handle_.get(); }
  Result<npu_queue_info> info() const {
    auto info = detail::sized<npu_queue_info>();
    if (npu_queue_query(get(), &info) != NPU_OK) return Error::last();
    return info;
  }
  Result<npu_fence> submit(std::span<const npu_run> runs,
                           std::span<const npu_fence> waits = {}) const {
    npu_fence done = {};
    if (npu_submit(get(), runs.data(), static_cast<uint32_t>(runs.size()), waits.data(),
                   static_cast<uint32_t>(waits.size()), &done) != NPU_OK) {
      return Error::last();
    }
    return done;
  }

 private:
  friend class Device;
  explicit Queue(npu_queue* queue) : handle_(queue) {}
  detail::Handle<npu_queue, npu_queue_destroy> handle_;
};

class Device {
 public:
  // selector: see npu_device_open; "" takes $NPU_DEVICE or the first device.
  static Result<Device> open(const std::string& selector = "",
                             const npu_open_desc* desc = nullptr) {
    npu_device* device = nullptr;
    if (npu_device_open(selector.empty() ? nullptr : selector.c_str(), desc, &device) != NPU_OK) {
      return Error::last();
    }
    return Device(device);
  }
  static Result<std::vector<npu_device_info>> list() {
    std::vector<npu_device_info> infos;
    for (uint32_t count = 16;;) {
      infos.assign(count, npu_device_info{});
      if (npu_enumerate(infos.data(), sizeof(npu_device_info), &count) != NPU_OK) {
        return Error::last();
      }
      if (count <= infos.size()) {
        infos.resize(count);
        return infos;
      }
    }
  }

  npu_device* get() const noexcept { return handle_.get(); }
  Result<npu_device_info> info() const { return query<npu_device_info>(NPU_QUERY_INFO); }
  Result<npu_telemetry> telemetry() const { return query<npu_telemetry>(NPU_QUERY_TELEMETRY); }
  Result<npu_counters> counters() const { return query<npu_counters>(NPU_QUERY_COUNTERS); }
  Result<npu_engines> engines() const { return query<npu_engines>(NPU_QUERY_ENGINES); }
  Result<npu_clock> clock() const { return query<npu_clock>(NPU_QUERY_CLOCK); }

  // A mapped buffer.
  Result<Buffer> create_buffer(uint64_t size, npu_buffer_source source = NPU_BUFFER_HOST) const {
    auto desc = detail::sized<npu_buffer_desc>();
    desc.source = source;
    desc.size = size;
    return make_buffer(desc);
  }
  Result<Buffer> import_buffer(int fd) const {
    auto desc = detail::sized<npu_buffer_desc>();
    desc.source = NPU_BUFFER_IMPORT;
    desc.fd = fd;
    return make_buffer(desc);
  }
  Result<Network> load(std::span<const std::byte> file, uint32_t flags = 0) const {
    auto desc = detail::sized<npu_network_desc>();
    desc.flags = flags;
    desc.data = file.data();
    desc.size = file.size();
    npu_network* network = nullptr;
    if (npu_network_load(get(), &desc, &network) != NPU_OK) return Error::last();
    return Network(network);
  }
  Result<Queue> create_queue(npu_queue_desc desc = {}) const {
    desc.struct_size = sizeof desc;
    npu_queue* queue = nullptr;
    if (npu_queue_create(get(), &desc, &queue) != NPU_OK) return Error::last();
    return Queue(queue);
  }
  // All of the fences.
  Result<> wait(std::span<const npu_fence> fences, Deadline deadline = forever) const {
    return to_result(npu_wait(get(), fences.data(), static_cast<uint32_t>(fences.size()),
                              NPU_WAIT_ALL, deadline, nullptr));
  }
  // One of them: its index.
  Result<uint32_t> wait_any(std::span<const npu_fence> fences, Deadline deadline = forever) const {
    uint32_t first = 0;
    if (npu_wait(get(), fences.data(), static_cast<uint32_t>(fences.size()), NPU_WAIT_ANY, deadline,
                 &first) != NPU_OK) {
      return Error::last();
    }
    return first;
  }
  Result<> wait(npu_fence fence, Deadline deadline = forever) const {
    return wait(std::span<const npu_fence>(&fence, 1), deadline);
  }

 private:
  explicit Device(npu_device* device) : handle_(device) {}
  template <typename T>
  Result<T> query(npu_query what) const {
    auto out = detail::sized<T>();
    if (npu_device_query(get(), what, &out) != NPU_OK) return Error::last();
    return out;
  }
  Result<Buffer> make_buffer(const npu_buffer_desc& desc) const {
    npu_buffer* buffer = nullptr;
    if (npu_buffer_create(get(), &desc, &buffer) != NPU_OK) return Error::last();
    void* pointer = nullptr;
    uint64_t size = 0;
    if (npu_buffer_map(buffer, &pointer, &size) != NPU_OK) {
      Error error = Error::last();
      npu_buffer_destroy(buffer);
      return error;
    }
    return Buffer(buffer, {static_cast<std::byte*>(pointer), static_cast<size_t>(size)});
  }
  detail::Handle<npu_device, npu_device_close> handle_;
};

// A network with buffers for all its tensors: fill inputs, run, read outputs.
// One run at a time; use several for a pipeline. The device and the network
// must outlive it.
class Execution {
 public:
  // profile: 0, NPU_RUN_PROFILE or NPU_RUN_PROFILE_COMMANDS.
  static Result<Execution> create(const Device& device, const Network& network,
                                  uint32_t profile = 0) {
    Execution run(device, network);
    for (const npu_tensor_info& tensor : network.tensors()) {
      auto buffer = device.create_buffer(tensor.bytes);
      if (!buffer) return buffer.error();
      run.buffers_.push_back(std::move(buffer).value());
    }
    run.flags_ = profile;
    if (profile != 0) {
      const npu_network_info info = network.info();
      auto buffer = device.create_buffer(
          profile & NPU_RUN_PROFILE_COMMANDS ? info.profile_command_bytes : info.profile_bytes);
      if (!buffer) return buffer.error();
      run.profile_.emplace(std::move(buffer).value());
    }
    return run;
  }

  // Memory of tensor `index` in the network's order: inputs, then outputs.
  std::span<std::byte> tensor(size_t index) const noexcept { return buffers_[index].bytes(); }
  std::span<std::byte> input(size_t index) const noexcept { return tensor(index); }
  std::span<std::byte> output(size_t index) const noexcept {
    return tensor(network_->inputs().size() + index);
  }

  // repetitions: that many runs of it, one behind the other, in one submit.
  Result<npu_fence> start(const Queue& queue, std::span<const npu_fence> waits = {},
                          uint32_t repetitions = 1) {
    for (size_t i = 0; i < network_->inputs().size(); i++) {
      if (auto synced = buffers_[i].sync(NPU_SYNC_TO_DEVICE); !synced) return synced.error();
    }
    std::vector<npu_binding> bindings;
    for (const Buffer& buffer : buffers_) bindings.push_back({buffer.get(), 0});
    auto run = detail::sized<npu_run>();
    run.flags = flags_;
    run.network = network_->get();
    run.bindings = bindings.data();
    run.binding_count = static_cast<uint32_t>(bindings.size());
    run.profile = profile_ ? profile_->get() : nullptr;
    const std::vector<npu_run> runs(repetitions, run);
    auto fence = queue.submit(runs, waits);
    if (fence) fence_ = fence.value();
    return fence;
  }
  Result<> wait(Deadline deadline = forever) const {
    if (auto done = device_->wait(fence_, deadline); !done) return done;
    for (size_t i = network_->inputs().size(); i < buffers_.size(); i++) {
      if (auto synced = buffers_[i].sync(NPU_SYNC_FROM_DEVICE); !synced) return synced;
    }
    return Nothing{};
  }
  // Modelled figures of a run that has ended; needs a profile.
  Result<npu_run_report> report() const {
    auto report = detail::sized<npu_run_report>();
    if (npu_profile_report(network_->get(), profile_ ? profile_->get() : nullptr, &report) !=
        NPU_OK) {
      return Error::last();
    }
    return report;
  }
  Result<npu_command_report> record(uint64_t index) const {
    auto record = detail::sized<npu_command_report>();
    if (npu_profile_record(network_->get(), profile_ ? profile_->get() : nullptr, index, &record) !=
        NPU_OK) {
      return Error::last();
    }
    return record;
  }

 private:
  Execution(const Device& device, const Network& network) : device_(&device), network_(&network) {}
  const Device* device_;
  const Network* network_;
  std::vector<Buffer> buffers_;
  std::optional<Buffer> profile_;
  uint32_t flags_ = 0;
  npu_fence fence_ = {};
};

}  // namespace npu

#endif  // LIBNPU_NPU_HPP
