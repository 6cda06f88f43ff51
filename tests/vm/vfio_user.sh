#!/bin/sh
# SPDX-License-Identifier: MIT
# vm: device=vfio-user
# vm: need=build/stock-qemu/qemu-system-x86_64 there is no QEMU with vfio-user (scripts/fetch-stock-qemu.sh)
# vm: prepare=build/bin/npu-compile models/digits/digits.onnx -o $WORK/digits.npu --target card
# vm: file=$WORK/digits.npu
# vm: file=models/digits
# vm: timeout=120
#
# The card as a process of its own, npu-vfio-user, behind a QEMU that knows
# nothing of it; the module is the same.
. ./tap.sh

export LD_LIBRARY_PATH=/usr/local/lib
device=$(readlink -f /sys/class/accel/accel0/device)

# field FILE NAME: a number of npu-run's JSON.
field() {
	sed -n "s/.*\"$2\": \([0-9]*\).*/\1/p" "$1" | head -n 1
}
digits() {
	npu-run /root/digits.npu --input image=/root/digits/images.npy \
		--expect logits=/root/digits/logits.npy "$@"
}

check "the card's vendor and device" \
	sh -c "grep -q 0x4e55 $device/vendor && grep -q 0x0001 $device/device"
check "450 images give the expected logits, bit for bit" digits --device 0 --json /tmp/card.json
check "the simulator agrees" digits --device sim --json /tmp/sim.json
check "in cycles, too" test "$(field /tmp/card.json cycles)" = "$(field /tmp/sim.json cycles)"

npu-bench latency --device 0 --count 50 --json /tmp/latency.json > /tmp/latency.log 2>&1
check "an empty job costs one doorbell" grep -q '"doorbells_per_job": 1.0' /tmp/latency.json

messages() {
	grep npu /proc/interrupts | awk '{ for (i = 2; i <= 3; i++) n += $i } END { print n }'
}
before=$(messages)
check "a job completes" digits --device 0
check "by messages" test "$(messages)" -gt "$before"

check "function-level reset is offered" grep -q flr "$device/reset_method"
check "a function-level reset" sh -c "echo 1 > $device/reset"
check "the card computes after it" digits --device 0

check "the module unloads" modprobe -r npu
check "and loads" modprobe npu
check "the card computes after that" digits --device 0
finish
