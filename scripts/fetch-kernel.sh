#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The kernel of the VM and the headers to build npu.ko against: Debian 12's 6.12
# (bookworm-backports, else bookworm-security), unpacked in build/kernel. The
# result is build/kernel/kernel.env, which the other scripts read:
#
#   KERNEL_RELEASE   as uname -r
#   KERNEL_IMAGE     an ELF vmlinux (boots fastest, through PVH) or a bzImage
#   KERNEL_MODULES   folder with the modules, lib/modules/RELEASE
#   KDIR             prepared headers, as for make -C
#
# To use an own kernel, set KDIR and KERNEL_IMAGE (and KERNEL_MODULES when the
# modules are not in KDIR) in the environment.
#
#   NPU_KERNEL_VERSION   another one of Debian's, e.g. 6.12.117+deb12
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

pinned=6.12.95+deb12
series='6\.12'
suites=(bookworm-backports bookworm-security)
out=$root/build/kernel
deb=$NPU_CACHE/deb
mkdir -p "$out" "$deb"

write_env() {
	cat > "$out/kernel.env.new" <<END
KERNEL_RELEASE='$1'
KERNEL_IMAGE='$2'
KERNEL_MODULES='$3'
KDIR='$4'
END
	cmp -s "$out/kernel.env.new" "$out/kernel.env" || cp "$out/kernel.env.new" "$out/kernel.env"
	rm "$out/kernel.env.new"
}

if [ -n "${KDIR:-}" ] || [ -n "${KERNEL_IMAGE:-}" ]; then
	[ -n "${KDIR:-}" ] && [ -n "${KERNEL_IMAGE:-}" ] || die "set both KDIR and KERNEL_IMAGE, or neither"
	[ -f "$KDIR/include/config/kernel.release" ] ||
		[ -f "$KDIR/include/generated/utsrelease.h" ] || die "KDIR=$KDIR is no prepared kernel build"
	[ -f "$KERNEL_IMAGE" ] || die "KERNEL_IMAGE=$KERNEL_IMAGE does not exist"
	release=$(sed -n 's/.*UTS_RELEASE "\(.*\)".*/\1/p' "$KDIR/include/generated/utsrelease.h")
	write_env "$release" "$(readlink -f "$KERNEL_IMAGE")" \
		"$(readlink -f "${KERNEL_MODULES:-$KDIR}")" "$(readlink -f "$KDIR")"
	exit 0
fi

packages() { printf '%s\n' "linux-image-$1-amd64" "linux-headers-$1-amd64" "linux-headers-$1-common" "linux-kbuild-$1"; }

# Downloads the packages of version $1 from the first suite that has all.
download() {
	local suite
	mapfile -t wanted < <(packages "$1")
	for suite in "${suites[@]}"; do
		[ "$("$root/scripts/apt-suite.sh" "$suite" names \
			"^linux-(image|headers|kbuild)-$(sed 's/[.+]/\\&/g' <<< "$1")(-amd64|-common|)\$" | wc -l)" -eq 4 ] || continue
		"$root/scripts/apt-suite.sh" "$suite" download "$deb" "${wanted[@]}" && return
	done
	return 1
}

newest() {
	local suite
	for suite in "${suites[@]}"; do
		"$root/scripts/apt-suite.sh" "$suite" names "^linux-kbuild-$series\." | sed 's/^linux-kbuild-//'
	done | sort -V | tail -n 1
}

newest_deb() { # PACKAGE: its file in the cache, if any
	find "$deb" -name "$1_*.deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-
}

cached() {
	local package
	for package in $(packages "$1"); do
		[ -n "$(newest_deb "$package")" ] || return 1
	done
}

unpack() {
	local package
	for package in $(packages "$1"); do
		run_quietly "unpacking $package" dpkg -x "$(newest_deb "$package")" "$out/new"
	done
}

if [ -f "$out/stamp" ] && read -r have where < "$out/stamp" && [ "$where" = "$root" ] &&
	{ [ "$have" = "${NPU_KERNEL_VERSION:-$pinned}" ] || [ "$have:${NPU_KERNEL_VERSION:-}" = "$(cat "$out/newest" 2>/dev/null):" ]; }; then
	version=$have
else
	rm -rf "$out"
	mkdir -p "$out"
	version=${NPU_KERNEL_VERSION:-$pinned}
	if ! cached "$version" && ! download "$version"; then
		[ -z "${NPU_KERNEL_VERSION:-}" ] || die "Debian has no kernel $version"
		version=$(newest)
		[ -n "$version" ] || die "no kernel of series 6.12 found in ${suites[*]}"
		say "kernel $pinned is gone; taking $version"
		download "$version" || die "kernel $version could not be fetched"
		echo "$version" > "$out/newest"
	fi
	unpack "$version"
	mv "$out"/new/* "$out"
	rmdir "$out/new"
	headers=$out/usr/src/linux-headers-$version-amd64
	sed -i "s#/usr/src#$out/usr/src#" "$headers/Makefile"
	# With a vmlinux there the build would want pahole, to make BTF.
	[ ! -f "$headers/vmlinux" ] || mv "$headers/vmlinux" "$headers/vmlinux.off"
	run_quietly "extracting vmlinux" "$root/scripts/extract-vmlinux.py" \
		"$out/boot/vmlinuz-$version-amd64" "$out/vmlinux"
	echo "$version $root" > "$out/stamp"
fi
write_env "$version-amd64" "$out/vmlinux" "$out/lib/modules/$version-amd64" \
	"$out/usr/src/linux-headers-$version-amd64"
