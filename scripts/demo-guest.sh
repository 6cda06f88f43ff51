#!/bin/sh
# SPDX-License-Identifier: MIT
# The part of the demo that runs in the VM.
set -e
echo
echo "\$ uname -r; ls /dev/accel"
uname -r
ls /dev/accel
echo
echo "\$ npu-smi"
npu-smi
echo
echo "\$ npu-run digits.npu --device /dev/accel/accel0 --input image=images.npy"
npu-run /root/digits.npu --device /dev/accel/accel0 --input image=/root/images.npy \
	--output /out --json /out/run.json
