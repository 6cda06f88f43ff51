#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make test: builds what is missing and runs every test, on the host and in VMs.
# Options are those of run-tests.py; --no-build runs what is built.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

if [ "${1:-}" = --no-build ]; then
	shift
elif ! { "$root/scripts/build.sh" build vm test; }; then
	# What cannot be built has not passed.
	echo "not ok - the build"
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
fi
exec "$root/scripts/run-tests.py" "$@"
