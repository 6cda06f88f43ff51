#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Two cards of different kinds in one machine.
#
# vm: device=npu,preset=card,card-memory-mib=64,serial=1
# vm: device=npu,preset=edge,card-memory-mib=64,serial=2
# vm: prepare=build/bin/npu-compile models/digits/digits.onnx -o $WORK/card.npu --target card
# vm: prepare=build/bin/npu-compile models/digits/digits.onnx -o $WORK/edge.npu --target edge
# vm: file=$WORK/card.npu
# vm: file=$WORK/edge.npu
# vm: file=build/test/two_cards_test
. ./tap.sh
export LD_LIBRARY_PATH=/usr/local/lib

check "both have a node" test -c /dev/accel/accel1
gtest ./two_cards_test card.npu edge.npu
check "the second leaves the bus" sh -c '
	echo kind=gone > /sys/kernel/debug/accel/0000:02:00.0/inject && [ "$(od -An -tx4 -N4 /sys/bus/pci/devices/0000:02:00.0/config)" = " ffffffff" ]'
check "the first goes on" npu-bench latency --device 0 --count 20
check "the second says that it is gone" sh -c '! npu-bench latency --device 1 --count 20 2> /tmp/gone && cat /tmp/gone'
check "both can be unbound" sh -c 'for card in 0000:02:00.0 0000:01:00.0; do echo $card > /sys/bus/pci/drivers/npu/unbind || exit 1; done'
check "no node is left" sh -c '! ls /dev/accel/accel*'
finish
