#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A guilty client beside innocent ones, and every rung of recovery.
#
# vm: device=npu,card-memory-mib=64
# vm: file=build/test/kmd_test
# vm: file=build/test/device_reset_test
# vm: prepare=build/bin/npu-compile models/digits/digits.onnx -o $WORK/digits.npu --target build/generated/target.json
# vm: file=$WORK/digits.npu
# vm: timeout=240
. ./tap.sh
gtest ./kmd_test --gtest_filter='Recovery.*'
export LD_LIBRARY_PATH=/usr/local/lib
gtest ./device_reset_test digits.npu
check "no queue, space or buffer is left" sh -c '
	for i in $(seq 50); do grep -q "^buffers 0 vms 0 queues 0 fences 0 inflight 0" /sys/kernel/debug/accel/*:*/state && exit 0; sleep 0.1; done
	cat /sys/kernel/debug/accel/*:*/state; exit 1'
finish
