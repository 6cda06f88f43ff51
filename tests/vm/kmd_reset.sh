#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Function-level reset and PCIe errors under the driver. The slot's own hot-plug,
# as with ACPI's QEMU cannot reset the link.
#
# vm: device=npu,card-memory-mib=64
# vm: qemu=-global
# vm: qemu=ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off
# vm: file=build/test/kmd_test
. ./tap.sh
check "the function is reset by FLR" sh -c 'echo flr > "$(echo /sys/bus/pci/drivers/npu/*:*/reset_method)"'
gtest ./kmd_test --gtest_filter='FunctionReset.*'
check "no queue, space or buffer is left" sh -c '
	for i in $(seq 50); do grep -q "^buffers 0 vms 0 queues 0 fences 0 inflight 0" /sys/kernel/debug/accel/*:*/state && exit 0; sleep 0.1; done
	cat /sys/kernel/debug/accel/*:*/state; exit 1'
finish
