// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "arch/text.h"
#include "compiler/report/report.h"

namespace npu::compiler {
namespace {

using Json = nlohmann::json;

struct Cost {
  double cycles = 0, bytes = 0;
};

struct Report {
  std::string network, target;
  double energy = 0, utilization = 0;
  Cost total;
  std::vector<std::string> order;
  std::map<std::string, Cost> nodes;
};

// Throws Json::exception.
Report parse(const std::string& text) {
  const Json json = Json::parse(text);
  if (json.at("schema") != "npu-compile-report/2")
    throw Json::other_error::create(501, "not of schema npu-compile-report/2", nullptr);
  Report out;
  out.network = json.at("network");
  out.target = json.at("target");
  out.energy = json.at("energy_j");
  out.utilization = json.at("mac_utilization");
  out.total = {json.at("modelled_cycles"), json.at("external_bytes")};
  for (const Json& layer : json.at("layers")) {
    const std::string name = layer.at("node");
    const auto [at, fresh] = out.nodes.try_emplace(name);
    if (fresh) out.order.push_back(name);
    at->second.cycles += layer.at("modelled_cycles").get<double>();
    at->second.bytes += layer.at("external_bytes").get<double>();
  }
  return out;
}

std::string change(double before, double after) {
  if (before == 0) return after == 0 ? "" : "new";
  return fmt::format("{:+.1f} %", 100 * (after / before - 1));
}

std::string row(const std::string& name, const Cost& before, const Cost& after) {
  return fmt::format("{:<40.40} {:>13.0f} {:>13.0f} {:>9} {:>13.0f} {:>13.0f} {:>9}\n",
                     arch::printable(name), before.cycles, after.cycles,
                     change(before.cycles, after.cycles), before.bytes, after.bytes,
                     change(before.bytes, after.bytes));
}

}  // namespace

std::optional<std::string> compare_reports(const std::string& before, const std::string& after,
                                           std::string& error) {
  Report reports[2];
  for (int i = 0; i < 2; ++i) {
    try {
      reports[i] = parse(i == 0 ? before : after);
    } catch (const Json::exception& e) {
      error = fmt::format("the {} is no report of npu-compile: {}", i == 0 ? "first" : "second",
                          e.what());
      return std::nullopt;
    }
  }
  const Report &a = reports[0], &b = reports[1];
  std::string out = arch::printable(fmt::format("{} on {} -> {} on {}", a.network, a.target,
                                                b.network, b.target)) +
                    "\n";
  out += fmt::format("{:<40} {:>13} {:>13} {:>9} {:>13} {:>13} {:>9}\n", "", "cycles", "then", "",
                     "bytes", "then", "");
  out += row("network", a.total, b.total);
  out += fmt::format("utilisation {:.1f} % -> {:.1f} %, energy {:.4g} J -> {:.4g} J\n",
                     100 * a.utilization, 100 * b.utilization, a.energy, b.energy);
  // By how much of a difference they make.
  std::vector<std::string> names = a.order;
  for (const std::string& name : b.order)
    if (!a.nodes.contains(name)) names.push_back(name);
  const auto cost = [](const Report& report, const std::string& name) {
    const auto at = report.nodes.find(name);
    return at == report.nodes.end() ? Cost{} : at->second;
  };
  const auto difference = [&](const std::string& name) {
    return std::abs(cost(a, name).cycles - cost(b, name).cycles);
  };
  std::stable_sort(names.begin(), names.end(), [&](const std::string& x, const std::string& y) {
    return difference(x) > difference(y);
  });
  size_t same = 0;
  for (const std::string& name : names) {
    const Cost x = cost(a, name), y = cost(b, name);
    if (x.cycles == y.cycles && x.bytes == y.bytes)
      ++same;
    else
      out += row(name, x, y);
  }
  out += fmt::format("{} node{} the same\n", same, same == 1 ? "" : "s");
  return out;
}

}  // namespace npu::compiler
