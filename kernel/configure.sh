#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# configure.sh PROBES HEADER COMPILER [FLAG]...
#
# Compiles every file of the folder PROBES; HEADER gets "#define NPU_HAVE_<NAME> 1"
# for each <name>.c that compiles. canary.c must, or nothing can be concluded.
set -eu

probes=$1
header=$2
shift 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

try() {
	# A missing prototype would otherwise be a warning, and the answer yes.
	"$@" -Wno-unused -Werror=implicit-function-declaration \
		-Werror=incompatible-pointer-types -Werror=int-conversion -c -o "$work/probe.o" \
		"$probe" > "$work/log" 2>&1
}

probe=$probes/canary.c
if ! try "$@"; then
	cat "$work/log" >&2
	echo "configure.sh: not even $probe compiles with these kernel headers" >&2
	exit 1
fi

{
	echo "/* Made by configure.sh. */"
	for probe in "$probes"/*.c; do
		name=$(basename "$probe" .c)
		[ "$name" != canary ] || continue
		macro=NPU_HAVE_$(echo "$name" | tr a-z A-Z)
		if try "$@"; then
			echo "#define $macro 1"
		else
			echo "/* $macro is not set */"
		fi
	done
} > "$work/header"
mv "$work/header" "$header"
