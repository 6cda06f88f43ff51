#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What a client can make the kernel hold for it, and a card with too little memory
# for its clients.
#
# vm: device=npu,card-memory-mib=64
# vm: file=build/test/kmd_test
# vm: memory=1G
. ./tap.sh
gtest ./kmd_test --gtest_filter='Limits.*'
check "no queue, space or buffer is left" sh -c '
	for i in $(seq 50); do grep -q "^buffers 0 vms 0 queues 0 fences 0 inflight 0" /sys/kernel/debug/accel/*:*/state && exit 0; sleep 0.1; done
	cat /sys/kernel/debug/accel/*:*/state; exit 1'
finish
