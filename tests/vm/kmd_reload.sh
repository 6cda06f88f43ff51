#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Loads, uses and unloads the driver ten times: nothing is left behind, and the
# kernel says nothing but that the module is out of tree and, if it cares, unsigned.
#
# vm: device=npu,card-memory-mib=64
# vm: file=build/test/kmd_test
. ./tap.sh

# Kernel messages of level warning and worse since the module's first line.
warnings() {
	dmesg -r | sed -n '/npu: loading out-of-tree/,$p' | grep '^<[0-4]>'
}

counts_are_zero() {
	state=$(cat /sys/kernel/debug/accel/*:*/state) || return 1
	echo "$state"
	# Objects of closed files go a moment after the file.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		case $state in
		"buffers 0 vms 0 queues 0 fences 0 inflight 0"*) return 0 ;;
		esac
		sleep 0.2
		state=$(cat /sys/kernel/debug/accel/*:*/state)
	done
	return 1
}

uses() {
	./kmd_test --gtest_filter='Job.Computes*:TwoProcesses.AnExit*:CardMemory.JobSees*:Fault.WaitThat*'
}

round=1
while [ $round -le 10 ]; do
	[ $round -eq 1 ] || check "loads, round $round" modprobe npu
	check "works, round $round" uses
	check "no buffer, space, queue or fence is left, round $round" counts_are_zero
	check "unloads, round $round" rmmod npu
	round=$((round + 1))
done

check "the driver is gone" sh -c '! grep -q "^npu " /proc/modules && ! test -e /dev/accel/accel0'
warnings > /tmp/warnings
sed 's/^/# /' /tmp/warnings
check "one warning: an out-of-tree module taints" sh -c '
	[ "$(wc -l < /tmp/warnings)" -eq 1 ] && grep -q "loading out-of-tree module taints kernel" /tmp/warnings'
# Only a kernel that knows signatures says so.
signatures=0
[ ! -e /sys/module/module/parameters/sig_enforce ] || signatures=1
check "notices that the module is not signed: $signatures" sh -c "
	[ \"\$(dmesg | grep -c 'npu: module verification failed')\" -eq $signatures ]"
finish
