/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Arrays from user space, and the syncobjs in them. */
#ifndef NPU_SYNC_H
#define NPU_SYNC_H

#include <linux/types.h>

struct dma_fence;
struct dma_fence_chain;
struct drm_file;
struct drm_npu_array;
struct drm_sched_job;
struct drm_syncobj;

/* Most syncobjs in one array. */
#define NPU_MAX_SYNCS	256

/* What will get the fence of a submission. */
struct npu_signal {
	struct drm_syncobj *syncobj;
	/* Timelines: allocated where that may fail. */
	struct dma_fence_chain *chain;
	u64 point;
};

struct npu_signals {
	struct npu_signal *array;
	u32 count;
};

void *npu_array_copy(const struct drm_npu_array *array, size_t size, u32 max);

int npu_waits_add(struct drm_sched_job *job, struct drm_file *file,
		  const struct drm_npu_array *array);

int npu_signals_init(struct npu_signals *signals, struct drm_file *file,
		     const struct drm_npu_array *array);
void npu_signals_attach(struct npu_signals *signals, struct dma_fence *fence);
void npu_signals_fini(struct npu_signals *signals);

#endif
