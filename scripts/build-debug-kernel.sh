#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make debug-kernel: the kernel that checks memory, locks and objects, and fails
# allocations on demand: Debian's linux-source-6.12 with configs/debug-kernel.config
# and the fixes of configs/debug-kernel/, each of a bug in the kernel itself that ends
# a test. Sources and build are kept in $NPU_CACHE/linux, one build per version,
# configuration and fixes; ccache is used if it is there. Prints the folder of the
# build, which serves as KDIR; NPU_KERNEL=debug makes the other scripts use it.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

package=linux-source-6.12
suites=(bookworm-security bookworm-backports)
config=$root/configs/debug-kernel.config
home=$NPU_CACHE/linux
mkdir -p "$home"
exec 7> "$home/lock"
flock 7

fixes=("$root"/configs/debug-kernel/*.patch)
fixed=$(cat "${fixes[@]}" | sha256sum | cut -c1-12)
key=$(cat "$config" "$root/kernel/Kconfig" "${fixes[@]}" | sha256sum | cut -c1-12)
tree=$(find "$home" -maxdepth 1 -name "debug-*-$key" | sort -V | tail -n 1)
if [ -n "$tree" ] && [ -f "$tree/npu-compiler" ]; then
	echo "$tree"
	exit
fi

# --- sources ------------------------------------------------------------------
"$root/scripts/install-deps.sh" --check kernels || "$root/scripts/install-deps.sh" kernels
for suite in "${suites[@]}"; do
	version=$("$root/scripts/apt-suite.sh" "$suite" versions $package | head -n 1)
	[ -z "$version" ] || break
done
[ -n "$version" ] || die "no $package in ${suites[*]}"
source=$home/$version
if ! stamped "$source/npu-fixes" "$fixed"; then
	"$root/scripts/apt-suite.sh" "$suite" download "$home" "$package=$version"
	rm -rf "$source.new"
	mkdir -p "$source.new"
	unpack() {
		dpkg-deb --fsys-tarfile "$home"/${package}_*.deb | tar -xO --wildcards '*.tar.xz' |
			tar -xJ -C "$source.new" --strip-components=1
	}
	run_quietly "unpacking $package $version" unpack
	for fix in "${fixes[@]}"; do
		patch -d "$source.new" -p1 --quiet < "$fix" || die "$fix does not apply to $package $version"
	done
	stamp "$source.new/npu-fixes" "$fixed"
	rm -rf "$source"
	mv "$source.new" "$source"
	rm -f "$home"/${package}_*.deb
fi

# --- configuration ------------------------------------------------------------
tree=$home/debug-$version-$key
mkdir -p "$tree"
cc=gcc-$(gcc -dumpversion)
command -v "$cc" > /dev/null || cc=gcc
ccache=
! command -v ccache > /dev/null || ccache="ccache "
kernel_make() {
	make -C "$source" O="$tree" ARCH=x86_64 CC="$ccache$cc" HOSTCC="$ccache$cc" KBUILD_KCONFIG="$tree/Kconfig.npu" \
		KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=npu KBUILD_BUILD_HOST=npu "$@"
}
# The kernel's own options and, as if it were in the tree, the driver's.
cat "$source/Kconfig" "$root/kernel/Kconfig" > "$tree/Kconfig.npu"
run_quietly "configuring the debug kernel" kernel_make KCONFIG_ALLCONFIG="$config" allnoconfig

# An option whose dependencies are not met vanishes without a word.
lost=()
while read -r line; do
	case $line in
	CONFIG_*=*) grep -qxF "$line" "$tree/.config" || lost+=("$line") ;;
	'# CONFIG_'*' is not set')
		name=${line#\# }
		! grep -q "^${name%% *}=" "$tree/.config" || lost+=("$line")
		;;
	esac
done < "$config"
[ ${#lost[@]} -eq 0 ] || die "options that did not survive: ${lost[*]}"

# --- build --------------------------------------------------------------------
run_quietly "building the debug kernel" kernel_make -j "$JOBS" vmlinux modules
echo "$cc" > "$tree/npu-compiler"
echo "$tree"
