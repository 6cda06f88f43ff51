#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The machine moves to another QEMU, through a file, while a network runs on the
# card: neither the program nor the driver notices.
#
# vm: device=npu
# vm: migrate
# vm: prepare=build/bin/npu-compile models/digits/digits.onnx -o $WORK/digits.npu --target build/generated/target.json
# vm: file=$WORK/digits.npu
# vm: file=models/digits/images.npy
# vm: file=models/digits/logits.npy
# vm: file=build/test/kmd_test
. ./tap.sh

run() {
	npu-run digits.npu --device /dev/accel/accel0 --input image=images.npy --expect logits=logits.npy "$@"
}
state() { cat /sys/kernel/debug/accel/*:*/state; }
name() { qmp '{"execute":"query-name"}'; }

# Runs after runs, and long jobs beside them, so that some are in flight whenever
# the machine stops.
(while [ ! -e /tmp/enough ]; do
	run || exit 1
	echo run
done) > /tmp/runs 2>&1 &
runs=$!
./kmd_test --gtest_filter='Migration.*' > /tmp/jobs 2>&1 &
jobs=$!

busy() {
	for i in $(seq 200); do
		state | grep -q "^queue [1-9].*: state 3 " && return 0
		sleep 0.05
	done
	return 1
}
check "the card executes a job" busy
moved() {
	! name | grep -q second || return 1
	qmp '{"execute":"migrate","arguments":{"uri":"file:'"$NPU_VM_MIGRATION"'"}}' || return 1
	for i in $(seq 300); do
		name 2> /dev/null | grep -q second && return 0
		sleep 0.1
	done
	return 1
}
check "the machine goes on in another QEMU" moved
check "the card executes a job there" busy
touch /tmp/enough
wait $runs
report $? "every network was right, also the one in flight"
wait $jobs
report $? "every long job was right, also the one in flight"
[ $tap_failed -eq 0 ] || sed 's/^/# /' /tmp/runs /tmp/jobs
check "the next network is right" run
check "nothing has failed or was reset" sh -c '
	grep -q " faults 0 .* core_resets 0 card_resets 0 lost 0" /sys/kernel/debug/accel/*:*/state'
check "the driver has noticed nothing" sh -c '! dmesg | grep "npu.*queue"'
finish
