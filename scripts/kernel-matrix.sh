#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make kernel-matrix: builds npu.ko with W=1 against every set of kernel headers
# with the accel subsystem that the mirror serves, each with the compiler that it
# was made for, and prints a table. A warning is a failure; a set that needs
# another Debian than this system, where none can be made, is skipped.
#
#   kernel-matrix.sh [VERSION]...     only versions that begin with one of these
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

built=0 failed=0 skipped=0
rows=()
row() { rows+=("$(printf '%-18s %-19s %-16s %s' "$@")"); }

wanted() { # VERSION ARGUMENT...
	local version=$1 start
	shift
	[ $# -gt 0 ] || return 0
	for start in "$@"; do
		case $version in "$start"*) return 0 ;; esac
	done
	return 1
}

# Warnings of the compiler or of modpost. That compiler or pahole are of another minor
# version than the headers' own is no warning about the driver.
warnings() { grep -ci 'warning: ' < <(grep -vE 'warning: (the compiler|pahole version) differs' "$1"); }

mkdir -p "$root/build"
"$root/scripts/fetch-kernel.sh" --list > "$root/build/kernel-matrix.list"
while read -r version suite; do
	wanted "$version" "$@" || continue
	export NPU_KERNEL=$version
	place=$root/build/kernels/$version
	if ! "$root/scripts/fetch-kernel.sh" --headers; then
		row "$version" "$suite" - "FAILED: headers cannot be had"
		failed=$((failed + 1))
		continue
	fi
	. "$place/kernel/kernel.env"
	compiler="$KERNEL_CC${KERNEL_DEBIAN:+ ($KERNEL_DEBIAN)}"
	# An object that is up to date would show no warning.
	rm -rf "$place/module"
	status=0
	"$root/scripts/build-module.sh" W=1 || status=$?
	log=$(log_of "building npu.ko for $KERNEL_RELEASE")
	if [ $status -eq 77 ]; then
		row "$version" "$suite" "$compiler" "skipped: needs root and mmdebstrap"
		skipped=$((skipped + 1))
	elif [ $status -ne 0 ]; then
		row "$version" "$suite" "$compiler" "FAILED: see $log"
		failed=$((failed + 1))
	elif count=$(warnings "$log"); then
		row "$version" "$suite" "$compiler" "FAILED: $count warnings, see $log"
		failed=$((failed + 1))
	else
		row "$version" "$suite" "$compiler" "ok"
		built=$((built + 1))
	fi
done < "$root/build/kernel-matrix.list"

printf '%-18s %-19s %-16s %s\n' kernel suite compiler "W=1"
[ ${#rows[@]} -eq 0 ] || printf '%s\n' "${rows[@]}"
echo "$built built without a warning, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $built -gt 0 ]
