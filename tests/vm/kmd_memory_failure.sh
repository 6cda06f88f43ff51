#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every allocation and every copy from and to user space fails in turn. Needs a kernel built for that: see
# docs/kernel.md; with the stock kernel the tests are skipped.
#
# vm: device=npu,card-memory-mib=16
# vm: file=build/test/kmd_test
# vm: timeout=400
. ./tap.sh
gtest ./kmd_test --gtest_filter='MemoryFailure.*'
grep " failures$" /tmp/gtest.log | sed 's/^/# /'
finish
