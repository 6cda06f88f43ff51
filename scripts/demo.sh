#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make demo: installs what is missing, builds everything, boots the VM and
# classifies the held-out digits on the NPU through the kernel driver.
#
#   demo.sh           the demo
#   demo.sh --shell   make vm: an interactive shell in the VM instead
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/lib.sh"

cd "$root"
started=$SECONDS
scripts/build.sh build vm

work=build/demo
digits=models/digits
mkdir -p "$work"
# Compiled for the card that .config describes, which is also the one in the VM.
build/bin/npu-compile "$digits/digits.onnx" -o "$work/digits.npu" --target build/generated/target.json \
	--report "$work/report" > "$work/compile.log" 2>&1 || {
	cat "$work/compile.log" >&2
	die "the digits model does not compile"
}

files=(--file "$work/digits.npu" --file "$digits/images.npy" --file "$digits/labels.npy")
if [ "${1:-}" = --shell ]; then
	exec scripts/vm-run --shell "${files[@]}" --share "$root"
fi

accel=$(scripts/vm-run --accel)
case $accel in
kvm) say "booting the VM; a guest boots with KVM here, so it is used" ;;
*) say "booting the VM; KVM is not usable here, so QEMU emulates the processor (TCG)" ;;
esac
rm -rf "$work/out"
scripts/vm-run --timeout 300 --out "$work/out" "${files[@]}" --file scripts/demo-guest.sh \
	-- sh /root/demo-guest.sh || die "the demo failed in the VM; its kernel log is in $work/out"
scripts/demo-report.py --labels "$digits/labels.npy" --reference "$digits/logits.npy" \
	--output "$work/out" --accel "$accel" --seconds $((SECONDS - started))
