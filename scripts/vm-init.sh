#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# /init of the VM. Runs /vm/command (put there by vm-run) with its input and
# output on the virtio console, sends /out to the host, and reports the result
# twice: a line with the nonce of this boot on the serial console, and
# the exit code of QEMU. A guest that panics reports neither.

/bin/busybox mkdir -p /usr/bin /usr/sbin
/bin/busybox --install -s /bin
export PATH=/usr/local/bin:/bin:/usr/bin:/sbin:/usr/sbin HOME=/root TERM=linux
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
chmod 1777 /tmp
ln -sf /proc/self/fd /dev/fd
hostname npu-vm

# Ports by name, as udev would make them.
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
	[ ! -s "$port/name" ] || ln -sf "../${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done

nonce=$(sed -n 's/.*npu_vm_nonce=\([^ ]*\).*/\1/p' /proc/cmdline)
echo "NPU-START $nonce" > /dev/ttyS0
rc=127
if [ -e /dev/hvc0 ]; then
	# setsid and a controlling terminal, so that Ctrl-C and job control work.
	setsid -c /bin/sh /vm/start < /dev/hvc0 > /dev/hvc0 2>&1
	rc=$?
fi

# What the debug kernel knows at the end; each line here fails the run (vm-run).
# kmemleak believes in a leak when an object is 5 s old and two scans agree.
if [ -w /sys/kernel/debug/kmemleak ]; then
	sleep 5
	echo scan > /sys/kernel/debug/kmemleak
	echo scan > /sys/kernel/debug/kmemleak
	cat /sys/kernel/debug/kmemleak > /dev/ttyS0
fi
if [ -r /proc/lockdep_stats ] && ! grep -q 'debug_locks: *1' /proc/lockdep_stats; then
	echo "lockdep turned itself off" > /dev/ttyS0
fi

dmesg > /out/dmesg.txt
if [ -e /dev/virtio-ports/out ]; then
	# Ports of a 7.x kernel take nothing any more once the machine has slept.
	timeout 10 tar -C /out -cf /dev/virtio-ports/out . 2>/dev/null
fi
sync
echo "NPU-RESULT $nonce rc=$rc" > /dev/ttyS0
# Let the UART drain before QEMU goes.
sleep 0.05
printf '\052' | dd of=/dev/port seek=244 bs=1 count=1 2>/dev/null
poweroff -f
