#!/bin/bash
# SPDX-License-Identifier: MIT
#
# QEMU's source and firmware: Debian trixie's 10.0.x with Debian's patches,
# unpacked in build/qemu/src and build/qemu/fw, and the meson it needs in
# build/tools/meson. What the VMs need mended in QEMU itself is in
# qemu-device/qemu/patches; an own source tree is left as it is.
#
#   NPU_QEMU_VERSION   another version of trixie's source package
#   QEMU_SOURCE        an own source tree (copied, then overlaid)
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

pinned=1:10.0.13+ds-0+deb13u1
version=${NPU_QEMU_VERSION:-$pinned}
out=$root/build/qemu
deb=$NPU_CACHE/deb
mkdir -p "$out" "$deb"

fetch_source() {
	if stamped "$out/src.stamp" "${QEMU_SOURCE:-$version}" ||
		{ [ -z "${NPU_QEMU_VERSION:-}" ] && stamped "$out/src.stamp" "newest of 10.0"; }; then
		return
	fi
	rm -rf "$out/src" "$out/src.new"
	if [ -n "${QEMU_SOURCE:-}" ]; then
		[ -f "$QEMU_SOURCE/hw/meson.build" ] || die "QEMU_SOURCE=$QEMU_SOURCE holds no QEMU source"
		run_quietly "copying QEMU source" cp -a "$QEMU_SOURCE" "$out/src"
		stamp "$out/src.stamp" "$QEMU_SOURCE"
		return
	fi
	mkdir -p "$out/src.new"
	local got=$version
	if ! "$root/scripts/apt-suite.sh" trixie source "$out/src.new" "qemu=$version"; then
		[ -z "${NPU_QEMU_VERSION:-}" ] || die "trixie has no qemu $version"
		say "qemu $version is gone; taking the newest of trixie"
		got="newest of 10.0"
		rm -rf "$out/src.new"/*
		"$root/scripts/apt-suite.sh" trixie source "$out/src.new" qemu
	fi
	mv "$out"/src.new/qemu-*/ "$out/src"
	rm -rf "$out/src.new"
	stamp "$out/src.stamp" "$got"
}

apply_patches() {
	local file
	[ -z "${QEMU_SOURCE:-}" ] || return 0
	for file in "$root"/qemu-device/qemu/patches/*.patch; do
		patch -d "$out/src" -p1 -R -s -f --dry-run < "$file" > /dev/null 2>&1 ||
			patch -d "$out/src" -p1 -s -f -r - < "$file" ||
			die "${file##*/} does not apply to $(cat "$out/src.stamp"): remove build/qemu/src.stamp, or choose a QEMU with NPU_QEMU_VERSION or QEMU_SOURCE"
	done
}

# unpack SUITE PACKAGE STAMP: the newest version of the package into the
# current folder.
unpack() {
	[ ! -f "$3" ] || return 0
	local package=$2 file
	"$root/scripts/apt-suite.sh" "$1" download "$deb" "$package"
	file=$(find "$deb" -name "${package}_*.deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
	dpkg -x "$file" .
	touch "$3"
}

fetch_source
apply_patches
mkdir -p "$out/fw" "$root/build/tools/meson"
(cd "$out/fw" && unpack trixie seabios "$out/seabios.stamp" &&
	unpack trixie qemu-system-data "$out/data.stamp")
(cd "$root/build/tools/meson" && unpack bookworm-backports meson "$out/meson.stamp")
