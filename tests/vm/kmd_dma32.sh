#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A card with 32 address bits in a machine of 6 GiB, two thirds of which it does not
# reach; next to one with 64.
#
# vm: device=npu,card-memory-mib=32,dma-bits=32
# vm: device=npu,card-memory-mib=32
# vm: memory=6G
# vm: file=build/test/kmd_test
. ./tap.sh
check "vgem is there" sh -c 'modprobe vgem && test -c /dev/dri/card0'
check "the kernel counts what it bounces" test -w /sys/kernel/debug/swiotlb/io_tlb_used_hiwater
gtest ./kmd_test --gtest_filter='Dma32.*:Job.*:CardMemory.*'
finish
