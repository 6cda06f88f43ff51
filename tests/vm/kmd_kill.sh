#!/bin/sh
# SPDX-License-Identifier: MIT
#
# kill -9 at random moments. docs/kernel.md says how to run more of it.
#
# vm: device=npu,card-memory-mib=32
# vm: file=build/test/kmd_test
# vm: timeout=240
. ./tap.sh
gtest ./kmd_test --gtest_filter='Kill.*'
grep " kills, " /tmp/gtest.log | sed 's/^/# /'
finish
