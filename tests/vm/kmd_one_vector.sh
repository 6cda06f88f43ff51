#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A small card whose events and queues share one interrupt vector.
#
# vm: device=npu,preset=edge,card-memory-mib=32,vectors=1
# vm: file=build/test/kmd_test
. ./tap.sh
check "there is one vector" sh -c '[ "$(grep -c "npu$" /proc/interrupts)" -eq 1 ]'
gtest ./kmd_test --gtest_filter='Job.*:CardMemory.*:Fault.Hang*:Fault.Lost*:Steady.One*'
finish
