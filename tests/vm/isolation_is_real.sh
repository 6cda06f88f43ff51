#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The tests that show that processes are isolated rest on TLB invalidation: with
# a card that drops it they fail. If they passed, they would show nothing.
#
# vm: device=npu,card-memory-mib=64
# vm: file=build/test/kmd_test
. ./tap.sh

isolation() {
	./kmd_test --gtest_filter="$1"
}
for test in TwoProcesses.MemoryGivenBackIsOutOfReach Bind.UnmappedOutputFaultsAndMapsAgain Bind.ReadOnlyRefusesStores; do
	check "$test passes" isolation "$test"
	inject drop-tlb-invalidate,count=1000000 || exit 1
	isolation "$test" > /tmp/broken 2>&1
	status=$?
	# A card reset empties the TLB of what should not be in it.
	inject clear && echo card > "$(echo /sys/kernel/debug/accel/*:*/reset)" || exit 1
	check "$test fails with a card that drops invalidations" \
		sh -c "[ $status -eq 1 ] && grep -q '^.  FAILED  . $test' /tmp/broken"
	check "$test passes again" isolation "$test"
done
finish
