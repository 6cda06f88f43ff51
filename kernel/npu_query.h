/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* DEV_QUERY. */
#ifndef NPU_QUERY_H
#define NPU_QUERY_H

struct drm_device;
struct drm_file;

int npu_dev_query_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

#endif
