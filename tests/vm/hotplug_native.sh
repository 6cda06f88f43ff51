#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The same by the slot itself (pciehp): attention button, five seconds in which
# one may change one's mind, power off.
#
# vm: device=npu,card-memory-mib=64
# vm: qemu=-global
# vm: qemu=ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off
# vm: file=build/test/kmd_test
# vm: file=tests/vm/hotplug
. hotplug/functions.sh

check "the slot is pciehp's" sh -c 'ls /sys/bus/pci_express/drivers/pciehp | grep -q pcie'
under_load 1
finish
