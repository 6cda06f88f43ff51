// SPDX-License-Identifier: MIT
//
// Races with the card's own work, in random order: register accesses, and what
// configuration space asks for: resets, sleep, BARs, bus mastering, MSI-X.
//
// There is no driver; physical memory from kRam on belongs to this program (mem=
// on the kernel's command line), so that nothing the card writes can hurt the guest.
//
//   pcie_stress SECONDS     ends with 0 if the card works afterwards
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>

#include "npu/mmu.h"
#include "npu/queue.h"
#include "npu/registers.h"
#include "npu/status.h"

namespace {

constexpr uint64_t kRam = 384u << 20, kRamBytes = 64u << 20;
constexpr uint64_t kContexts = kRam, kQueues = kRam + 0x10000, kEvents = kRam + 0x20000,
                   kRings = kRam + 0x100000, kMessages = kRam + 0x30000, kData = kRam + (32 << 20);
constexpr uint32_t kQueueCount = 4, kRingLog2 = 6;

int open_or_die(const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags);
  if (fd < 0) {
    std::perror(path.c_str());
    std::exit(2);
  }
  return fd;
}

uint8_t* map_or_die(int fd, size_t bytes, off_t offset) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
  if (at == MAP_FAILED) {
    std::perror("mmap");
    std::exit(2);
  }
  return static_cast<uint8_t*>(at);
}

class Machine {
 public:
  explicit Machine(const std::string& device)
      : config_(open_or_die(device + "/config", O_RDWR)),
        registers_(map_or_die(open_or_die(device + "/resource0", O_RDWR | O_SYNC),
                              NPU_BAR_REGISTERS_SIZE, 0)),
        table_(map_or_die(open_or_die(device + "/resource4", O_RDWR | O_SYNC), 4096, 0)),
        ram_(map_or_die(open_or_die("/dev/mem", O_RDWR | O_SYNC), kRamBytes, kRam)) {
    for (unsigned i = 0; i < 6; ++i) bar_[i] = config(PCI_BASE_ADDRESS_0 + 4 * i);
    unsigned at = config(PCI_CAPABILITY_LIST) & 0xff;
    while (at != 0) {
      const uint32_t header = config(at);
      if ((header & 0xff) == PCI_CAP_ID_EXP) express_ = at;
      if ((header & 0xff) == PCI_CAP_ID_PM) power_ = at;
      if ((header & 0xff) == PCI_CAP_ID_MSIX) msix_ = at;
      at = header >> 8 & 0xff;
    }
  }

  uint32_t config(unsigned offset) const {
    uint32_t value = 0;
    if (pread(config_, &value, 4, offset) != 4) std::abort();
    return value;
  }
  void set_config(unsigned offset, uint16_t value) const {
    if (pwrite(config_, &value, 2, offset) != 2) std::abort();
  }
  void set_bars() const {
    for (unsigned i = 0; i < 6; ++i)
      if (pwrite(config_, &bar_[i], 4, PCI_BASE_ADDRESS_0 + 4 * i) != 4) std::abort();
  }
  void reset_function() const { set_config(express_ + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR); }
  void sleep_or_wake(unsigned state) const {
    set_config(power_ + PCI_PM_CTRL, static_cast<uint16_t>(state));
  }
  void set_command(uint16_t value) const { set_config(PCI_COMMAND, value); }
  void set_msix(uint16_t flags) const { set_config(msix_ + PCI_MSIX_FLAGS, flags); }

  uint32_t read(uint32_t offset) const {
    return *reinterpret_cast<volatile uint32_t*>(registers_ + offset);
  }
  void write(uint32_t offset, uint32_t value) const {
    *reinterpret_cast<volatile uint32_t*>(registers_ + offset) = value;
  }
  void set_vector(unsigned vector, uint32_t control) const {
    auto* entry = reinterpret_cast<volatile uint32_t*>(table_ + vector * PCI_MSIX_ENTRY_SIZE);
    entry[0] = static_cast<uint32_t>(kMessages + vector * 4);
    entry[1] = 0;
    entry[2] = vector;
    entry[3] = control;
  }
  template <typename T>
  T* at(uint64_t address) const {
    return reinterpret_cast<T*>(ram_ + (address - kRam));
  }

  static uint64_t ring(uint32_t queue) { return kRings + queue * 0x10000; }
  static uint64_t completions(uint32_t queue) { return ring(queue) + 0x4000; }
  static uint64_t indices(uint32_t queue) { return ring(queue) + 0xc000; }

  // What follows a reset.
  void bring_up() const {
    set_bars();
    sleep_or_wake(0);
    set_command(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    for (unsigned v = 0; v < 9; ++v) set_vector(v, 0);
    set_msix(PCI_MSIX_FLAGS_ENABLE);
    write(NPU_REG_CONTEXT_TABLE, static_cast<uint32_t>(kContexts));
    write(NPU_REG_CONTEXT_COUNT, 4);
    write(NPU_REG_QUEUE_TABLE, static_cast<uint32_t>(kQueues));
    write(NPU_REG_QUEUE_COUNT, kQueueCount);
    write(NPU_REG_EVENT_RING, static_cast<uint32_t>(kEvents));
    write(NPU_REG_EVENT_LOG2, 6);
    for (uint32_t queue = 0; queue < kQueueCount; ++queue) {
      npu_queue_context context = {};
      context.ring = ring(queue);
      context.completions = completions(queue);
      context.indices = indices(queue);
      context.ring_log2 = kRingLog2;
      context.vector = 1 + queue;
      context.core_mask = 1;
      context.priority = queue;
      std::memcpy(at<void>(kQueues + queue * sizeof(context)), &context, sizeof(context));
      std::memset(at<void>(indices(queue)), 0, sizeof(npu_queue_indices));
      write(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_START);
    }
    write(NPU_REG_CONTROL, NPU_CONTROL_ENABLE);
  }

  // `destination` is in our memory or nowhere.
  void submit(uint32_t queue, uint64_t destination, uint64_t bytes) const {
    npu_packet_fill packet = {};
    packet.opcode = queue == 0 ? NPU_PACKET_FILL : NPU_PACKET_NOP;
    packet.flags = NPU_PACKET_IRQ;
    if (queue == 0) {
      packet.destination = destination;
      packet.bytes = bytes;
    }
    auto* index = at<volatile npu_queue_indices>(indices(queue));
    const uint64_t slot = index->producer % (1u << kRingLog2);
    std::memcpy(at<void>(ring(queue) + slot * sizeof(packet)), &packet, sizeof(packet));
    index->producer = index->producer + 1;
    write(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_DOORBELL, static_cast<uint32_t>(index->producer));
  }

 private:
  int config_;
  uint8_t* registers_;
  uint8_t* table_;
  uint8_t* ram_;
  uint32_t bar_[6] = {};
  unsigned express_ = 0, power_ = 0, msix_ = 0;
};

std::atomic<uint64_t> resets = 0, sleeps = 0, submissions = 0, accesses = 0;

// Configuration space, by port I/O: resets, power, BARs, bus mastering, MSI-X.
void reconfigure(const Machine& machine, unsigned seed) {
  std::minstd_rand random(seed);
  for (int i = 0; i < 40; ++i) {
    switch (random() % 6) {
      case 0:
        machine.reset_function();
        ++resets;
        break;
      case 1:
        machine.sleep_or_wake(3);
        ++sleeps;
        break;
      case 2:
        machine.sleep_or_wake(0);
        break;
      case 3:
        machine.set_bars();
        break;
      case 4:
        machine.set_command(random() % 2 ? PCI_COMMAND_MEMORY
                                         : PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
        break;
      default:
        machine.set_msix(random() % 2 ? PCI_MSIX_FLAGS_ENABLE
                                      : PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
        break;
    }
  }
}

// Registers, doorbells, masks of vectors.
void use(const Machine& machine, unsigned seed) {
  std::minstd_rand random(seed);
  for (int i = 0; i < 100; ++i, ++accesses) {
    const auto queue = static_cast<uint32_t>(random() % kQueueCount);
    switch (random() % 6) {
      case 0: {
        const uint64_t nowhere = random() % 8 == 0 ? uint64_t{1} << 40 : 0;
        machine.submit(queue, nowhere + kData, 4096ull << random() % 12);
        ++submissions;
        break;
      }
      case 1:
        machine.read(static_cast<uint32_t>(random() % (NPU_QUEUE_PAGE(kQueueCount) / 4)) * 4);
        break;
      case 2:
        machine.write(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_CONTROL,
                      static_cast<uint32_t>(random() % 4));
        break;
      case 3:
        machine.write(NPU_REG_RESET, random() % 2 ? NPU_RESET_KIND_CARD : NPU_RESET_KIND_CORE);
        break;
      case 4:
        machine.set_vector(random() % 9, random() % 2);
        break;
      default:  // any fault but the card's absence, from which only the host brings it back
        machine.write(NPU_REG_INJECT_KIND, static_cast<uint32_t>(random() % NPU_INJECT_GONE));
        break;
    }
  }
}

void race(const Machine& machine, unsigned seed, void (*body)(const Machine&, unsigned)) {
  std::thread other([&] { body(machine, seed); });
  body(machine, seed + 1);
  other.join();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const Machine machine("/sys/bus/pci/devices/0000:01:00.0");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[1]));
  for (unsigned round = 0; std::chrono::steady_clock::now() < end; ++round) {
    machine.bring_up();
    race(machine, 4 * round, use);
    for (int i = 0; i < 8; ++i) machine.submit(0, kData, 16 << 20);  // work for a while
    race(machine, 4 * round + 2, reconfigure);
  }
  std::printf("%llu resets, %llu sleeps, %llu submissions, %llu accesses\n",
              static_cast<unsigned long long>(resets), static_cast<unsigned long long>(sleeps),
              static_cast<unsigned long long>(submissions),
              static_cast<unsigned long long>(accesses));

  // In order again.
  machine.sleep_or_wake(0);
  machine.reset_function();
  machine.bring_up();
  if (machine.read(NPU_REG_MAGIC) != NPU_MAGIC) return 1;
  std::memset(machine.at<void>(kData), 0x77, 4096);
  machine.submit(0, kData, 4096);
  for (int i = 0; i < 10'000; ++i) {
    if (machine.at<volatile npu_queue_indices>(Machine::indices(0))->consumer == 1) {
      const auto* done = machine.at<npu_completion>(Machine::completions(0));
      const auto* data = machine.at<uint8_t>(kData);
      return done->status == NPU_STATUS_OK && data[0] == 0 && data[4095] == 0 ? 0 : 1;
    }
    usleep(1000);
  }
  std::fprintf(stderr, "the card does not complete\n");
  return 1;
}
