#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Behind an IOMMU every bus address is mapped by the driver, or the access fails.
#
# vm: device=npu,card-memory-mib=32
# vm: append=intel_iommu=on
# vm: qemu=-device
# vm: qemu=intel-iommu
# vm: file=build/test/kmd_test
. ./tap.sh
check "vgem is there" sh -c 'modprobe vgem && test -c /dev/dri/card0'
check "the card is behind an IOMMU" sh -c 'test -e /sys/bus/pci/drivers/npu/*:*/iommu_group'
gtest ./kmd_test --gtest_filter='Job.*:CardMemory.*:Bind.*:TwoProcesses.*:Fault.WaitThat*:Unplug.Unbind*'
check "the IOMMU has seen no fault" sh -c '! dmesg | grep -i "DMAR.*fault"'
finish
