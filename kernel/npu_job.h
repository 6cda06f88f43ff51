/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* SUBMIT: from the ioctl to the fence. */
#ifndef NPU_JOB_H
#define NPU_JOB_H

#include <drm/gpu_scheduler.h>

struct drm_device;
struct drm_file;

/* Most jobs of one SUBMIT: a quarter of a ring, so that several are queued. */
#define NPU_MAX_JOBS	128

extern const struct drm_sched_backend_ops npu_job_sched_ops;

int npu_submit_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

#endif
