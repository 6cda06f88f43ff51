#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The machine sleeps while its cards are at work: with the power off (S3) where the
# kernel has an image that can, else as far as its pm_test goes; to idle (s2idle) and to
# disk as far as pm_test goes, which is to the image that would be written.
#
# vm: device=npu,card-memory-mib=64
# vm: device=npu,preset=edge,card-memory-mib=64,aperture-mib=16
# vm: sleep
# vm: file=build/test/kmd_test
# vm: append=hibernate=nocompress
# vm: timeout=240
. ./tap.sh
[ -n "$NPU_VM_SLEEP" ] || skip "power goes off" "there is no bzImage of this kernel, which pm_test takes to its end all the same"
gtest ./kmd_test --gtest_filter='MachineSleep*'
check "no queue, space or buffer is left" sh -c '
	for i in $(seq 50); do grep -q "^buffers 0 vms 0 queues 0 fences 0 inflight 0" /sys/kernel/debug/accel/0000:01:00.0/state && exit 0; sleep 0.1; done
	cat /sys/kernel/debug/accel/0000:01:00.0/state; exit 1'
finish
