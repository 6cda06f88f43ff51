#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The kernel of the VM and the headers to build npu.ko against: Debian 12's 6.12,
# or the one that NPU_KERNEL names. The result is kernel/kernel.env in build/, with
# NPU_KERNEL in build/kernels/$NPU_KERNEL/, which the other scripts read:
#
#   KERNEL_RELEASE   as uname -r
#   KERNEL_IMAGE     an ELF vmlinux (boots fastest, through PVH) or a bzImage
#   KERNEL_MODULES   folder with the modules, lib/modules/RELEASE
#   KDIR             prepared headers, as for make -C
#   KERNEL_CC        compiler for modules
#   KERNEL_DEBIAN    release of Debian in which to build modules; empty: here
#   KERNEL_PATIENCE  by how much time limits are multiplied on this kernel
#
# NPU_KERNEL is the start of a version (7; 7.2; 6.12.117+deb12), and the newest
# such kernel of Debian 12 to sid is taken, or "debug" for the kernel that checks
# (scripts/build-debug-kernel.sh).
#
#   fetch-kernel.sh             all of the above
#   fetch-kernel.sh --headers   no image and no modules: enough to compile
#   fetch-kernel.sh --list      VERSION SUITE of every kernel with the accel
#                               subsystem that the mirror serves, oldest first
#
# To use an own kernel, set KDIR and KERNEL_IMAGE (and KERNEL_MODULES when the
# modules are not in KDIR) in the environment.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

pinned=6.12.95+deb12
suites=(bookworm-backports bookworm-security trixie trixie-security trixie-updates trixie-backports forky sid)
first_with_accel=6.12	# Debian 12's own 6.1 has none
out=$place/kernel
deb=$NPU_CACHE/deb
mkdir -p "$out" "$deb"

list() {
	local suite version
	for suite in "${suites[@]}"; do
		"$root/scripts/apt-suite.sh" "$suite" names '^linux-headers-[0-9.]+\+deb[0-9.]+-amd64$' |
			sed 's/^linux-headers-//; s/-amd64$//' | while read -r version; do
			! dpkg --compare-versions "$version" ge $first_with_accel || echo "$version $suite"
		done
	done | sort -V -s -k1,1 | awk '!seen[$1]++'
}

# resolve WANTED: "VERSION SUITE" of the newest kernel that WANTED names. An answer is
# good for a day, one that names a version for good.
resolve() {
	local known=$NPU_CACHE/kernel-versions/$1
	mkdir -p "${known%/*}"
	if [ -s "$known" ] && { [ "$(cut -d' ' -f1 "$known")" = "$1" ] || [ -n "$(find "$known" -mtime -1)" ]; }; then
		cat "$known"
		return
	fi
	list | awk -v want="$1" '$1 == want || index($1, want ".") == 1 { found = $0 }
		END { if (!found) exit 1; print found }' > "$known.new" && mv "$known.new" "$known" && cat "$known"
}

write_env() { # RELEASE IMAGE MODULES KDIR CC DEBIAN [PATIENCE]
	cat > "$out/kernel.env.new" <<END
KERNEL_RELEASE='$1'
KERNEL_IMAGE='$2'
KERNEL_MODULES='$3'
KDIR='$4'
KERNEL_CC='$5'
KERNEL_DEBIAN='$6'
KERNEL_PATIENCE='${7:-1}'
END
	cmp -s "$out/kernel.env.new" "$out/kernel.env" || cp "$out/kernel.env.new" "$out/kernel.env"
	rm "$out/kernel.env.new"
}

here_cc() { # WANTED: a compiler of this system that will do
	command -v "$1" || echo gcc
}

headers() { printf '%s\n' "linux-headers-$1-amd64" "linux-headers-$1-common" "linux-kbuild-$1"; }

# Image and modules, which Debian splits from 6.19 on.
image() { # VERSION SUITE
	if [ -n "$("$root/scripts/apt-suite.sh" "$2" names "^linux-binary-${1//[.+]/.}-amd64\$")" ]; then
		printf '%s\n' "linux-binary-$1-amd64" "linux-modules-$1-amd64"
	else
		echo "linux-image-$1-amd64"
	fi
}

newest_deb() { # PACKAGE: its file in the cache, if any
	find "$deb" -maxdepth 1 -name "$1_*.deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-
}

# unpack SUITE PACKAGE...: into the result's folder, downloading what the cache has not.
unpack() {
	local suite=$1 package missing=()
	shift
	for package in "$@"; do
		[ -n "$(newest_deb "$package")" ] || missing+=("$package")
	done
	[ ${#missing[@]} -eq 0 ] || "$root/scripts/apt-suite.sh" "$suite" download "$deb" "${missing[@]}"
	for package in "$@"; do
		run_quietly "unpacking $package" dpkg -x "$(newest_deb "$package")" "$out"
	done
}

# Sets cc and release: with what, and where, modules for VERSION of SUITE are built.
# Here, if the headers' programs run here and the compiler is not older than theirs.
choose_compiler() {
	local tool have
	cc=$(dpkg-deb -f "$(newest_deb "linux-headers-$1-amd64")" Depends | grep -o 'gcc-[0-9]*' | head -n 1)
	release=
	have=$(gcc -dumpversion 2>/dev/null || echo 0)
	for tool in basic/fixdep mod/modpost; do
		! ldd "$out/usr/lib/linux-kbuild-$1/scripts/$tool" 2>&1 | grep -q 'not found' || have=0
	done
	if [ "$have" -ne 0 ] && { command -v "$cc" > /dev/null || [ "${have%%.*}" -ge "${cc#gcc-}" ]; }; then
		cc=$(here_cc "$cc")
		cc=${cc##*/}
	else
		release=${2%%-*}
	fi
}

case ${1:-} in
--list) list; exit ;;
--headers | '') ;;
*) die "unknown argument '$1'" ;;
esac

if [ -n "${KDIR:-}" ] || [ -n "${KERNEL_IMAGE:-}" ]; then
	[ -n "${KDIR:-}" ] && [ -n "${KERNEL_IMAGE:-}" ] || die "set both KDIR and KERNEL_IMAGE, or neither"
	[ -f "$KDIR/include/config/kernel.release" ] ||
		[ -f "$KDIR/include/generated/utsrelease.h" ] || die "KDIR=$KDIR is no prepared kernel build"
	[ -f "$KERNEL_IMAGE" ] || die "KERNEL_IMAGE=$KERNEL_IMAGE does not exist"
	release=$(sed -n 's/.*UTS_RELEASE "\(.*\)".*/\1/p' "$KDIR/include/generated/utsrelease.h")
	cc=$(here_cc gcc-12)
	write_env "$release" "$(readlink -f "$KERNEL_IMAGE")" \
		"$(readlink -f "${KERNEL_MODULES:-$KDIR}")" "$(readlink -f "$KDIR")" "${cc##*/}" ''
	exit 0
fi

if [ "${NPU_KERNEL:-}" = debug ]; then
	tree=$("$root/scripts/build-debug-kernel.sh")
	write_env "$(cat "$tree/include/config/kernel.release")" "$tree/vmlinux" "$tree" "$tree" \
		"$(cat "$tree/npu-compiler")" '' 4
	exit 0
fi

# The default is one of Debian 12's: no need for the package lists of other releases.
[ -n "${NPU_KERNEL:-}" ] || suites=(bookworm-backports bookworm-security)
if ! found=$(resolve "${NPU_KERNEL:-$pinned}"); then
	[ -z "${NPU_KERNEL:-}" ] || die "Debian serves no kernel $NPU_KERNEL"
	found=$(list | grep '^6\.12\..*+deb12' | tail -n 1)
	[ -n "$found" ] || die "no kernel of series 6.12 found"
	say "kernel $pinned is gone; taking ${found% *}"
fi
read -r version suite <<< "$found"
kdir=$out/usr/src/linux-headers-$version-amd64

stamped "$out/stamp" "$version $root" || rm -rf "$out"
mkdir -p "$out"
if [ ! -f "$out/stamp" ]; then
	mapfile -t wanted < <(headers "$version")
	unpack "$suite" "${wanted[@]}"
	sed -i "s#/usr/src#$out/usr/src#" "$kdir/Makefile"
	# With a vmlinux there the build would want pahole, to make BTF.
	[ ! -f "$kdir/vmlinux" ] || mv "$kdir/vmlinux" "$kdir/vmlinux.off"
	stamp "$out/stamp" "$version $root"
fi
if [ "${1:-}" != --headers ] && [ ! -f "$out/vmlinux" ]; then
	mapfile -t wanted < <(image "$version" "$suite")
	unpack "$suite" "${wanted[@]}"
	vmlinuz=$out/boot/vmlinuz-$version-amd64
	[ -f "$vmlinuz" ] || vmlinuz=$out/usr/lib/modules/$version-amd64/vmlinuz
	run_quietly "extracting vmlinux" "$root/scripts/extract-vmlinux.py" "$vmlinuz" "$out/vmlinux.new"
	mv "$out/vmlinux.new" "$out/vmlinux"
fi
choose_compiler "$version" "$suite"
modules=$out/lib/modules/$version-amd64
[ -d "$modules" ] || modules=$out/usr/lib/modules/$version-amd64
write_env "$version-amd64" "$out/vmlinux" "$modules" "$kdir" "$cc" "$release"
