#!/bin/sh
# SPDX-License-Identifier: MIT
#
# lm-sensors, which knows nothing of the card, shows what its hwmon has. The card stays
# awake: nobody knows the power of one that sleeps.
#
# vm: device=npu
# vm: module-options=autosuspend_ms=-1
# vm: need=/usr/bin/sensors the package lm-sensors has it
# vm: file=/usr/bin/sensors:/usr/bin/sensors
# vm: file=build/test/kmd_test
. ./tap.sh

# value LABEL FIELD: of the card, as sensors prints it; empty if it does not.
value() {
	sensors -u 'npu-pci-*' | awk -v label="$1:" -v field="$2:" '
		/^[^ ]/ { here = $0 == label }
		here && $1 == field { print $2 }'
}
# between LOW X HIGH
between() { awk -v low="$1" -v x="$2" -v high="$3" 'BEGIN { exit !(x != "" && low <= x && x <= high) }'; }

sensors -u 'npu-pci-*' | sed 's/^/# /'
check "sensors shows one card" sh -c '[ "$(sensors "npu-pci-*" | grep -c ^npu-pci)" = 1 ]'
check "its temperature, in degrees" between 20 "$(value die temp1_input)" 120
check "the temperature at which it slows down" between 60 "$(value die temp1_max)" 120
check "its power, in watts" between 0.01 "$(value card power1_input)" 100
before=$(value card energy1_input)
./kmd_test --gtest_filter='Job.*' > /dev/null
check "its energy, in joules, grows while it works" between "$before" "$(value card energy1_input)" 1000000
check "by something" sh -c "[ '$before' != '$(value card energy1_input)' ]"
finish
