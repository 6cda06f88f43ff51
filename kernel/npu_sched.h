/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Memory of schedulers, which their fences outlive. */
#ifndef NPU_SCHED_H
#define NPU_SCHED_H

struct drm_gpu_scheduler;

struct drm_gpu_scheduler *npu_sched_get(const char *name);
void npu_sched_put(struct drm_gpu_scheduler *sched);
void npu_sched_free_all(void);

#endif
