// SPDX-License-Identifier: MIT
//
// What a compiled network costs, for people and for programs. Cycles are modelled.
#ifndef NPU_COMPILER_REPORT_REPORT_H_
#define NPU_COMPILER_REPORT_REPORT_H_

#include <optional>
#include <string>

#include "compiler/compile.h"

namespace npu::compiler {

// Schema npu-compile-report/2, docs/compiler.md.
std::string report_json(const CompiledModel& model, const Graph& graph, const npu_target& target);

std::string report_table(const CompileReport& report, const npu_target& target);

// A page of HTML that needs nothing else: the report, a timeline, the SRAM over time, charts.
std::string report_page(const CompiledModel& model, const Graph& graph, const npu_target& target);

// All that is known of one node, named as in the model, and its first `most_commands`
// commands. nullopt if there is no such node.
std::optional<std::string> explain_node(const CompiledModel& model, const Graph& graph,
                                        const npu_target& target, const std::string& node,
                                        size_t most_commands = 40);

// What differs between two reports of schema npu-compile-report/2. nullopt, with `error` set,
// if one is none.
std::optional<std::string> compare_reports(const std::string& before, const std::string& after,
                                           std::string& error);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_REPORT_REPORT_H_
