#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The card is unplugged in the middle of its work, by ACPI, and another one
# plugged in.
#
# vm: device=npu,card-memory-mib=64
# vm: file=build/test/kmd_test
# vm: file=tests/vm/hotplug
. hotplug/functions.sh

for round in 1 2 3; do
	under_load $round
done
finish
