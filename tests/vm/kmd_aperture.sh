#!/bin/sh
# SPDX-License-Identifier: MIT
#
# 64 MiB of card memory behind a window of 16.
#
# vm: device=npu,card-memory-mib=64,aperture-mib=16
# vm: file=build/test/kmd_test
. ./tap.sh
check "the window has 16 MiB" sh -c '[ "$(stat -c %s /sys/bus/pci/drivers/npu/*:*/resource2)" -eq 16777216 ]'
gtest ./kmd_test --gtest_filter='Aperture.*:*Placement*:CardMemory.*:Job.*'
finish
