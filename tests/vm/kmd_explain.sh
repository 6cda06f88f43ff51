#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What a failure leaves behind: coredump, line of the log, fault record, event.
#
# vm: device=npu
# vm: file=build/test/kmd_test
. ./tap.sh
gtest ./kmd_test --gtest_filter='Explain.*'
finish
