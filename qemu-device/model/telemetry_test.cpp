// SPDX-License-Identifier: MIT
//
// Power and heat against their closed forms: T' = (ambient + P * R - T) / tau.
#include "telemetry.h"

#include <gtest/gtest.h>

#include <cmath>

#include "arch/target.h"

namespace npu::model {
namespace {

constexpr uint64_t kWindow = Telemetry::kWindowNs;

npu_target card() {
  npu_target target = *arch::find_target("card");
  target.thermal_time_constant_ms = 2000;
  target.thermal_resistance_mk_per_w = 1500;
  target.throttle_mc = 1'000'000;  // out of reach
  return target;
}

double static_w(const npu_target& t) {
  return t.energy_static_cycle_fj * 1e-15 * t.clock_mhz * 1e6;
}

// Work of `watts` at the beginning of every window, up to `until`.
void load(Telemetry& telemetry, double watts, uint64_t from, uint64_t until) {
  for (uint64_t at = from; at < until; at += kWindow)
    telemetry.add_work(static_cast<uint64_t>(watts * 1e12 * kWindow * 1e-9), 1000, at);
}

TEST(Telemetry, PowerIsThatOfAWindow) {
  const npu_target target = card();
  Telemetry telemetry(target);
  telemetry.reset(0);
  telemetry.add_work(300'000'000'000, 1, kWindow / 2);  // 0.3 J in 0.1 s
  EXPECT_NEAR(telemetry.values(kWindow - 1).power_mw, static_w(target) * 1e3, 1) << "not yet over";
  EXPECT_NEAR(telemetry.values(kWindow).power_mw, (static_w(target) + 3) * 1e3, 1);
  EXPECT_NEAR(telemetry.values(2 * kWindow).power_mw, static_w(target) * 1e3, 1);
}

TEST(Telemetry, EnergyIsWorkAndTime) {
  const npu_target target = card();
  Telemetry telemetry(target);
  telemetry.reset(0);
  load(telemetry, 8, 0, 10 * kWindow);
  const double seconds = 10 * kWindow * 1e-9;
  EXPECT_NEAR(static_cast<double>(telemetry.values(10 * kWindow).energy_nj),
              (static_w(target) + 8) * seconds * 1e9, 10);
}

TEST(Telemetry, StepResponse) {
  const npu_target target = card();
  const double tau = target.thermal_time_constant_ms * 1e-3, watts = 10;
  const double kelvin_per_watt = target.thermal_resistance_mk_per_w * 1e-3;
  Telemetry telemetry(target);
  telemetry.reset(0);
  // The power of a window counts from its end on.
  const auto expected = [&](double seconds) {
    const double behind = seconds - kWindow * 1e-9;
    return target.ambient_mc * 1e-3 +
           kelvin_per_watt * (static_w(target) * (1 - std::exp(-seconds / tau)) +
                              watts * (1 - std::exp(-behind / tau)));
  };
  for (uint64_t at = 0; at < 40'000'000'000; at += kWindow) {
    load(telemetry, watts, at, at + kWindow);
    const uint64_t end = at + kWindow;
    EXPECT_NEAR(telemetry.values(end).temperature_mc * 1e-3,
                expected(static_cast<double>(end) * 1e-9), 0.01);
    if (end == kWindow + 2'000'000'000) {  // one time constant
      const double idle = expected(static_cast<double>(end) * 1e-9) -
                          kelvin_per_watt * watts * (1 - std::exp(-1.0));
      EXPECT_NEAR((telemetry.values(end).temperature_mc * 1e-3 - idle) / (kelvin_per_watt * watts),
                  0.632, 0.001);
    }
  }
  // 20 time constants: ambient + P * R.
  EXPECT_NEAR(telemetry.values(40'000'000'000).temperature_mc * 1e-3,
              target.ambient_mc * 1e-3 + kelvin_per_watt * (static_w(target) + watts), 0.01);
}

TEST(Telemetry, LongIdleTimeEqualsManySteps) {
  const npu_target target = card();
  Telemetry at_once(target), stepwise(target);
  for (Telemetry* t : {&at_once, &stepwise}) {
    t->reset(0);
    load(*t, 20, 0, 20 * kWindow);
  }
  for (uint64_t at = 20 * kWindow; at < 50 * kWindow; at += kWindow / 3) stepwise.values(at);
  const Telemetry::Values a = at_once.values(50 * kWindow), b = stepwise.values(50 * kWindow);
  EXPECT_NEAR(a.temperature_mc, b.temperature_mc, 5);
  EXPECT_EQ(a.power_mw, b.power_mw);
  EXPECT_NEAR(static_cast<double>(a.energy_nj), static_cast<double>(b.energy_nj), 1000);
}

TEST(Telemetry, ThrottlesAboveAndNotBelow) {
  npu_target target = card();
  const double steady_mc =
      target.ambient_mc + (static_w(target) + 40) * target.thermal_resistance_mk_per_w;
  target.throttle_mc = static_cast<uint32_t>(steady_mc - 1000);
  Telemetry telemetry(target);
  telemetry.reset(0);
  uint64_t now = 0;
  uint32_t throttles = 0;
  for (int round = 0; round < 2; ++round) {
    while (!telemetry.values(now).throttled && now < 1'000'000'000'000) {
      load(telemetry, 40, now, now + kWindow);
      now += kWindow;
    }
    const Telemetry::Values hot = telemetry.values(now);
    EXPECT_GE(hot.temperature_mc, target.throttle_mc);
    EXPECT_EQ(hot.clock_mhz, target.clock_mhz / 2);
    EXPECT_EQ(hot.throttles, ++throttles);
    // Cooling: lowered until 5 degrees below.
    while (telemetry.values(now).throttled) now += kWindow;
    const Telemetry::Values cool = telemetry.values(now);
    EXPECT_LT(cool.temperature_mc, target.throttle_mc - Telemetry::kHysteresisMc + 1);
    EXPECT_GT(cool.temperature_mc, target.throttle_mc - 2 * Telemetry::kHysteresisMc);
    EXPECT_EQ(cool.clock_mhz, target.clock_mhz);
    EXPECT_EQ(cool.throttles, throttles);
  }
}

// A restored state is not trusted: what it says is read as unsigned numbers.
TEST(Telemetry, RefusesStatesThatCannotBe) {
  Telemetry telemetry(card());
  telemetry.reset(0);
  const Telemetry::State good = telemetry.state();
  EXPECT_TRUE(telemetry.set_state(good, 0));
  for (double Telemetry::State::*field :
       {&Telemetry::State::dynamic_pj, &Telemetry::State::static_pj, &Telemetry::State::window_pj,
        &Telemetry::State::power_w, &Telemetry::State::temperature_mc})
    for (const double value : {-1.0, -1e20, 1e31, std::nan("")}) {
      Telemetry::State bad = good;
      bad.*field = value;
      EXPECT_FALSE(telemetry.set_state(bad, 0)) << value;
    }
}

}  // namespace
}  // namespace npu::model
