#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A small Debian of another release, for compilers and libraries that this system
# has not. It is made once, in $NPU_CACHE/root, from the system's own mirror.
#
#   debian-root.sh RELEASE PACKAGE[,PACKAGE]... COMMAND [ARG]...
#
# runs the command in it, with the tree of the project and the cache under their
# own paths. Mounts live in a namespace of the command and end with it.
# Needs root and mmdebstrap; without them the exit status is 77.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

[ $# -ge 3 ] || { sed -n '4,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
release=$1 packages=$2
shift 2

cannot() { say "no Debian $release here: $*"; exit 77; }
[ "$(id -u)" -eq 0 ] || cannot "only root can make one"
command -v mmdebstrap > /dev/null || cannot "mmdebstrap is missing (scripts/install-deps.sh kernels)"
unshare --mount true 2>/dev/null || cannot "this machine gives no mount namespace"

folder=$NPU_CACHE/root/$release-$(tr -c 'a-z0-9.\n' - <<< "$packages")
mkdir -p "$NPU_CACHE/root"
exec 8> "$folder.lock"
flock 8
if [ ! -f "$folder.done" ]; then
	rm -rf "$folder" "$folder.new"
	"$root/scripts/apt-suite.sh" "$release" sources > "$folder.list"
	run_quietly "making a Debian $release with $packages" \
		mmdebstrap --variant=apt --mode=root --include="$packages" \
		--aptopt='Acquire::Check-Valid-Until "false"' "$release" "$folder.new" "$folder.list"
	mv "$folder.new" "$folder"
	touch "$folder.done"
fi
flock -u 8

exec unshare --mount --pid --fork bash -euc '
	folder=$1
	shift
	mount --make-rprivate /
	mount -t proc proc "$folder/proc"
	for path in "$@"; do
		shift
		[ "$path" != -- ] || break
		mkdir -p "$folder$path"
		mount --bind "$path" "$folder$path"
	done
	exec chroot "$folder" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
' bash "$folder" "$root" "$NPU_CACHE" -- "$@"
