// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "compiler/report/occupancy.h"
#include "compiler/report/report.h"

// Files that are part of the program (CMakeLists.txt says which).
#define NPU_EMBED(name, path)                                                                   \
  asm(".section .rodata\n" #name "_begin:\n.incbin \"" path "\"\n" #name "_end:\n.previous\n"); \
  extern "C" const char name##_begin[], name##_end[]

NPU_EMBED(npu_report_page, NPU_REPORT_PAGE);
NPU_EMBED(npu_report_charts, NPU_REPORT_CHARTS);

namespace npu::compiler {
namespace {

using Json = nlohmann::json;

// Commands that the timeline shows; the longest, if there are more.
constexpr size_t kMostBars = 50'000;

// Text for inside a script element: nothing in it ends the element.
std::string script_text(const Json& json) {
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string out;
  for (const char c : text) c == '<' ? out += "\\u003c" : out += c;
  return out;
}

Json timeline(const CompiledModel& model) {
  struct Bar {
    uint64_t begin;
    const npu_profile_command* record;
  };
  std::vector<Bar> bars;
  for (const JobTrace& trace : model.trace)
    for (const npu_profile_command& record : trace.records)
      if (record.engine < NPU_ENGINE_COUNT) bars.push_back({trace.begin(record), &record});
  const size_t all = bars.size();
  if (all > kMostBars) {
    std::nth_element(bars.begin(), bars.begin() + kMostBars, bars.end(),
                     [](const Bar& a, const Bar& b) {
                       return a.record->execute_cycles > b.record->execute_cycles;
                     });
    bars.resize(kMostBars);
  }
  std::stable_sort(bars.begin(), bars.end(),
                   [](const Bar& a, const Bar& b) { return a.begin < b.begin; });
  Json list = Json::array();
  for (const Bar& bar : bars) {
    const npu_profile_command& r = *bar.record;
    list.push_back({r.core, r.engine, bar.begin, r.execute_cycles, r.stall_cycles, r.wait_cycles,
                    r.source_op, r.command, arch::opcode_name(r.opcode)});
  }
  Json engines = Json::array();
  for (unsigned e = 0; e < NPU_ENGINE_COUNT; ++e) engines.push_back(arch::engine_name(e));
  return {{"commands", all}, {"bars", std::move(list)}, {"engines", std::move(engines)}};
}

// Rows as runs: node, columns, node, columns, ...
Json occupancy(const CompiledModel& model, const npu_target& target) {
  const Occupancy picture = sram_occupancy(model.trace, target);
  Json rows = Json::array();
  for (unsigned row = 0; row < picture.rows; ++row) {
    Json runs = Json::array();
    const int32_t* at = &picture.nodes[size_t{row} * picture.columns];
    for (unsigned begin = 0, end; begin < picture.columns; begin = end) {
      for (end = begin + 1; end < picture.columns && at[end] == at[begin];) ++end;
      runs.push_back(at[begin]);
      runs.push_back(end - begin);
    }
    rows.push_back(std::move(runs));
  }
  return {{"row_bytes", picture.row_bytes},
          {"columns", picture.columns},
          {"cycles", picture.cycles},
          {"rows", std::move(rows)}};
}

void replace(std::string& text, std::string_view mark, std::string_view by) {
  text.replace(text.find(mark), mark.size(), by);
}

}  // namespace

std::string report_page(const CompiledModel& model, const Graph& graph, const npu_target& target) {
  Json names = Json::array();
  for (const Source& source : graph.sources) names.push_back(source.name);
  const Json data = {{"report", Json::parse(report_json(model, graph, target))},
                     {"nodes", std::move(names)},
                     {"timeline", timeline(model)},
                     {"sram", occupancy(model, target)}};
  std::string page(npu_report_page_begin, npu_report_page_end);
  replace(page, "@CHARTS@", {npu_report_charts_begin, npu_report_charts_end});
  replace(page, "@DATA@", script_text(data));
  return page;
}

}  // namespace npu::compiler
