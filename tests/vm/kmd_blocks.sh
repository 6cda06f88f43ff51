#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Leaves of 2 MiB, and random changes of an address space against a plain table.
#
# vm: device=npu,card-memory-mib=64
# vm: file=build/test/kmd_test
. ./tap.sh
gtest ./kmd_test --gtest_filter='Blocks.*:Differential.*'
finish
