#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ONNX Runtime for the tests that take it as their judge: libonnxruntime.so.1 as
# npm's onnxruntime-node carries it (bookworm has no package of it), headers
# from Debian sid's libonnxruntime-dev (an older API, which newer libraries
# serve). Result: build/onnxruntime/{lib,include}. Nothing is installed.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

version=1.30.0
sha512=twhs1C2C/BFkz1yc5OY0KIU2GUq6DURO7hD4bx5Q2Qy3nAMJwRXW8xU3NVczE29VA9lolLOYepoD8fjTGOfIqw==
member=package/bin/napi-v6/linux/x64/libonnxruntime.so.1

out=$root/build/onnxruntime
stamped "$out/stamp" "$version" && exit 0

[ "$(uname -m)" = x86_64 ] || die "only x86-64: elsewhere ONNX Runtime's arithmetic differs"
mkdir -p "$NPU_CACHE/onnxruntime" "$out/lib" "$out/include"

tarball=$NPU_CACHE/onnxruntime/onnxruntime-node-$version.tgz
[ -e "$tarball" ] || run_quietly "ONNX Runtime $version" \
	python3 "$root/scripts/npm-tarball.py" onnxruntime-node $version $sha512 "$tarball"
run_quietly "unpack ONNX Runtime" tar -xzf "$tarball" -C "$out/lib" --strip-components=5 $member

headers=$NPU_CACHE/onnxruntime/headers
if ! compgen -G "$headers/libonnxruntime-dev_*.deb" > /dev/null; then
	"$root/scripts/apt-suite.sh" sid download "$headers" libonnxruntime-dev
fi
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
for deb in "$headers"/libonnxruntime-dev_*.deb; do
	dpkg -x "$deb" "$unpacked"
done
cp "$unpacked"/usr/include/onnxruntime/*.h "$out/include/"
stamp "$out/stamp" "$version"
