#!/bin/sh
# SPDX-License-Identifier: MIT
#
# kill -9 at random moments, NPU_KILLS times. On demand: see docs/kernel.md.
#
# vm: device=npu,card-memory-mib=32
# vm: file=build/test/kmd_test
# vm: timeout=240
. ./tap.sh
# Until each of the four places was hit takes one to five minutes, by chance and by the machine.
if [ -z "${NPU_KILLS:-}" ]; then
	skip "kill -9 under mixed load" "takes minutes; docs/kernel.md has the command"
	finish
fi
gtest ./kmd_test --gtest_filter='Kill.*'
grep " kills, " /tmp/gtest.log | sed 's/^/# /'
finish
