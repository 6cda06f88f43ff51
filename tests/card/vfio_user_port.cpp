// SPDX-License-Identifier: MIT
//
// The card behind the vfio-user server, in this process; everything goes over
// the socket, but for time and waiting.
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "arch/target.h"
#include "front_end.h"
#include "npu/registers.h"
#include "vfio-user/server.h"
#include "vfio-user/testing/client.h"

namespace npu::card {
namespace {

using model::testing::ResetKind;
using vfio_user::UniqueFd;

constexpr uint64_t kMemoryBytes = 64 << 20;

UniqueFd create_memory() {
  UniqueFd file(memfd_create("guest", MFD_CLOEXEC));
  if (!file || ftruncate(file.get(), kMemoryBytes) != 0)
    throw std::runtime_error("no memory to share");
  return file;
}

class VfioUserPort : public PciPort {
 public:
  VfioUserPort() : memory_file_(create_memory()), device_(options()), client_(connect_to_server()) {
    memory_ = static_cast<uint8_t*>(
        mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_file_.get(), 0));
    client_->negotiate();
    // In two parts, as a machine with a hole has it.
    client_->map(0, kMemoryBytes / 2, memory_file_.get(), 0);
    client_->map(kMemoryBytes / 2, kMemoryBytes / 2, memory_file_.get(), kMemoryBytes / 2);
    const uint32_t at = client_->capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;
    const uint32_t vectors = (client_->config_read(at, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
    for (uint32_t v = 0; v < vectors; ++v) {
      eventfds_.emplace_back(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      const int fd = eventfds_.back().get();
      client_->set_irqs(VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, v, 1,
                        std::span(&fd, 1));
    }
    set_up();
  }

  ~VfioUserPort() override {
    client_.reset();  // closes the connection: the server ends
    server_.join();
    munmap(memory_, kMemoryBytes);
  }

  uint64_t bar_read(unsigned bar, uint64_t offset, unsigned bytes) override {
    uint64_t value = 0;
    client_->read(bar, offset, &value, bytes);
    return value;
  }
  void bar_write(unsigned bar, uint64_t offset, uint64_t value, unsigned bytes) override {
    client_->write(bar, offset, &value, bytes);
  }
  void read_card(uint64_t offset, void* data, size_t bytes) override {
    auto* to = static_cast<uint8_t*>(data);
    for (size_t at = 0; at < bytes; at += vfio_user::kMaxTransfer)
      client_->read(NPU_BAR_APERTURE, offset + at, to + at, part(bytes - at));
  }
  void write_card(uint64_t offset, const void* data, size_t bytes) override {
    const auto* from = static_cast<const uint8_t*>(data);
    for (size_t at = 0; at < bytes; at += vfio_user::kMaxTransfer)
      client_->write(NPU_BAR_APERTURE, offset + at, from + at, part(bytes - at));
  }
  void read_memory(uint64_t address, void* data, size_t bytes) override {
    std::memcpy(data, memory_ + address, bytes);
  }
  void write_memory(uint64_t address, const void* data, size_t bytes) override {
    std::memcpy(memory_ + address, data, bytes);
  }
  uint64_t memory_begin() override { return 4096; }
  uint64_t memory_end() override { return kMemoryBytes; }

  unsigned take_messages(unsigned vector) override {
    uint64_t count = 0;
    if (::read(eventfds_.at(vector).get(), &count, sizeof(count)) < 0) return 0;
    return static_cast<unsigned>(count);
  }
  void mask_vector(unsigned vector, bool masked) override {
    client_->set_irqs(
        VFIO_IRQ_SET_DATA_NONE | (masked ? VFIO_IRQ_SET_ACTION_MASK : VFIO_IRQ_SET_ACTION_UNMASK),
        vector, 1);
  }

  bool run_until(const std::function<bool()>& done) override {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return true;
  }
  void settle() override { device_.wait_idle(); }
  void advance(uint64_t ns) override {
    clock_ns_ += ns;
    device_.kick();
    device_.wait_idle();
  }

  void reset(ResetKind kind) override {
    if (kind == ResetKind::kPower) {
      client_->request(vfio_user::kDeviceReset, std::span<const std::byte>());
    } else {
      const uint32_t at = client_->capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL;
      client_->config_write(at, PCI_EXP_DEVCTL_BCR_FLR, 2);
    }
    set_up();
  }
  void set_bus_master(bool on) override {
    client_->config_write(PCI_COMMAND, PCI_COMMAND_MEMORY | (on ? PCI_COMMAND_MASTER : 0), 2);
  }

  uint32_t config_read(unsigned offset, unsigned bytes) override {
    return client_->config_read(offset, bytes);
  }
  void config_write(unsigned offset, uint32_t value, unsigned bytes) override {
    client_->config_write(offset, value, bytes);
  }

 private:
  static uint32_t part(size_t bytes) {
    return static_cast<uint32_t>(std::min<size_t>(bytes, vfio_user::kMaxTransfer));
  }

  vfio_user::DeviceOptions options() {
    vfio_user::DeviceOptions options;
    options.target = *arch::find_target("card");
    options.target.card_memory_mib = kCardMemoryMib;
    options.serial = kSerial;
    options.clock = [this] { return clock_ns_.load(); };
    return options;
  }

  std::unique_ptr<vfio_user::Client> connect_to_server() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      throw std::runtime_error("no socket pair");
    server_ = std::thread([this, socket = ends[1]] {
      vfio_user::serve(UniqueFd(socket), device_, [] { return false; });
    });
    return std::make_unique<vfio_user::Client>(UniqueFd(ends[0]));
  }

  void set_up() {
    set_bus_master(true);
    const uint32_t at = client_->capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;
    client_->config_write(at, PCI_MSIX_FLAGS_ENABLE, 2);
  }

  UniqueFd memory_file_;
  uint8_t* memory_ = nullptr;
  std::atomic<uint64_t> clock_ns_{1'000'000};
  vfio_user::Device device_;
  std::thread server_;
  std::unique_ptr<vfio_user::Client> client_;
  std::vector<UniqueFd> eventfds_;
};

}  // namespace

std::unique_ptr<CardPort> open_vfio_user(bool /*background*/) {
  return std::make_unique<VfioUserPort>();
}

}  // namespace npu::card
