#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Builds npu.ko against the headers of the VM's kernel (kernel/kernel.env); the
# result is build/npu.ko, or build/kernels/$NPU_KERNEL/npu.ko. Kbuild writes next
# to its sources, so it works on a copy in module/, which keeps the mtime of
# unchanged files.
#
#   build-module.sh [MAKE-ARGUMENT]...     e.g. W=1, C=1
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

[ -f "$root/kernel/Kbuild" ] || [ -f "$root/kernel/Makefile" ] || die "kernel/ holds no module yet"
grep -qs KERNEL_CC "$place/kernel/kernel.env" || "$root/scripts/fetch-kernel.sh"
. "$place/kernel/kernel.env"

copy=$place/module
# Kbuild does not see that these are another kernel's headers.
stamped "$copy/kdir" "$KDIR" || rm -rf "$copy"
mkdir -p "$copy"
stamp "$copy/kdir" "$KDIR"
ln -sfn "$root/include" "$copy/include"
ln -sfn "$root/scripts" "$copy/scripts"
# Removed sources leave; new and changed ones arrive.
if [ -d "$copy/kernel" ]; then
	(cd "$copy/kernel" && find . -type f \( -name '*.[ch]' -o -name Kbuild -o -name Makefile -o -name '*.sh' \) ! -name '*.mod.c' -print) |
		while read -r file; do
			[ -e "$root/kernel/$file" ] || case $file in
			*/generated/*) ;;
			*) rm -f "$copy/kernel/$file" ;;
			esac
		done
fi
(cd "$root/kernel" && find . -type f \( -name '*.[chS]' -o -name Kbuild -o -name Makefile -o -name '*.sh' -o -name '*.mk' \) ! -name '*.mod.c' -print) |
	while read -r file; do
		cmp -s "$root/kernel/$file" "$copy/kernel/$file" && continue
		mkdir -p "$copy/kernel/$(dirname "$file")"
		cp -p "$root/kernel/$file" "$copy/kernel/$file"
	done

there=()
[ -z "$KERNEL_DEBIAN" ] || there=("$root/scripts/debian-root.sh" "$KERNEL_DEBIAN" "make,$KERNEL_CC,libelf-dev,perl,python3")
run_quietly "building npu.ko for $KERNEL_RELEASE" "${there[@]}" \
	make -j "$JOBS" -C "$KDIR" M="$copy/kernel" CC="$KERNEL_CC" "$@" modules
cmp -s "$copy/kernel/npu.ko" "$place/npu.ko" || cp "$copy/kernel/npu.ko" "$place/npu.ko"
