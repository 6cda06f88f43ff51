#!/bin/sh
# SPDX-License-Identifier: MIT
#
# An idle card sleeps, and who needs it wakes it.
#
# vm: device=npu,card-memory-mib=64
# vm: device=npu,preset=edge,card-memory-mib=64
# vm: file=build/test/kmd_test
. ./tap.sh
card=/sys/bus/pci/devices/0000:01:00.0
asleep() {
	for i in $(seq 100); do
		[ "$(cat $card/power/runtime_status)" != suspended ] || return 0
		sleep 0.1
	done
	return 1
}

check "an unused card sleeps" asleep
check "npu-smi wakes it" sh -c 'npu-smi --json | grep -q "\"clock_mhz\": 1000"'
gtest ./kmd_test --gtest_filter='RuntimeSleep.*'
check "no queue, space or buffer is left" sh -c '
	for i in $(seq 50); do grep -q "^buffers 0 vms 0 queues 0 fences 0 inflight 0" /sys/kernel/debug/accel/0000:01:00.0/state && exit 0; sleep 0.1; done
	cat /sys/kernel/debug/accel/0000:01:00.0/state; exit 1'
check "a card is unbound and bound in its sleep" sh -c "
	echo 0000:01:00.0 > /sys/bus/pci/drivers/npu/unbind && echo 0000:01:00.0 > /sys/bus/pci/drivers/npu/bind"
check "it sleeps again" asleep
check "it leaves the bus in its sleep" inject gone
check "who wants to wake it is told" sh -c '! npu-bench latency --device 0000:01:00.0 --count 20'
check "the driver has noticed" sh -c 'dmesg | grep -q "npu 0000:01:00.0: .*card is gone"'
check "it is unbound" sh -c "echo 0000:01:00.0 > /sys/bus/pci/drivers/npu/unbind"
check "the other one is still there" ./kmd_test --gtest_filter='Job.Computes*'
finish
