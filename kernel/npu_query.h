/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* DEV_QUERY. */
#ifndef NPU_QUERY_H
#define NPU_QUERY_H

struct drm_device;
struct drm_file;
struct drm_npu_telemetry;
struct npu_device;

int npu_telemetry(struct npu_device *npu, struct drm_npu_telemetry *telemetry);
void npu_telemetry_keep(struct npu_device *npu);
int npu_dev_query_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

#endif
