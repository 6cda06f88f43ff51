#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The VM itself: what every other test in this folder stands on. The driver is
# not loaded.
#
# vm: device=npu,preset=edge,serial=77
# vm: device=npu,cores=3,name=three
# vm: no-module
. ./tap.sh

card() { grep -lx 0x120000 /sys/bus/pci/devices/*/class | sed -n "$1s,/class,,p"; }
first=$(card 1)
second=$(card 2)

check "two cards are on the bus" test -n "$second"
check "BAR2 is a 64-bit prefetchable window" \
	sh -c "sed -n 3p $first/resource | grep -q '0x000000000014220c$'"
check "the card can be reset through the function" grep -q flr "$first/reset_method"
check "function-level reset works" sh -c "echo flr > $first/reset_method && echo 1 > $first/reset"
check "QMP answers inside the guest" sh -c '. ./tap.sh; qmp "{\"execute\":\"query-status\"}" | grep -q running'
check "a preset sets the card's parameters" sh -c '. ./tap.sh
	qmp "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/npu0\",\"property\":\"mac-outputs\"}}" | grep -q ": 16}"'
check "a property sets one parameter of the other card" sh -c '. ./tap.sh
	qmp "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/npu1\",\"property\":\"cores\"}}" | grep -q ": 3}"'
check "an unknown fault is refused" sh -c '. ./tap.sh; ! inject nonsense'
register() { # CARD OFFSET: a 32-bit register of BAR0
	base=$(sed -n 's/ .*//;1p' "$1/resource")
	devmem $((base + $2)) 32
}
registers() {
	echo 1 > "$first/enable" && [ "$(register "$first" 0)" = 0x3155504E ] && [ "$(register "$first" 0x10)" = 0x0000004D ]
}
check "the discovery page answers, with the serial number" registers
gone() {
	inject gone || return 1
	[ "$(register "$first" 0)" = 0xFFFFFFFF ] && [ "$(register "$first" 0x1000)" = 0xFFFFFFFF ] || return 1
	window=$(sed -n '3s/ .*//p' "$first/resource")
	[ "$(devmem "$window" 32)" = 0xFFFFFFFF ] && [ "$(od -An -tx4 -N4 "$first/config")" = " ffffffff" ]
}
check "a card that is gone reads all ones everywhere" gone
replug() {
	qmp '{"execute":"device_del","arguments":{"id":"npu1"}}' > /dev/null || return 1
	for i in $(seq 50); do [ -e "$second" ] || break; sleep 0.1; done
	[ ! -e "$second" ] || return 1
	# The guest's kernel lets go of the card a moment before QEMU does.
	for i in $(seq 50); do
		qmp '{"execute":"device_add","arguments":{"driver":"npu","id":"npu1","bus":"rp1"}}' > /dev/null && break
		sleep 0.1
	done
	for i in $(seq 50); do [ -e "$second" ] && return 0; sleep 0.1; done
	return 1
}
check "a card can be unplugged and another plugged in" replug
check "the kernel's log is clean so far" sh -c '! dmesg | grep -E "WARNING|BUG|Oops"'
finish
