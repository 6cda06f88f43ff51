// SPDX-License-Identifier: MIT
//
// npu-objdump: what is in a compiled model, or in a coredump of the driver.
#include <fmt/format.h>

#include <cstring>

#include "arch/stream.h"
#include "arch/text.h"
#include "model_file.h"
#include "npu/compiled_model.h"
#include "tools/common/files.h"
#include "tools/common/json_output.h"
#include "tools/common/program.h"
#include "tools/common/tensor_file.h"
#include "tools/objdump/coredump.h"

namespace npu::tools {
namespace {

namespace format = npu::format;
using npu::umd::ModelFile;

struct Options {
  std::string file;
  bool header = false, tensors = false, operators = false, jobs = false, disassemble = false;
  bool all = false;
  bool coredump = false;
  std::string json;
};

const char* text_of(const flatbuffers::String* text) {
  return text != nullptr ? text->c_str() : "";
}

std::string shown(const flatbuffers::String* text) {
  return arch::printable(text_of(text));
}

std::string operator_name(const format::Model& model, uint32_t index) {
  if (index >= model.operators()->size()) return fmt::format("operator {}", index);
  return shown(model.operators()->Get(index)->name());
}

std::string quantization_text(const format::Tensor& tensor) {
  const format::Quantization* q = tensor.quantization();
  if (q == nullptr || q->scale() == nullptr || q->scale()->size() == 0) return "";
  if (q->scale()->size() > 1)
    return fmt::format("{} scales on axis {}", q->scale()->size(), q->axis());
  return fmt::format("scale {} zero {}", q->scale()->Get(0), q->zero_point()->Get(0));
}

// The commands of a stream; a stream that does not decode says why.
class Commands {
 public:
  Commands(const ModelFile& file, const format::Job& job, unsigned core) {
    arch::decode_stream(file.stream(*job.streams()->Get(core)), file.target(), core,
                        job.streams()->size(), stream_, error_);
  }
  const arch::Stream& list() const { return stream_; }
  // Empty if all is well.
  std::string problem() const {
    if (error_.status == NPU_STATUS_OK) return "";
    return fmt::format("{} at command {}: {}", arch::status_name(error_.status), error_.command,
                       error_.text);
  }

 private:
  arch::Stream stream_;
  arch::StreamError error_;
};

void print_header(const ModelFile& file) {
  const format::Model& m = file.model();
  const npu_target& t = file.target();
  fmt::print("name              {}\n", shown(m.name()));
  fmt::print("producer          {}\n", shown(m.producer()));
  fmt::print("target            {}: {} x {}x{} MAC, {} KiB SRAM, {} MHz\n", arch::printable(t.name),
             t.cores, t.mac_outputs, t.mac_inputs, t.sram_bytes >> 10, t.clock_mhz);
  fmt::print("inputs, outputs   {}, {}\n", m.inputs()->size(), m.outputs()->size());
  fmt::print("operators         {}\n", m.operators()->size());
  fmt::print("jobs              {}\n", m.jobs()->size());
  fmt::print("regions           {}\n", m.regions());
  fmt::print("commands          {} bytes\n", file.commands().size());
  fmt::print("constants         {} bytes\n", file.constants().size());
  fmt::print("scratch           {} bytes\n", m.scratch_bytes());
  fmt::print("SRAM peak         {} bytes\n", m.sram_peak_bytes());
  fmt::print("MACs              {}\n", m.macs());
  fmt::print("predicted cycles  {}\n", m.cycles());
}

void print_tensors(const ModelFile& file) {
  fmt::print("\n{:<8} {:<6} {:<28} {:<24} {:>10}  {}\n", "tensor", "region", "name", "type",
             "bytes", "quantization");
  for (unsigned i = 0; i < file.tensor_count(); i++) {
    const format::Tensor& t = file.tensor(i);
    fmt::print("{:<8} {:<6} {:<28} {:<24} {:>10}  {}\n", file.is_output(i) ? "output" : "input",
               t.region(), shown(t.name()), npu::umd::describe_tensor(t), t.bytes(),
               quantization_text(t));
  }
}

void print_operators(const ModelFile& file) {
  fmt::print("\n{:>8}  {:<24} {:>14}  {}\n", "operator", "type", "MACs", "name");
  for (unsigned i = 0; i < file.model().operators()->size(); i++) {
    const format::Operator& op = *file.model().operators()->Get(i);
    fmt::print("{:>8}  {:<24} {:>14}  {}\n", i, shown(op.type()), op.macs(), shown(op.name()));
  }
}

void print_jobs(const ModelFile& file, bool disassemble) {
  for (unsigned j = 0; j < file.model().jobs()->size(); j++) {
    const format::Job& job = *file.model().jobs()->Get(j);
    fmt::print("\njob {}: {} stream{}{}\n", j, job.streams()->size(),
               job.streams()->size() == 1 ? "" : "s", job.restartable() ? ", restartable" : "");
    for (unsigned core = 0; core < job.streams()->size(); core++) {
      const Commands commands(file, job, core);
      fmt::print("  core {}: offset {}, {} bytes, {} commands\n", core,
                 job.streams()->Get(core)->offset(), job.streams()->Get(core)->bytes(),
                 commands.list().size());
      if (disassemble) {
        uint32_t source = ~0u;
        for (size_t i = 0; i < commands.list().size(); i++) {
          const arch::Command& command = commands.list()[i];
          if (command.header().source_op != source) {
            source = command.header().source_op;
            fmt::print("  ; {}\n", operator_name(file.model(), source));
          }
          fmt::print("  {:>6}  {}\n", i, arch::disassemble(command));
        }
      }
      if (!commands.problem().empty()) fmt::print("  ! {}\n", commands.problem());
    }
  }
}

Json tensor_json(const ModelFile& file, unsigned index) {
  const format::Tensor& t = file.tensor(index);
  Json shape = Json::array(), scales = Json::array(), zeros = Json::array();
  for (uint32_t dimension : *t.shape()) shape.push_back(dimension);
  const format::Quantization* q = t.quantization();
  const bool quantized = q != nullptr && q->scale() != nullptr;
  if (quantized) {
    for (float scale : *q->scale()) scales.push_back(scale);
    for (int32_t zero : *q->zero_point()) zeros.push_back(zero);
  }
  return {{"name", text_of(t.name())},
          {"output", file.is_output(index)},
          {"type", arch::data_type_name(static_cast<unsigned>(t.type()))},
          {"shape", shape},
          {"region", t.region()},
          {"bytes", t.bytes()},
          {"scales", quantized ? scales : Json(nullptr)},
          {"zero_points", quantized ? zeros : Json(nullptr)}};
}

Json to_json(const ModelFile& file, bool disassemble) {
  const format::Model& m = file.model();
  Json tensors = Json::array(), operators = Json::array(), jobs = Json::array();
  for (unsigned i = 0; i < file.tensor_count(); i++) tensors.push_back(tensor_json(file, i));
  for (const format::Operator* op : *m.operators()) {
    operators.push_back(
        {{"name", text_of(op->name())}, {"type", text_of(op->type())}, {"macs", op->macs()}});
  }
  for (const format::Job* job : *m.jobs()) {
    Json streams = Json::array();
    for (unsigned core = 0; core < job->streams()->size(); core++) {
      const Commands commands(file, *job, core);
      Json stream = {
          {"offset", job->streams()->Get(core)->offset()},
          {"bytes", job->streams()->Get(core)->bytes()},
          {"problem", commands.problem().empty() ? Json(nullptr) : Json(commands.problem())}};
      if (disassemble) {
        Json list = Json::array();
        for (const arch::Command& command : commands.list()) {
          list.push_back({{"opcode", arch::opcode_name(command.header().opcode)},
                          {"engine", arch::engine_name(command.header().engine)},
                          {"operator", command.header().source_op},
                          {"text", arch::disassemble(command)}});
        }
        stream["commands"] = list;
      }
      streams.push_back(stream);
    }
    jobs.push_back({{"restartable", job->restartable()}, {"streams", streams}});
  }
  return {{"schema", "npu-objdump/1"},
          {"name", text_of(m.name())},
          {"producer", text_of(m.producer())},
          {"target", file.target().name},
          {"regions", m.regions()},
          {"command_bytes", file.commands().size()},
          {"constant_bytes", file.constants().size()},
          {"scratch_bytes", m.scratch_bytes()},
          {"sram_peak_bytes", m.sram_peak_bytes()},
          {"macs", m.macs()},
          {"predicted_cycles", valid_or_null(m.cycles() != 0, m.cycles())},
          {"tensors", tensors},
          {"operators", operators},
          {"jobs", jobs}};
}

int dump_coredump(const Options& o) {
  const Coredump coredump = parse_coredump(read_file(o.file), o.file);
  const bool all_commands = o.disassemble || o.all;
  if (!o.json.empty())
    write_json(o.json, coredump_json(coredump, all_commands));
  else
    fmt::print("{}", coredump_text(coredump, all_commands));
  return kExitOk;
}

int dump(const Options& o) {
  if (o.coredump) return dump_coredump(o);
  auto file = ModelFile::parse(read_file(o.file));
  if (!file.ok()) throw ToolError(kExitBadInput, o.file + ": " + file.error().text);
  const bool nothing_chosen =
      !(o.header || o.tensors || o.operators || o.jobs || o.disassemble || o.all);
  if (!o.json.empty()) {
    write_json(o.json, to_json(*file, o.disassemble || o.all));
    return kExitOk;
  }
  if (o.header || o.all || nothing_chosen) print_header(*file);
  if (o.tensors || o.all || nothing_chosen) print_tensors(*file);
  if (o.operators || o.all || nothing_chosen) print_operators(*file);
  if (o.jobs || o.disassemble || o.all || nothing_chosen) {
    print_jobs(*file, o.disassemble || o.all);
  }
  return kExitOk;
}

int main_of(int argc, char** argv) {
  Program program(
      "npu-objdump",
      "show what is in a compiled model or a coredump\n\n"
      "Without options: header, tensors, operators and jobs. Commands that the target "
      "would refuse are marked with '!'.\n\n"
      "With --coredump, FILE is what the driver left in /sys/class/devcoredump after a "
      "job failed or the card was reset: who, which job and command, the page walk of "
      "the faulting address, the commands around the guilty one (-d: all), the queue's "
      "ring, registers.",
      {{"npu-objdump digits.npu", "what it is"},
       {"npu-objdump -d digits.npu", "its commands, one a line"},
       {"npu-objdump -a --json - digits.npu", "everything, for programs"},
       {"npu-objdump --coredump /sys/class/devcoredump/devcd1/data", "why the last job failed"}});
  Options o;
  CLI::App& app = program.app();
  app.add_option("FILE", o.file, "Compiled model, or coredump")->required();
  app.add_flag("--header", o.header, "The header: target, sizes, totals");
  app.add_flag("-t,--tensors", o.tensors, "Inputs and outputs");
  app.add_flag("--operators", o.operators, "Operators of the ONNX model");
  app.add_flag("-j,--jobs", o.jobs, "Jobs and their streams");
  app.add_flag("-d,--disassemble", o.disassemble, "Jobs with their commands");
  app.add_flag("-a,--all", o.all, "Everything");
  app.add_flag("--coredump", o.coredump, "FILE is a coredump of the driver");
  app.add_option("--json", o.json, "Write JSON to FILE (- for stdout) instead of text")
      ->type_name("FILE");
  return program.run(argc, argv, [&] { return dump(o); });
}

}  // namespace
}  // namespace npu::tools

int main(int argc, char** argv) {
  return npu::tools::main_of(argc, argv);
}
