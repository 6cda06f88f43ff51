#!/bin/bash
# SPDX-License-Identifier: MIT
#
# build.sh FOLDER: builds npu.ko for the VM's kernel as DKMS does on a user's machine, into
# FOLDER/dkms; that gets a file "skip", which says why, where it cannot be.
set -euo pipefail

folder=$1
root=$(cd "$(dirname "$0")/../../.." && pwd)
. "$root/scripts/lib.sh"
. "$place/kernel/kernel.env"

rm -rf "$folder/stage" "$folder/tree" "$folder/dkms"
mkdir -p "$folder/tree" "$folder/dkms"
if [ -n "$KERNEL_DEBIAN" ]; then
	echo "headers for another Debian's compiler" > "$folder/dkms/skip"
	exit
fi
"$root/scripts/install-driver.sh" --stage "$folder/stage"
set -- "$folder"/stage/usr/src/npu-accel-*
version=${1##*-}
dkms build "npu-accel/$version" --dkmstree "$folder/tree" --sourcetree "$folder/stage/usr/src" \
	--installtree "$folder/dkms" -k "$KERNEL_RELEASE" --kernelsourcedir "$KDIR" > "$folder/dkms.log" 2>&1 ||
	{ cat "$folder/dkms.log"; exit 1; }
find "$folder/tree" -name npu.ko -exec cp {} "$folder/dkms/" \;
[ -f "$folder/dkms/npu.ko" ]
