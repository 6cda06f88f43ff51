// SPDX-License-Identifier: MIT
//
// BAR0: decodes register accesses. Callable from any thread.
#ifndef NPU_MODEL_REGISTERS_H_
#define NPU_MODEL_REGISTERS_H_

#include <cstdint>

#include "injector.h"
#include "npu_model.h"
#include "shared.h"
#include "telemetry.h"

namespace npu::model {

class Registers {
 public:
  Registers(const npu_model_host& host, Shared& shared, Injector& injector, Telemetry& telemetry,
            uint64_t serial, uint64_t features, uint32_t dma_bits)
      : host_(host),
        shared_(shared),
        injector_(injector),
        telemetry_(telemetry),
        serial_(serial),
        features_(features),
        dma_bits_(dma_bits) {}

  uint64_t read(uint64_t offset, unsigned size);
  void write(uint64_t offset, uint64_t value, unsigned size);

  // Arms a fault; GONE, AER and THERMAL_TRIP strike at once. False: unknown kind,
  // or nothing that the host's bus can do.
  bool inject(uint32_t kind, const Injector::Armed& fault);

  // Off the bus, or back; the host is told. Takes effect at the next request.
  void set_gone(bool gone);

 private:
  bool tell_host(npu_model_function_event event, uint64_t argument);
  uint32_t read_word(uint32_t offset);
  uint32_t read_control_page(uint32_t offset);
  uint32_t read_core(uint32_t offset);
  uint32_t read_engine(uint32_t offset);
  uint32_t read_inject_page(uint32_t offset);
  uint32_t read_queue_page(uint32_t queue, uint32_t offset);
  uint32_t device_status();
  void write_word(uint32_t offset, uint32_t value);
  void write_setting(uint32_t offset, uint32_t value);
  void write_reset(uint32_t value);
  void write_queue_page(uint32_t queue, uint32_t offset, uint32_t value);
  void request(bool urgent);

  const npu_model_host& host_;
  Shared& shared_;
  Injector& injector_;
  Telemetry& telemetry_;
  const uint64_t serial_;
  const uint64_t features_;
  const uint32_t dma_bits_;
};

}  // namespace npu::model

#endif  // NPU_MODEL_REGISTERS_H_
