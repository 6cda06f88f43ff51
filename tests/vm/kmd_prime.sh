#!/bin/sh
# SPDX-License-Identifier: MIT
#
# dma-bufs shared with vgem, udmabuf and a second card, which is behind an
# IOMMU like the first: what is not mapped for a card it cannot reach.
#
# vm: device=npu,card-memory-mib=32,serial=1
# vm: device=npu,card-memory-mib=32,serial=2
# vm: append=intel_iommu=on
# vm: qemu=-device
# vm: qemu=intel-iommu
# vm: file=build/test/kmd_test
. ./tap.sh
check "vgem is there" sh -c 'modprobe vgem && test -c /dev/dri/card0'
check "udmabuf is there" test -c /dev/udmabuf
gtest ./kmd_test --gtest_filter='*Import.*:*Export.*:*Sharing*:TwoCards.*'
check "the IOMMU has seen no fault" sh -c '! dmesg | grep -i "DMAR.*fault"'
finish
