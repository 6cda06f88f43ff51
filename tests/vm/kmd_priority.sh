#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Queues of different priority on one core; coalesced interrupts.
#
# vm: device=npu
# vm: file=build/test/kmd_test
# vm: timeout=240
. ./tap.sh
gtest ./kmd_test --gtest_filter='PriorityTest.*:Interrupts.*'
finish
