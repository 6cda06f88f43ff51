#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Hangs, limits, waits that are never met, faults of the hardware: each ends
# with its own status, and the next job is right.
#
# vm: device=npu
# vm: file=build/test/kmd_test
. ./tap.sh
gtest ./kmd_test --gtest_filter='Fault.*'
finish
