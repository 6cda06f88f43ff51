#!/bin/bash
# SPDX-License-Identifier: MIT
# Removes compiled user space and module; keeps downloads, kernel and QEMU,
# which take minutes to get back.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -d build ] || exit 0
find build -mindepth 1 -maxdepth 1 ! -name cache ! -name kernel ! -name qemu ! -name tools \
	! -name bin -exec rm -rf {} +
[ ! -d build/bin ] || find build/bin -mindepth 1 ! -name qemu-system-x86_64 -delete
