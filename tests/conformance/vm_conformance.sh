#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The shipped models through the kernel driver in the VM, bit for bit. Prints TAP.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
cases=$(mktemp -d)
trap 'rm -rf "$cases"' EXIT

"$root/tests/conformance/export_cases.py" "$cases/conformance" \
	--target "$root/build/generated/target.json" "$@"
"$root/scripts/vm-run" --timeout 600 --file "$cases/conformance:/root/conformance" -- \
	sh /root/conformance/run.sh
