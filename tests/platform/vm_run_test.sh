#!/bin/sh
# SPDX-License-Identifier: MIT
#
# scripts/vm-run tells success from every kind of failure. Prints TAP.
cd "$(dirname "$0")/../.." || exit 1
. tests/vm/tap.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ends_with STATUS OPTION...: vm-run's exit status.
ends_with() {
	expected=$1
	shift
	scripts/vm-run --no-module --no-device "$@"
	status=$?
	echo "exit status $status, expected $expected"
	[ $status -eq "$expected" ]
}

echo content > "$work/in"
check "files and environment come in, results come out" ends_with 0 --file "$work/in:/tmp/here/file" \
	--env "WORD=two words" --out "$work/out" -- sh -c 'cat /tmp/here/file > /out/file; echo "$WORD" >> /out/file'
check "what came out is what was written" sh -c "printf 'content\ntwo words\n' | cmp - $work/out/file"
check "a failing command's status is kept" ends_with 3 -- sh -c 'exit 3'
check "a panic is a failure" ends_with 125 -- sh -c 'echo c > /proc/sysrq-trigger; sleep 5'
check "a power-off without a result is a failure" ends_with 125 -- poweroff -f
check "QEMU's exit code alone is not a result" ends_with 125 -- \
	sh -c "printf '\052' | dd of=/dev/port seek=244 bs=1 count=1; sleep 5"
check "a warning of the kernel is a failure" ends_with 126 -- sh -c 'echo "WARNING: CPU: 0" > /dev/kmsg'
check "a command without end is stopped" ends_with 124 --timeout 6 -- sleep 1000
finish
