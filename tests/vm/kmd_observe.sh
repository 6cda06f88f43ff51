#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fdinfo, hwmon, sysfs and trace points tell what the card itself counts.
#
# vm: device=npu
# vm: file=build/test/kmd_test
. ./tap.sh
gtest ./kmd_test --gtest_filter='Fdinfo.*:Sensors.*:TracePoints.*'
finish
