#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Resets and power states race with the card's work: QEMU survives, and the card
# works afterwards.
#
# vm: device=npu,card-memory-mib=16
# vm: no-module
# vm: append=mem=384M iomem=relaxed
# vm: file=build/test/pcie_stress
. ./tap.sh
echo 1 > /sys/bus/pci/devices/0000:01:00.0/enable
check "register accesses, resets and sleep race for 5 seconds" sh -c './pcie_stress 5 > /tmp/counts'
sed 's/^/# /' /tmp/counts
check "there were some of each" sh -c '! grep -E "(^|, )[0-9]{0,2} " /tmp/counts'
finish
