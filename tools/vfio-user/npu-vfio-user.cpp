// SPDX-License-Identifier: MIT
//
// npu-vfio-user: the card for an unpatched QEMU, over a UNIX socket.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <stdexcept>

#include "tools/common/device.h"
#include "tools/common/program.h"
#include "vfio-user/server.h"

namespace npu::tools {
namespace {

struct Options {
  std::string socket;
  std::string target = "card";
  std::string mode = "full";
  uint64_t serial = 1;
  uint32_t aperture_mib = 0;
  bool once = false;
};

void add_options(CLI::App& app, Options& o) {
  app.add_option("socket", o.socket, "path of the UNIX socket to create")->required();
  app.add_option("--target", o.target,
                 "parameters of the card: card, edge, or a JSON file with what differs from one")
      ->capture_default_str();
  app.add_option("--mode", o.mode,
                 "full; function: compute without modelling time; timing: time without computing")
      ->check(CLI::IsMember({"full", "function", "timing"}))
      ->capture_default_str();
  app.add_option("--serial", o.serial, "serial number of the card")->capture_default_str();
  app.add_option("--aperture-mib", o.aperture_mib,
                 "size of BAR2, a power of two; default: all of card memory");
  app.add_flag("--once", o.once, "end when the first client has gone");
}

void say(const std::string& text) {
  fmt::print(stderr, "npu-vfio-user: {}\n", text);
}

int run(const Options& o) {
  vfio_user::DeviceOptions options;
  options.target = load_target(o.target);
  options.mode = o.mode == "full"       ? NPU_MODEL_FULL
                 : o.mode == "function" ? NPU_MODEL_FUNCTION_ONLY
                                        : NPU_MODEL_TIMING_ONLY;
  options.serial = o.serial;
  options.aperture_bytes = uint64_t{o.aperture_mib} << 20;
  options.log = say;
  std::unique_ptr<vfio_user::Device> device;
  try {
    device = std::make_unique<vfio_user::Device>(options);
  } catch (const std::runtime_error& error) {
    throw ToolError(kExitUsage, error.what());
  }
  vfio_user::Listener listener(o.socket);
  say("a card '" + std::string(options.target.name) + "' is waiting at " + o.socket);
  while (vfio_user::UniqueFd client = listener.accept(interrupted)) {
    const std::string wrong = vfio_user::serve(std::move(client), *device, interrupted);
    if (!wrong.empty()) say("the client broke the protocol: " + wrong);
    if (o.once) return wrong.empty() ? kExitOk : kExitFailure;
  }
  return kExitOk;  // SIGTERM and Ctrl-C are the way to end it
}

int main_of(int argc, char** argv) {
  Program program(
      "npu-vfio-user",
      "serve the NPU card to a hypervisor over vfio-user\n\n"
      "An unpatched QEMU from 10.1 on uses the card as a PCI device: "
      "-device '{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"PATH\"}}', "
      "with "
      "the guest's memory in a file that can be shared: "
      "-object memory-backend-memfd,id=ram,size=SIZE,share=on -machine memory-backend=ram. "
      "One client at a time; when it has gone, the card is as after power-on.",
      {{"npu-vfio-user /tmp/npu.sock", "serve the default card until Ctrl-C"},
       {"npu-vfio-user --once --target edge /tmp/npu.sock", "a small card, for one client"}});
  Options options;
  add_options(program.app(), options);
  return program.run(argc, argv, [&] { return run(options); });
}

}  // namespace
}  // namespace npu::tools

int main(int argc, char** argv) {
  return npu::tools::main_of(argc, argv);
}
