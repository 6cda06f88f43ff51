#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What one SUBMIT costs: register accesses, interrupts, allocations.
#
# vm: device=npu
# vm: file=build/test/kmd_test
. ./tap.sh
gtest ./kmd_test --gtest_filter='Steady.*'
finish
