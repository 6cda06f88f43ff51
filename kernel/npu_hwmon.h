/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* hwmon: temperature, power, energy, clock. */
#ifndef NPU_HWMON_H
#define NPU_HWMON_H

struct npu_device;

void npu_hwmon_init(struct npu_device *npu);

#endif
