// SPDX-License-Identifier: MIT
//
// What npu-smi shows, for machines that need not exist. The expected texts are
// in tools/golden; NPU_UPDATE_GOLDEN=1 writes them anew.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "npu/target.h"
#include "tools/smi/clients.h"
#include "tools/smi/show.h"

namespace npu::tools {
namespace {

void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(NPU_GOLDEN_DIR) + "/" + name;
  if (std::getenv("NPU_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  ASSERT_TRUE(file) << path;
  const std::string expected{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(text, expected) << path;
}

template <size_t N>
void put(char (&to)[N], const char* text) {
  std::snprintf(to, N, "%s", text);
}

DeviceSnapshot card(uint32_t index) {
  DeviceSnapshot device;
  npu_device_info& info = device.info;
  info.struct_size = sizeof info;
  info.index = index;
  put(info.selector, std::to_string(index).c_str());
  put(info.node, ("/dev/accel/accel" + std::to_string(index)).c_str());
  put(info.bdf, ("0000:0" + std::to_string(index + 1) + ":00.0").c_str());
  put(info.driver, "npu");
  put(info.name, "card");
  info.serial = 0x1234;
  info.interface_version = 0x10000;
  npu_target target = {};
  put(target.name, "card");
  target.cores = 2;
  target.mac_outputs = target.mac_inputs = 64;
  target.sram_bytes = 2 << 20;
  target.clock_mhz = 1000;
  target.card_memory_mib = 512;
  std::memcpy(info.target, &target, sizeof target);
  npu_telemetry t = {};
  t.power_mw = 12345;
  t.temperature_mc = 61500;
  t.clock_mhz = 1000;
  t.energy_nj = 1500000000;
  t.busy_ns = 42;
  t.cycles = 99;
  t.card_memory_used = 100 << 20;
  t.card_memory_total = 512 << 20;
  t.host_memory_used = 3 << 20;
  device.telemetry = t;
  npu_counters c = {};
  c.jobs = 1000;
  c.faults = 2;
  c.queues = 3;
  device.counters = c;
  npu_clock clock = {};
  clock.timebase_ns = 777;
  device.clock = clock;
  device.utilization = 0.375;
  npu_engines engines = {};
  engines.cores = 2;
  engines.engine[1][2] = {
      .commands = 5, .busy_cycles = 4000, .stall_cycles = 300, .wait_cycles = 20, .bytes = 123456};
  device.engines = engines;
  device.engine_utilization[1][2] = 0.5;
  return device;
}

DeviceSnapshot closed(uint32_t index) {
  DeviceSnapshot device = card(index);
  const npu_device_info whole = device.info;
  device = {};
  device.info.index = index;
  put(device.info.selector, whole.selector);
  put(device.info.node, whole.node);
  put(device.info.bdf, whole.bdf);
  put(device.info.driver, "npu");
  device.info.open_status = NPU_ERROR_PERMISSION;
  put(device.info.open_text, "/dev/accel/accel1: permission denied; add yourself to group render");
  return device;
}

Snapshot machine(std::vector<DeviceSnapshot> devices) {
  Snapshot snapshot;
  snapshot.host_time = "2026-01-02T03:04:05.678Z";
  snapshot.monotonic_ns = 123456789;
  snapshot.devices = std::move(devices);
  Client client;
  client.pid = 4242;
  client.name = "a-program-with-a-very-long-name";
  client.bdf = "0000:01:00.0";
  client.id = 7;
  client.busy_ns = 2500000;
  client.memory_bytes = 64 << 20;
  snapshot.clients.push_back(client);
  client.bdf = "0000:ff:00.0";  // another machine's: not shown
  snapshot.clients.push_back(client);
  return snapshot;
}

TEST(Smi, TableOfNoCard) {
  expect_golden("smi-none.txt", show_table(machine({}), "1.2.3"));
}
TEST(Smi, TableOfOneCard) {
  expect_golden("smi-one.txt", show_table(machine({card(0)}), "1.2.3"));
}

TEST(Smi, TableOfACardThatCannotBeOpened) {
  expect_golden("smi-closed.txt", show_table(machine({card(0), closed(1)}), "1.2.3"));
}

TEST(Smi, TableWithEveryFieldMissing) {
  DeviceSnapshot device = card(0);
  device.telemetry.reset();
  device.counters.reset();
  device.clock.reset();
  device.utilization.reset();
  device.info.open_status = NPU_ERROR_DEVICE_GONE;
  expect_golden("smi-gone.txt", show_table(machine({device}), "1.2.3"));
}

TEST(Smi, EveryLineOfTheTableIsAsWide) {
  std::vector<DeviceSnapshot> devices;
  for (uint32_t i = 0; i < 8; i++) devices.push_back(i % 3 == 2 ? closed(i) : card(i));
  devices[0].counters->jobs = UINT64_MAX;
  devices[0].telemetry->power_mw = UINT32_MAX;
  std::istringstream lines(show_table(machine(devices), "1.2.3-rc4"));
  for (std::string line; std::getline(lines, line);) EXPECT_EQ(line.size(), 80u) << line;
}

TEST(Smi, JsonHasNullWhereNothingIsKnown) {
  expect_golden("smi.json", to_json(machine({card(0), closed(1)})).dump(2) + "\n");
  const Json json = to_json(machine({closed(1)}));
  EXPECT_TRUE(json["devices"][0]["power_w"].is_null());
  EXPECT_EQ(json["devices"][0]["status"], "permission");
}

TEST(Smi, ListStatsAndProcesses) {
  const Snapshot snapshot = machine({card(0), closed(1)});
  expect_golden("smi-list.txt", show_list(snapshot));
  expect_golden("smi-stats.txt", stats_header() + show_stats(snapshot));
  expect_golden("smi-ps.txt", show_processes(snapshot));
}

TEST(Fdinfo, IsReadAsTheKernelWritesIt) {
  Client client;
  EXPECT_TRUE(
      parse_fdinfo("pos:\t0\nflags:\t02100002\ndrm-driver:\tnpu\ndrm-client-id:\t12\n"
                   "drm-pdev:\t0000:00:04.0\ndrm-engine-npu:\t123456 ns\n"
                   "drm-cycles-npu:\t99\ndrm-total-cycles-npu:\t777777777\n"
                   "drm-total-card:\t4 KiB\ndrm-total-host:\t1 MiB\n",
                   client));
  EXPECT_EQ(client.bdf, "0000:00:04.0");
  EXPECT_EQ(client.id, 12u);
  EXPECT_EQ(client.busy_ns, 123456u);
  EXPECT_EQ(client.cycles, 99u);
  EXPECT_EQ(client.card_memory_bytes, 4096u);
  EXPECT_EQ(client.memory_bytes, 4096u + 1048576u);
  Client other;
  EXPECT_FALSE(parse_fdinfo("drm-driver:\ti915\ndrm-client-id:\t12\n", other));
  EXPECT_FALSE(parse_fdinfo("", other));
  EXPECT_FALSE(parse_fdinfo("drm-engine-npu:\nno colon\n:\n", other));
}

TEST(Fdinfo, ClientsAreFoundOnce) {
  namespace fs = std::filesystem;
  const fs::path proc = fs::path(::testing::TempDir()) / "smi-proc";
  fs::remove_all(proc);
  const auto add = [&](const char* pid, const char* fd, const std::string& text) {
    fs::create_directories(proc / pid / "fdinfo");
    std::ofstream(proc / pid / "comm") << "prog-" << pid << "\n";
    std::ofstream(proc / pid / "fdinfo" / fd) << text;
  };
  const std::string npu = "drm-driver:\tnpu\ndrm-pdev:\t0000:01:00.0\ndrm-client-id:\t";
  add("20", "3", npu + "5\n");
  add("20", "4", npu + "5\n");  // the same file, duplicated
  add("10", "3", npu + "6\n");
  add("30", "3", "drm-driver:\tother\n");
  add("self", "3", npu + "9\n");
  const auto clients = find_clients(proc);
  ASSERT_EQ(clients.size(), 2u);
  EXPECT_EQ(clients[0].pid, 10);
  EXPECT_EQ(clients[1].name, "prog-20");
  EXPECT_TRUE(find_clients(proc / "nothing").empty());
  fs::remove_all(proc);
}

}  // namespace
}  // namespace npu::tools
