#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every field of every ioctl, wrong in turn.
#
# vm: device=npu,card-memory-mib=64
# vm: file=build/test/kmd_test
. ./tap.sh
gtest ./kmd_test --gtest_filter='DevQuery.*:Fields.*:Vm.*:VmBind.*:QueueCreate.*:Submit.*:File.*'
finish
