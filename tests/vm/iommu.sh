#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The card behind an IOMMU: every transaction is translated, interrupts are
# remapped.
#
# vm: machine=q35,kernel-irqchip=split
# vm: qemu=-device
# vm: qemu=intel-iommu,intremap=on
# vm: append=intel_iommu=on iommu.passthrough=0
# vm: prepare=build/bin/npu-compile models/digits/digits.onnx -o $WORK/digits.npu --target build/generated/target.json
# vm: file=$WORK/digits.npu
# vm: file=models/digits/images.npy
# vm: file=models/digits/logits.npy
. ./tap.sh

check "the card has an IOMMU group of its own" \
	test "$(ls /sys/bus/pci/devices/0000:01:00.0/iommu_group/devices)" = 0000:01:00.0
check "the group's addresses are translated" \
	grep -q '^DMA' /sys/bus/pci/devices/0000:01:00.0/iommu_group/type
check "450 digits come out bit for bit" \
	npu-run digits.npu --device /dev/accel/accel0 --input image=images.npy --expect logits=logits.npy
check "no transaction was refused" sh -c '! dmesg | grep "DMAR:.*fault"'
finish
