#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Jobs: results, order, fences; two processes at once.
#
# vm: device=npu
# vm: file=build/test/kmd_test
# vm: timeout=240
. ./tap.sh
gtest ./kmd_test --gtest_filter='Job.*:TwoProcesses.*'
finish
