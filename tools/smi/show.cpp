// SPDX-License-Identifier: MIT
#include "tools/smi/show.h"

#include <fmt/format.h>

#include "arch/text.h"
#include "tools/common/device.h"

namespace npu::tools {
namespace {

constexpr size_t kWidth = 80;

// Processes choose their names.
std::string cut(const std::string& text, size_t width) {
  const std::string plain = arch::printable(text);
  return plain.size() <= width ? plain : arch::printable(plain, width - 3);
}

// A value, or "-" where there is none; never a number that is not one.
template <typename T, typename F>
std::string shown(const std::optional<T>& value, F&& format) {
  return value ? std::string(format(*value)) : "-";
}

std::string mib(uint64_t bytes) {
  return fmt::format("{}", (bytes + (1u << 19)) >> 20);
}

std::string rule(char c) {
  return "+" + std::string(kWidth - 2, c) + "+\n";
}

std::string row(const std::string& text) {
  return fmt::format("| {:<{}} |\n", cut(text, kWidth - 4), kWidth - 4);
}

std::string columns(const std::string& a, const std::string& b, const std::string& c) {
  return fmt::format("| {:<32} | {:<20} | {:<18} |\n", cut(a, 32), cut(b, 20), cut(c, 18));
}

std::string process_row(const std::string& npu, const std::string& pid, const std::string& name,
                        const std::string& busy, const std::string& card, const std::string& all) {
  return fmt::format("| {:<5} {:>8}  {:<23} {:>12} {:>11} {:>11} |\n", npu, pid, cut(name, 23),
                     busy, card, all);
}

std::string device_of(const Snapshot& snapshot, const std::string& bdf) {
  for (const DeviceSnapshot& device : snapshot.devices) {
    if (bdf == device.info.bdf) return std::to_string(device.info.index);
  }
  return "";
}

std::string process_lines(const Snapshot& snapshot) {
  std::string out;
  for (const Client& client : snapshot.clients) {
    const std::string npu = device_of(snapshot, client.bdf);
    if (npu.empty()) continue;
    out += process_row(
        npu, std::to_string(client.pid), client.name,
        shown(client.busy_ns, [](uint64_t v) { return fmt::format("{:.1f}", double(v) / 1e6); }),
        shown(client.card_memory_bytes, mib), shown(client.memory_bytes, mib));
  }
  return out;
}

const char* text_or(const char* text, const char* otherwise) {
  return text[0] != '\0' ? text : otherwise;
}

template <typename T>
Json json_of(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

constexpr const char* kEngineNames[4] = {"LOAD", "STORE", "MAC", "VEC"};

Json engines_json(const DeviceSnapshot& device) {
  if (!device.engines) return nullptr;
  Json engines = Json::array();
  for (uint32_t core = 0; core < device.engines->cores; core++) {
    for (int e = 0; e < 4; e++) {
      const npu_engine_counters& c = device.engines->engine[core][e];
      const std::optional<double>& busy = device.engine_utilization[core][e];
      engines.push_back({{"core", core},
                         {"engine", kEngineNames[e]},
                         {"commands", c.commands},
                         {"busy_cycles", c.busy_cycles},
                         {"stall_cycles", c.stall_cycles},
                         {"wait_cycles", c.wait_cycles},
                         {"bytes", c.bytes},
                         {"utilization_percent", busy ? Json(*busy * 100) : Json(nullptr)}});
    }
  }
  return engines;
}

Json device_json(const DeviceSnapshot& device) {
  const npu_device_info& info = device.info;
  const bool open = info.open_status == NPU_OK;
  const auto known = [&](auto value) { return valid_or_null(open, value); };
  Json json = {
      {"index", info.index == UINT32_MAX ? Json(nullptr) : Json(info.index)},
      {"selector", info.selector},
      {"node", info.node[0] != '\0' ? Json(info.node) : Json(nullptr)},
      {"bdf", info.bdf[0] != '\0' ? Json(info.bdf) : Json(nullptr)},
      {"driver", info.driver},
      {"driver_version",
       info.driver_version[0] != '\0' ? Json(info.driver_version) : Json(nullptr)},
      {"simulated", info.node[0] == '\0'},
      {"status", status_of(device)},
      {"status_text", info.open_text[0] != '\0' ? Json(info.open_text) : Json(nullptr)},
      {"name", known(std::string(info.name))},
      {"serial", known(fmt::format("{:016x}", info.serial))},
      {"interface_version",
       known(fmt::format("{}.{}", info.interface_version >> 16, info.interface_version & 0xffff))},
  };
  const npu_target target = target_of(info);
  json["cores"] = known(target.cores);
  json["mac_outputs"] = known(target.mac_outputs);
  json["mac_inputs"] = known(target.mac_inputs);
  json["sram_bytes"] = known(target.sram_bytes);
  json["clock_nominal_mhz"] = known(target.clock_mhz);
  json["card_memory_bytes"] = known(uint64_t{target.card_memory_mib} << 20);
  const auto& t = device.telemetry;
  const auto telemetry = [&](auto member, auto scale) {
    return t ? Json(static_cast<double>((*t).*member) * scale) : Json(nullptr);
  };
  const auto telemetry_number = [&](auto member) { return t ? Json((*t).*member) : Json(nullptr); };
  json["power_w"] = telemetry(&npu_telemetry::power_mw, 1e-3);
  json["temperature_c"] = t ? Json(static_cast<int32_t>(t->temperature_mc) * 1e-3) : Json(nullptr);
  json["clock_mhz"] = telemetry_number(&npu_telemetry::clock_mhz);
  json["throttles"] = telemetry_number(&npu_telemetry::throttles);
  json["energy_j"] = telemetry(&npu_telemetry::energy_nj, 1e-9);
  json["busy_ns"] = telemetry_number(&npu_telemetry::busy_ns);
  json["cycles"] = telemetry_number(&npu_telemetry::cycles);
  json["utilization_percent"] =
      device.utilization ? Json(*device.utilization * 100) : Json(nullptr);
  json["card_memory_used_bytes"] = telemetry_number(&npu_telemetry::card_memory_used);
  json["card_memory_total_bytes"] = telemetry_number(&npu_telemetry::card_memory_total);
  json["host_memory_used_bytes"] = telemetry_number(&npu_telemetry::host_memory_used);
  const auto& c = device.counters;
  const auto counter = [&](auto member) { return c ? Json((*c).*member) : Json(nullptr); };
  json["jobs"] = counter(&npu_counters::jobs);
  json["faults"] = counter(&npu_counters::faults);
  json["core_resets"] = counter(&npu_counters::core_resets);
  json["card_resets"] = counter(&npu_counters::card_resets);
  json["device_mmio_reads"] = counter(&npu_counters::device_mmio_reads);
  json["device_mmio_writes"] = counter(&npu_counters::device_mmio_writes);
  json["device_doorbells"] = counter(&npu_counters::device_doorbells);
  json["device_interrupts"] = counter(&npu_counters::device_interrupts);
  json["buffers"] = counter(&npu_counters::buffers);
  json["address_spaces"] = counter(&npu_counters::address_spaces);
  json["queues"] = counter(&npu_counters::queues);
  json["fences"] = counter(&npu_counters::fences);
  json["engines"] = engines_json(device);
  json["timebase_ns"] = device.clock ? Json(device.clock->timebase_ns) : Json(nullptr);
  return json;
}

}  // namespace

Json to_json(const Snapshot& snapshot) {
  Json devices = Json::array(), processes = Json::array();
  for (const DeviceSnapshot& device : snapshot.devices) devices.push_back(device_json(device));
  for (const Client& client : snapshot.clients) {
    const std::string index = device_of(snapshot, client.bdf);
    if (index.empty()) continue;
    processes.push_back({{"pid", client.pid},
                         {"name", client.name},
                         {"device_index", std::stoul(index)},
                         {"bdf", client.bdf},
                         {"client_id", client.id},
                         {"busy_ns", json_of(client.busy_ns)},
                         {"cycles", json_of(client.cycles)},
                         {"memory_bytes", json_of(client.memory_bytes)},
                         {"card_memory_bytes", json_of(client.card_memory_bytes)}});
  }
  return {{"schema", kSmiSchema},
          {"host_time", snapshot.host_time},
          {"monotonic_ns", snapshot.monotonic_ns},
          {"figures", "power, energy, temperature, clock and cycles are modelled"},
          {"devices", devices},
          {"processes", processes}};
}

std::string show_table(const Snapshot& snapshot, const std::string& version) {
  std::string out = rule('-');
  out += row(fmt::format("npu-smi {:<43} {}", version, snapshot.host_time));
  out += rule('-');
  out += columns("NPU  Name             Status", "Bus", "Util  Jobs");
  out += columns("     Temp   Power    Clock", "Card memory (MiB)", "Queues  Faults");
  out += rule('=');
  for (const DeviceSnapshot& device : snapshot.devices) {
    const npu_device_info& info = device.info;
    const auto& t = device.telemetry;
    const auto& c = device.counters;
    const std::string index = info.index == UINT32_MAX ? "sim" : std::to_string(info.index);
    out += columns(
        fmt::format("{:<4} {:<16} {}", index, text_or(info.name, "-"), status_of(device)),
        text_or(info.bdf, "-"),
        fmt::format(
            "{:<5} {}",
            shown(device.utilization, [](double v) { return fmt::format("{:.0f}%", v * 100); }),
            shown(c, [](auto& v) { return std::to_string(v.jobs); })));
    out += columns(
        fmt::format(
            "     {:<6} {:<8} {}",
            shown(t,
                  [](auto& v) { return fmt::format("{:.0f}C", int32_t(v.temperature_mc) * 1e-3); }),
            shown(t, [](auto& v) { return fmt::format("{:.1f}W", v.power_mw * 1e-3); }),
            shown(t, [](auto& v) { return fmt::format("{}MHz", v.clock_mhz); })),
        shown(t,
              [](auto& v) { return mib(v.card_memory_used) + " / " + mib(v.card_memory_total); }),
        fmt::format("{:<7} {}", shown(c, [](auto& v) { return std::to_string(v.queues); }),
                    shown(c, [](auto& v) { return std::to_string(v.faults); })));
    out += rule('-');
  }
  for (const DeviceSnapshot& device : snapshot.devices) {
    if (device.info.open_text[0] != '\0') out += row(device.info.open_text);
  }
  const std::string processes = process_lines(snapshot);
  out += process_row("NPU", "PID", "Process", "Busy (ms)", "Card (MiB)", "All (MiB)");
  out += rule('=');
  out += processes.empty() ? row("no process uses an NPU") : processes;
  out += rule('-');
  out += row("power, temperature and clock are modelled; busy is time of the card's clock");
  return out + rule('-');
}

std::string show_list(const Snapshot& snapshot) {
  std::string out = fmt::format("{:<10} {:<14} {:<18} {:<10} {:<10} {}\n", "SELECTOR", "BUS",
                                "NODE", "NAME", "STATUS", "CARD");
  for (const DeviceSnapshot& device : snapshot.devices) {
    const npu_device_info& info = device.info;
    const npu_target target = target_of(info);
    std::string card = info.open_text;
    if (info.open_status == NPU_OK) {
      card = fmt::format("{} x {}x{} MAC, {} KiB SRAM, {} MHz, {} MiB", target.cores,
                         target.mac_outputs, target.mac_inputs, target.sram_bytes >> 10,
                         target.clock_mhz, target.card_memory_mib);
      if (info.node[0] == '\0') card += ", simulator";
    }
    out += fmt::format("{:<10} {:<14} {:<18} {:<10} {:<10} {}\n", info.selector,
                       text_or(info.bdf, "-"), text_or(info.node, "-"), text_or(info.name, "-"),
                       status_of(device), card);
  }
  return out;
}

std::string engine_lines(const Json& engines) {
  std::string out = fmt::format("  {:<26} {:>12} {:>15} {:>15} {:>15} {:>15} {:>7}\n", "engines",
                                "commands", "busy cycles", "stall", "wait", "bytes", "busy %");
  for (const Json& e : engines) {
    const auto number = [&](const char* key) { return e[key].get<uint64_t>(); };
    const Json& busy = e["utilization_percent"];
    out +=
        fmt::format("    core {} {:<17} {:>12} {:>15} {:>15} {:>15} {:>15} {:>7}\n", number("core"),
                    e["engine"].get<std::string>(), number("commands"), number("busy_cycles"),
                    number("stall_cycles"), number("wait_cycles"), number("bytes"),
                    busy.is_null() ? "-" : fmt::format("{:.1f}", busy.get<double>()));
  }
  return out;
}

std::string show_info(const Snapshot& snapshot) {
  std::string out;
  const Json json = to_json(snapshot);
  for (const Json& device : json["devices"]) {
    out += fmt::format("NPU {}\n", device["selector"].get<std::string>());
    for (const auto& [key, value] : device.items()) {
      if (key == "selector") continue;
      if (key == "engines" && value.is_array()) {
        out += engine_lines(value);
        continue;
      }
      const std::string text = value.is_null()     ? "-"
                               : value.is_string() ? value.get<std::string>()
                                                   : value.dump();
      out += fmt::format("  {:<26} {}\n", key, text);
    }
  }
  return out;
}

std::string show_processes(const Snapshot& snapshot) {
  std::string out = process_row("NPU", "PID", "Process", "Busy (ms)", "Card (MiB)", "All (MiB)");
  return out + process_lines(snapshot);
}

std::string stats_header() {
  return fmt::format("{:<10} {:>6} {:>9} {:>8} {:>8} {:>12} {:>12} {:>10} {:>8}\n", "NPU", "util_%",
                     "power_w", "temp_c", "clk_mhz", "card_mib", "energy_j", "jobs", "faults");
}

std::string show_stats(const Snapshot& snapshot) {
  std::string out;
  for (const DeviceSnapshot& device : snapshot.devices) {
    const auto& t = device.telemetry;
    const auto& c = device.counters;
    out += fmt::format(
        "{:<10} {:>6} {:>9} {:>8} {:>8} {:>12} {:>12} {:>10} {:>8}\n", device.info.selector,
        shown(device.utilization, [](double v) { return fmt::format("{:.1f}", v * 100); }),
        shown(t, [](auto& v) { return fmt::format("{:.3f}", v.power_mw * 1e-3); }),
        shown(t, [](auto& v) { return fmt::format("{:.1f}", int32_t(v.temperature_mc) * 1e-3); }),
        shown(t, [](auto& v) { return std::to_string(v.clock_mhz); }),
        shown(t, [](auto& v) { return mib(v.card_memory_used); }),
        shown(t, [](auto& v) { return fmt::format("{:.6f}", double(v.energy_nj) * 1e-9); }),
        shown(c, [](auto& v) { return std::to_string(v.jobs); }),
        shown(c, [](auto& v) { return std::to_string(v.faults); }));
  }
  return out;
}

}  // namespace npu::tools
