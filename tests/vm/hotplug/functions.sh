# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# What hotplug_acpi.sh and hotplug_native.sh share; run from their folder.
. ./tap.sh

card=/sys/bus/pci/devices/0000:01:00.0

# wait_for TRUE|FALSE-TEST...: up to 20 s.
wait_for() {
	for i in $(seq 200); do
		"$@" && return 0
		sleep 0.1
	done
	return 1
}
absent() { ! [ -e "$1" ]; }
unplug() {
	qmp '{"execute":"device_del","arguments":{"id":"npu0"}}' && wait_for absent "$card"
}
plug() {
	# The guest's kernel lets go of the old card a moment before QEMU does.
	wait_for qmp '{"execute":"device_add","arguments":{"driver":"npu","id":"npu0","bus":"rp0","card-memory-mib":64}}' &&
		wait_for test -e "$card/accel"
}
works() { ./kmd_test --gtest_filter='Job.Computes*:CardMemory.JobSees*'; }
busy() { grep -q "^queue [1-9].*: state 3 " /sys/kernel/debug/accel/*:*/state; }

# under_load ROUND: unplugs the card while a program keeps it busy, plugs another.
under_load() {
	./kmd_test --gtest_filter=Unplug.JobsUntil* > /tmp/load 2>&1 &
	load=$!
	check "round $1: a program keeps the card busy" wait_for busy
	check "round $1: the card leaves its slot" unplug
	wait $load
	report $? "round $1: fences signal, calls say ENODEV"
	[ $tap_failed -eq 0 ] || sed 's/^/# /' /tmp/load
	check "round $1: another card comes" plug
	check "round $1: it works" works
}
