/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Attributes of the PCI device. */
#ifndef NPU_SYSFS_H
#define NPU_SYSFS_H

struct attribute_group;

extern const struct attribute_group *npu_dev_groups[];

#endif
