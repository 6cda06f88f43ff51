#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The module as DKMS builds it from the files that make install-driver installs.
#
# vm: device=npu
# vm: need=/usr/sbin/dkms the package dkms has it
# vm: prepare=tests/vm/dkms/build.sh $WORK
# vm: file=$WORK/dkms
# vm: file=build/test/kmd_test
# vm: no-module
. ./tap.sh

if [ -f dkms/skip ]; then
	skip "the module of DKMS" "$(cat dkms/skip)"
	finish
fi
for module in gpu_sched drm_exec drm_gpuvm drm_buddy ttm drm_ttm_helper; do modprobe -q $module; done
check "it loads" insmod dkms/npu.ko
for file in /sys/bus/pci/drivers/npu/*:*; do modalias=$(cat "$file/modalias"); done
alias=$(strings dkms/npu.ko | sed -n 's/^alias=\(pci:.*\)/\1/p')
# shellcheck disable=SC2254 # is a pattern
check "its alias is the card's, so that it loads by itself" sh -c "case '$modalias' in $alias) ;; *) false ;; esac"
gtest ./kmd_test --gtest_filter='Job.*'
finish
