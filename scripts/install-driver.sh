#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make install-driver: the driver on this machine, as a package would bring it: its source for
# DKMS, which builds it for every kernel installed, and the udev rule that opens the
# cards to the group render. Needs root and dkms.
#
#   install-driver.sh             installs, builds for the running kernel, loads
#   install-driver.sh --stage DIR only the files, under DIR, for packagers
#   install-driver.sh --remove    takes away what it installed
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

name=npu-accel
version=$(sed -n 's/^project(npu VERSION \([0-9.]*\) .*/\1/p' "$root/CMakeLists.txt")
[ -n "$version" ] || die "no version in CMakeLists.txt"

stage() {
	local source=$1/usr/src/$name-$version rules=$1/etc/udev/rules.d
	rm -rf "$source"
	mkdir -p "$source" "$rules"
	git -C "$root" ls-files -z kernel include/npu | grep -zv '^kernel/packaging/' |
		(cd "$root" && xargs -0 cp --parents -t "$source")
	sed "s/@VERSION@/$version/" "$root/kernel/packaging/dkms.conf" > "$source/dkms.conf"
	install -m 644 "$root/kernel/packaging/70-npu-accel.rules" "$rules/"
}

case ${1:-} in
--stage)
	[ $# -eq 2 ] || die "--stage needs a folder"
	stage "$2"
	exit
	;;
--remove)
	[ "$(id -u)" -eq 0 ] || die "only root can remove the driver"
	dkms remove "$name/$version" --all || true
	rm -rf "/usr/src/$name-$version" /etc/udev/rules.d/70-npu-accel.rules
	exit
	;;
'') ;;
*) die "no option $1: nothing, --stage DIR or --remove" ;;
esac

[ "$(id -u)" -eq 0 ] || die "only root can install a driver"
command -v dkms > /dev/null || die "dkms is missing: install it, and the headers of your kernel"
stage ""
dkms status "$name/$version" | grep -q . && dkms remove "$name/$version" --all > /dev/null
dkms install "$name/$version"
command -v udevadm > /dev/null && udevadm control --reload
modprobe npu
echo "npu.ko $version is loaded; members of the group render can use the cards"
