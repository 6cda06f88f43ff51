// SPDX-License-Identifier: MIT
//
// Which ONNX operators there are, who reads them, and what --list-ops says.
#ifndef NPU_COMPILER_IMPORT_OPERATOR_TABLE_H_
#define NPU_COMPILER_IMPORT_OPERATOR_TABLE_H_

#include <span>
#include <string>

#include "compiler/import/importer.h"

namespace npu::compiler {

struct OperatorEntry {
  const char* domain;  // "" or "com.microsoft"
  const char* type;
  void (Importer::*handler)(const onnx::Node&, Attributes&);
  const char* constraints;
};

// nullptr if the operator is not supported.
const OperatorEntry* find_operator(const std::string& domain, const std::string& type);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_IMPORT_OPERATOR_TABLE_H_
