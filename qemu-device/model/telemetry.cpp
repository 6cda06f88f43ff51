// SPDX-License-Identifier: MIT
#include "telemetry.h"

#include <algorithm>
#include <cmath>

namespace npu::model {

double Telemetry::static_w() const {
  const double mhz = s_.throttled != 0 ? target_.clock_mhz / 2.0 : target_.clock_mhz;
  return target_.energy_static_cycle_fj * 1e-15 * mhz * 1e6;
}

void Telemetry::reset(uint64_t now_ns) {
  std::lock_guard lock(mutex_);
  s_ = {};
  s_.now_ns = s_.window_start_ns = now_ns;
  s_.temperature_mc = target_.ambient_mc;
  s_.power_w = static_w();
}

void Telemetry::advance(uint64_t now_ns) {
  // Steps of at most one window, so that each has one power; idle windows in
  // which nothing changes any more are one step.
  while (now_ns > s_.now_ns) {
    const uint64_t window_end = s_.window_start_ns + kWindowNs;
    uint64_t until = std::min(now_ns, window_end);
    const bool idle = s_.window_pj == 0 && s_.now_ns == s_.window_start_ns;
    const double steady = target_.ambient_mc + s_.power_w * target_.thermal_resistance_mk_per_w;
    const bool same_clock = s_.throttled == 0 || steady >= target_.throttle_mc - kHysteresisMc;
    if (idle && same_clock && s_.power_w == static_w() && now_ns > window_end)
      until = s_.window_start_ns + (now_ns - s_.window_start_ns) / kWindowNs * kWindowNs;
    const uint64_t step = until - s_.now_ns;
    if (s_.busy != 0) s_.busy_ns += step;
    s_.static_pj += static_w() * static_cast<double>(step) * 1e3;
    const double tau_ns = target_.thermal_time_constant_ms * 1e6;
    s_.temperature_mc =
        steady + (s_.temperature_mc - steady) * std::exp(-static_cast<double>(step) / tau_ns);
    s_.now_ns = until;
    if (until >= window_end) {
      if (!idle || until == window_end)
        s_.power_w = static_w() + s_.window_pj * 1e-12 / (kWindowNs * 1e-9);
      s_.window_pj = 0;
      s_.window_start_ns = until;
    }
    if (s_.throttled == 0 && s_.temperature_mc > target_.throttle_mc) {
      s_.throttled = 1;
      ++s_.throttles;
    } else if (s_.throttled != 0 && s_.temperature_mc < target_.throttle_mc - kHysteresisMc) {
      s_.throttled = 0;
    }
  }
}

Telemetry::Values Telemetry::values(uint64_t now_ns) {
  std::lock_guard lock(mutex_);
  advance(now_ns);
  Values v;
  v.power_mw = static_cast<uint32_t>(std::min(s_.power_w * 1e3, 4e9));
  v.temperature_mc = static_cast<uint32_t>(std::clamp(s_.temperature_mc, 0.0, 4e9));
  v.throttled = s_.throttled != 0;
  v.clock_mhz = v.throttled ? target_.clock_mhz / 2 : target_.clock_mhz;
  v.throttles = s_.throttles;
  v.energy_nj = static_cast<uint64_t>(std::min((s_.dynamic_pj + s_.static_pj) * 1e-3, 1.8e19));
  v.busy_ns = s_.busy_ns;
  v.cycles = s_.cycles;
  return v;
}

void Telemetry::set_busy(bool busy, uint64_t now_ns) {
  std::lock_guard lock(mutex_);
  advance(now_ns);
  s_.busy = busy ? 1 : 0;
}

void Telemetry::add_work(uint64_t dynamic_pj, uint64_t cycles, uint64_t now_ns) {
  std::lock_guard lock(mutex_);
  advance(now_ns);
  s_.dynamic_pj += static_cast<double>(dynamic_pj);
  s_.window_pj += static_cast<double>(dynamic_pj);
  s_.cycles += cycles;
}

void Telemetry::set_temperature(uint32_t millidegrees, uint64_t now_ns) {
  std::lock_guard lock(mutex_);
  advance(now_ns);
  s_.temperature_mc = millidegrees;
  if (s_.throttled == 0 && s_.temperature_mc > target_.throttle_mc) {
    s_.throttled = 1;
    ++s_.throttles;
  }
}

bool Telemetry::throttled() {
  std::lock_guard lock(mutex_);
  return s_.throttled != 0;
}

Telemetry::State Telemetry::state() {
  std::lock_guard lock(mutex_);
  return s_;
}

bool Telemetry::set_state(const State& state, uint64_t now_ns) {
  constexpr double kMost = 1e30;  // any number of years of energy
  for (double v :
       {state.dynamic_pj, state.static_pj, state.window_pj, state.power_w, state.temperature_mc})
    if (!(v >= 0 && v <= kMost)) return false;  // nor NaN
  std::lock_guard lock(mutex_);
  s_ = state;
  s_.now_ns = s_.window_start_ns = now_ns;
  return true;
}

}  // namespace npu::model
