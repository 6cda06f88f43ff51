#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The card goes while programs use it.
#
# vm: device=npu,card-memory-mib=64
# vm: file=build/test/kmd_test
. ./tap.sh
gtest ./kmd_test --gtest_filter='Unplug.*:-*.JobsUntilTheCardIsUnplugged'
finish
