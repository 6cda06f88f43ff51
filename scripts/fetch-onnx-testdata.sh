#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ONNX's own operator cases (Debian's libonnx-testdata), unpacked into
# build/onnx-testdata. Nothing is installed.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

out=$root/build/onnx-testdata
stamped "$out/stamp" 1 && exit 0
packages=$NPU_CACHE/onnx-testdata
compgen -G "$packages/libonnx-testdata_*.deb" > /dev/null ||
	"$root/scripts/apt-suite.sh" bookworm download "$packages" libonnx-testdata
rm -rf "$out"
mkdir -p "$out"
for deb in "$packages"/libonnx-testdata_*.deb; do
	dpkg -x "$deb" "$out"
done
stamp "$out/stamp" 1
