#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Buffers and address spaces: zeroed, evicted, mapped, unmapped.
#
# vm: device=npu,card-memory-mib=32
# vm: file=build/test/kmd_test
. ./tap.sh
gtest ./kmd_test --gtest_filter='*Placement*:CardMemory.*:Bind.*'
finish
