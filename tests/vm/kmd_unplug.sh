#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The card goes while programs use it.
#
# vm: device=npu,card-memory-mib=64
# vm: file=build/test/kmd_test
. ./tap.sh
check "vgem is there" sh -c 'modprobe vgem && test -c /dev/dri/card0'
gtest ./kmd_test --gtest_filter='Unplug.*:-*.JobsUntilTheCardIsUnplugged'
finish
