#!/bin/sh
# SPDX-License-Identifier: MIT
# vm: device=npu
# vm: file=build/test/umd-backend-test
# vm: file=build/test/umd-library-test
# vm: file=build/test/umd-ioctl-test
# vm: prepare=build/bin/npu-compile models/digits/digits.onnx -o $WORK/digits.npu --target build/generated/target.json
# vm: file=$WORK/digits.npu
# vm: timeout=300
#
# libnpu on the kernel driver: the tests that the simulator passes, and the
# programs that look at a device.
. ./tap.sh

export LD_LIBRARY_PATH=/usr/local/lib
export NPU_TEST_NODE=/dev/accel/accel0 NPU_TEST_DEVICE=0

# SimFaultTest injects faults through the simulator's own interface.
gtest /root/umd-backend-test --gtest_filter=-SimFaultTest.*
gtest /root/umd-library-test
gtest /root/umd-ioctl-test

bdf=$(basename "$(readlink -f /sys/class/accel/accel0/device)")
for selector in 0 /dev/accel/accel0 "$bdf" "${bdf#0000:}"; do
	check "device '$selector' opens" npu-smi info -d "$selector"
done
check "NPU_DEVICE selects" env NPU_DEVICE="$bdf" npu-bench latency --count 5

# status EXPECTED COMMAND...: passes if the command ends with that status.
status() {
	expected=$1
	shift
	"$@" > /tmp/status.log 2>&1
	actual=$?
	[ $actual -eq "$expected" ] && return 0
	echo "status $actual, expected $expected"
	cat /tmp/status.log
	return 1
}
check "a device that is not there is status 5" status 5 npu-smi -d 7
check "a wrong command is status 2" status 2 npu-smi nonsense

# says TEXT...: the output of the last `status` has each text.
says() {
	for text in "$@"; do
		grep -qF -- "$text" /tmp/status.log && continue
		echo "'$text' is missing in:"
		cat /tmp/status.log
		return 1
	done
}
node=/dev/accel/accel0
mode=$(stat -c %a $node)
chmod 0660 $node
# as_user COMMAND: without privileges, in no group of the node.
as_user() {
	su user -c "PATH=$PATH LD_LIBRARY_PATH=$LD_LIBRARY_PATH $*"
}
refused() {
	program=$1
	shift
	check "$program: a device one may not open is status 4" status 4 as_user "$program $* $node"
	check "$program names the node, the cause and the group to join" \
		says "$node: permission denied" "group" "usermod -aG"
	check "$program: a node that is not there is status 5" status 5 as_user "$program $* /dev/accel/accel9"
	check "$program names that node and what to look for" \
		says "/dev/accel/accel9: no such device" "module npu"
}
cp /root/digits.npu /tmp/digits.npu
chmod a+r /tmp/digits.npu
refused npu-smi info -d
refused npu-run /tmp/digits.npu --random 1 --device
chmod "$mode" $node

check "npu-smi shows the card" sh -c "npu-smi | grep -q '$bdf'"
check "npu-smi lists card and simulators" sh -c "npu-smi list | grep -q 'sim:edge' && npu-smi list | grep -q '$bdf'"
check "npu-smi --json has the schema" sh -c "npu-smi --json | grep -q '\"schema\": \"npu-smi/1\"'"
check "npu-smi ps names the process" sh -c "npu-smi ps | grep -q npu-smi"
check "npu-smi stats writes one JSON line per sample" \
	sh -c 'test "$(npu-smi stats -w 20 -n 3 --json | grep -c "^{.*}$")" -eq 3'

npu-bench latency --device 0 --count 200 --json /tmp/latency.json > /tmp/latency.log 2>&1
# value KEY: of the latency benchmark.
value() {
	sed -n "s/.*\"$1\": \([0-9.e+-]*\).*/\1/p" /tmp/latency.json
}
check "an empty job costs one doorbell" test "$(value doorbells_per_job)" = 1.0
check "an empty job costs at most one interrupt" \
	awk "BEGIN { exit !($(value interrupts_per_job) > 0 && $(value interrupts_per_job) <= 1) }"
check "an empty job costs no register read" test "$(value register_reads_per_job)" = 0.0
check "an empty job costs no register write but the doorbell" \
	test "$(value register_writes_per_job)" = 1.0
# cycles DEVICE: of a run on it, as the card behind the driver or in this process reports them.
cycles() {
	npu-run /root/digits.npu --device "$1" --random 1 --json - | sed -n 's/.*"cycles": \([0-9]*\).*/\1/p'
}
driver=$(cycles 0)
check "the driver's card and the simulator report the same cycles" test -n "$driver" -a "$driver" = "$(cycles sim)"
echo "# digits: $driver modelled cycles"
check "npu-smi shows what the engines did" \
	sh -c "npu-smi info -d 0 | grep -q 'core 0 MAC  *[1-9]'"

check "bandwidth is measured" npu-bench bandwidth --device 0 --mib 4 --count 1
check "a GEMM is right" npu-bench gemm --device 0 --shape 64 256 128 --count 1
check "a convolution is right" npu-bench conv --device 0 --shape 16 32 14 3 1 1 --count 1
finish
