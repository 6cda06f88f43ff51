#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Packages and sources of another Debian suite than the system's, without
# touching the system: a private apt state, with mirror, keyring and proxy taken
# from the system's own apt configuration.
#
#   apt-suite.sh SUITE download DIR PACKAGE[=VERSION]...   .deb files into DIR
#   apt-suite.sh SUITE source DIR PACKAGE[=VERSION]        unpacked source in DIR
#   apt-suite.sh SUITE versions PACKAGE                    versions, newest first
#   apt-suite.sh SUITE names REGEX                         matching package names
#   apt-suite.sh SUITE sources                             lines for a sources.list
#
# SUITE is e.g. bookworm-backports, bookworm-security, trixie or sid.
# State and downloads are kept in $NPU_CACHE (default build/cache).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

[ $# -ge 3 ] || [ "${2:-}" = sources ] || { sed -n '4,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
suite=$1 verb=$2
shift 2

state=$NPU_CACHE/apt/$suite
mkdir -p "$state"/{lists/partial,cache/archives/partial}

# Site of the first of Debian's own indexes in the system whose codename matches $1.
system_site() {
	apt-get indextargets 'Created-By: Packages' 'Origin: Debian' 'Component: main' |
		awk -v want="$1" '/^URI: /{ uri = $2 } /^Base-URI: /{ base = $2 }
			base ~ want { sub("/dists/.*", "", uri); print uri; exit }' || true
}

case $suite in
*-security) site=$(system_site '/dists/[a-z]+-security/$') ;;
*) site=$(system_site '/dists/[a-z]+/$') ;;
esac
[ -n "$site" ] || die "apt knows no Debian mirror for $suite (was apt-get update ever run?)"

# The system's own choice of keys for that mirror, else Debian's keyring.
keyring=$(grep -rhs -A8 -- "$site" /etc/apt/sources.list /etc/apt/sources.list.d |
	sed -n 's/^Signed-By: *\(\/[^ ]*\).*/\1/p; s/.*signed-by=\([^] ]*\).*/\1/p' | head -n 1 || true)
keyring=${keyring:-/usr/share/keyrings/debian-archive-keyring.gpg}
[ -e "$keyring" ] || die "$keyring is missing; install debian-archive-keyring"

cat > "$state/sources.list" <<END
deb [signed-by=$keyring] $site $suite main
deb-src [signed-by=$keyring] $site $suite main
END
: > "$state/status"
# A mirror that is a snapshot, or lags, serves indexes past their Valid-Until.
# What they list is signed all the same, and the versions used are pinned.
options=(-qq -o Acquire::Check-Valid-Until=false
	-o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null
	-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
	-o Dir::State::Lists="$state/lists" -o Dir::State::status="$state/status"
	-o Dir::Cache="$state/cache" -o APT::Sandbox::User=root
	-o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
	-o APT::Get::List-Cleanup=0 -o APT::Update::Post-Invoke-Success::= -o DPkg::Lock::Timeout=60)

exec 9> "$state/lock"
flock 9

update() {
	run_quietly "package lists of $suite" apt-get "${options[@]}" update
	touch "$state/updated"
}
# Lists older than a day are refreshed; a download that fails refreshes them too.
[ -n "$(find "$state/updated" -mtime -1 2>/dev/null)" ] || update || [ -f "$state/updated" ]

fetch() { # DIR apt-get-words...
	local dir=$1
	shift
	mkdir -p "$dir"
	cd "$dir"
	local what="$suite: $1 $2"
	[ $# -le 2 ] || what+=" and $(($# - 2)) more"
	run_quietly "$what" apt-get "${options[@]}" "$@" && return
	update && run_quietly "$what" apt-get "${options[@]}" "$@"
}

case $verb in
download)
	dir=$1
	shift
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	# Only whole files appear in DIR, whatever interrupts this.
	rm -rf "$state/partial"
	fetch "$state/partial" download "$@"
	mv "$state/partial"/*.deb "$dir"
	;;
source) dir=$1; shift; fetch "$dir" source "$@" ;;
versions) apt-cache "${options[@]}" madison "$1" | awk -F' *\\| *' '/Packages/ { print $2 }' ;;
sources) cat "$state/sources.list" ;;
names) apt-cache "${options[@]}" pkgnames | grep -E -- "$1" || true ;;
*) die "unknown verb '$verb'" ;;
esac
