// SPDX-License-Identifier: MIT
//
// Energy, power and heat. Dynamic energy comes from finished jobs, static
// energy from time; power is averaged over kWindowNs; the die follows a
// first-order model, dT/dt = (ambient + P * R - T) / tau. Above the throttling
// temperature the clock halves until the die has cooled by kHysteresis.
#ifndef NPU_MODEL_TELEMETRY_H_
#define NPU_MODEL_TELEMETRY_H_

#include <cstdint>
#include <mutex>

#include "npu/target.h"

namespace npu::model {

class Telemetry {
 public:
  static constexpr uint64_t kWindowNs = 100'000'000;
  static constexpr double kHysteresisMc = 5000;

  struct Values {
    uint32_t power_mw = 0;
    uint32_t temperature_mc = 0;
    uint32_t clock_mhz = 0;
    uint32_t throttles = 0;
    uint64_t energy_nj = 0;
    uint64_t busy_ns = 0;
    uint64_t cycles = 0;
    bool throttled = false;
  };

  // Plain data, so that it can be saved.
  struct State {
    uint64_t now_ns = 0;
    uint64_t window_start_ns = 0;
    uint64_t busy_ns = 0;
    uint64_t cycles = 0;
    double dynamic_pj = 0;
    double static_pj = 0;
    double window_pj = 0;  // dynamic, in the current window
    double power_w = 0;    // of the last complete window
    double temperature_mc = 0;
    uint32_t throttles = 0;
    uint8_t throttled = 0;
    uint8_t busy = 0;
  };

  explicit Telemetry(const npu_target& target) : target_(target) { reset(0); }

  void reset(uint64_t now_ns);
  Values values(uint64_t now_ns);
  void set_busy(bool busy, uint64_t now_ns);
  void add_work(uint64_t dynamic_pj, uint64_t cycles, uint64_t now_ns);
  void set_temperature(uint32_t millidegrees, uint64_t now_ns);
  bool throttled();

  State state();
  // The clock goes on from `now_ns`. False: not a plausible state.
  bool set_state(const State& state, uint64_t now_ns);

 private:
  void advance(uint64_t now_ns);  // the mutex is held
  double static_w() const;

  const npu_target target_;
  std::mutex mutex_;
  State s_;
};

}  // namespace npu::model

#endif  // NPU_MODEL_TELEMETRY_H_
