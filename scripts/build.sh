#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Everything from a fresh clone to a bootable VM: installs what is missing,
# configures, builds. Each step does nothing when its result is up to date.
#
#   build.sh [--no-install] [SET]...     sets of packages: build vm test
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

cd "$root"
install=yes
[ "${1:-}" != --no-install ] || { install=; shift; }
[ $# -gt 0 ] || set -- build vm
[ -z "$install" ] || scripts/install-deps.sh "$@"

target=programs
case " $* " in
*" test "*)
	target=all
	# Its absence is seen by CMake, and its coming; the tests that need it say so as skips.
	scripts/fetch-onnxruntime.sh || say "ONNX Runtime cannot be had here; tests that compare with it are skipped"
	scripts/fetch-stock-qemu.sh || say "no QEMU with vfio-user can be had here; its VM test is skipped"
	scripts/fetch-onnx-testdata.sh || say "ONNX's operator cases cannot be had here; their tests are skipped"
	;;
esac
if [ ! -f build/build.ninja ]; then
	run_quietly "configuring user space" cmake --preset release
fi
# The lines of Ninja are the progress; on failure they hold the compiler's message.
run_quietly "building user space" cmake --build build -j "$JOBS" --target $target
scripts/fetch-kernel.sh
scripts/build-module.sh
scripts/build-qemu.sh
case " $* " in
*" test "*)
	# With a ready QEMU there is no source to build the fuzzer from; its test is skipped.
	[ -n "${QEMU:-}" ] || scripts/build-qemu.sh --fuzz
	;;
esac
scripts/mkinitrd.py
