/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The only place that knows kernels differ. NPU_HAVE_* come from the compile
 * probes in kernel/probes, run by kernel/configure.sh against the very headers
 * that the module is built with: Debian's 6.12 updates changed interfaces
 * without changing the version's first two numbers. The rest of the driver is
 * written against the newest form.
 */
#ifndef NPU_COMPAT_H
#define NPU_COMPAT_H

#include <linux/err.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include <drm/drm_buddy.h>
#include <drm/drm_device.h>
#include <drm/drm_file.h>
#include <drm/drm_gpuvm.h>
#include <drm/drm_managed.h>
#include <drm/gpu_scheduler.h>
#include <drm/ttm/ttm_bo.h>
#include <drm/ttm/ttm_device.h>

#include "npu_config.h"

/* ---- drm_sched ---- */

#ifdef NPU_HAVE_SCHED_STAT_RESET
#define NPU_SCHED_STAT_HANDLED	DRM_GPU_SCHED_STAT_RESET
#else
#define NPU_SCHED_STAT_HANDLED	DRM_GPU_SCHED_STAT_NOMINAL
#endif

/* A scheduler for one entity, without a timeout. */
static inline int npu_sched_init(struct drm_gpu_scheduler *sched,
				 const struct drm_sched_backend_ops *ops,
				 struct workqueue_struct *wq, u32 credits,
				 const char *name, struct device *dev)
{
#ifdef NPU_HAVE_SCHED_INIT_ARGS
	const struct drm_sched_init_args args = {
		.ops = ops,
		.submit_wq = wq,
#ifdef NPU_HAVE_SCHED_NUM_RQS
		.num_rqs = DRM_SCHED_PRIORITY_COUNT,
#endif
		.credit_limit = credits,
		.timeout = MAX_SCHEDULE_TIMEOUT,
		.name = name,
		.dev = dev,
	};

	return drm_sched_init(sched, &args);
#else
	return drm_sched_init(sched, ops, wq, DRM_SCHED_PRIORITY_COUNT, credits, 0,
			      MAX_SCHEDULE_TIMEOUT, NULL, NULL, name, dev);
#endif
}

static inline int npu_sched_job_init(struct drm_sched_job *job,
				     struct drm_sched_entity *entity, u32 credits,
				     void *owner, struct drm_file *file)
{
#ifdef NPU_HAVE_SCHED_JOB_CLIENT
	return drm_sched_job_init(job, entity, credits, owner, file->client_id);
#else
	return drm_sched_job_init(job, entity, credits, owner);
#endif
}

/* ---- TTM ---- */

#ifndef NPU_HAVE_TTM_BO_FINI
#define ttm_bo_fini	ttm_bo_put
#endif

/* Plain pages, anywhere or below 4 GiB, mapped for DMA one by one. */
static inline int npu_ttm_device_init(struct ttm_device *ttm,
				      const struct ttm_device_funcs *funcs,
				      struct drm_device *drm, bool dma32)
{
#ifdef NPU_HAVE_TTM_DEVICE_FLAGS
	return ttm_device_init(ttm, funcs, drm->dev, drm->anon_inode->i_mapping,
			       drm->vma_offset_manager,
			       dma32 ? TTM_ALLOCATION_POOL_USE_DMA32 : 0);
#else
	return ttm_device_init(ttm, funcs, drm->dev, drm->anon_inode->i_mapping,
			       drm->vma_offset_manager, false, dma32);
#endif
}

/* ---- Buddy allocator: its core has left DRM ---- */

#ifndef NPU_HAVE_GPU_BUDDY
#define gpu_buddy			drm_buddy
#define gpu_buddy_block			drm_buddy_block
#define gpu_buddy_init			drm_buddy_init
#define gpu_buddy_fini			drm_buddy_fini
#define gpu_buddy_alloc_blocks		drm_buddy_alloc_blocks
#define gpu_buddy_free_list		drm_buddy_free_list
#define gpu_buddy_block_offset		drm_buddy_block_offset
#define gpu_buddy_block_size		drm_buddy_block_size
#define GPU_BUDDY_RANGE_ALLOCATION	DRM_BUDDY_RANGE_ALLOCATION
#define GPU_BUDDY_TOPDOWN_ALLOCATION	DRM_BUDDY_TOPDOWN_ALLOCATION
#endif

/* ---- drm_gpuvm ---- */

#ifdef NPU_HAVE_GEM_GPUVA_FEATURE
#define NPU_DRIVER_GEM_GPUVA	DRIVER_GEM_GPUVA
#else
#define NPU_DRIVER_GEM_GPUVA	0
#endif

static inline struct drm_gpuvm_bo *npu_gpuvm_bo_obtain(struct drm_gpuvm *gpuvm,
						       struct drm_gem_object *obj)
{
#ifdef NPU_HAVE_GPUVM_BO_OBTAIN_LOCKED
	return drm_gpuvm_bo_obtain_locked(gpuvm, obj);
#else
	return drm_gpuvm_bo_obtain(gpuvm, obj);
#endif
}

static inline int npu_gpuvm_sm_map(struct drm_gpuvm *gpuvm, void *priv, u64 va, u64 size,
				   struct drm_gem_object *obj, u64 offset)
{
#ifdef NPU_HAVE_GPUVM_MAP_REQ
	const struct drm_gpuvm_map_req req = {
		.map.va.addr = va,
		.map.va.range = size,
		.map.gem.obj = obj,
		.map.gem.offset = offset,
	};

	return drm_gpuvm_sm_map(gpuvm, priv, &req);
#else
	return drm_gpuvm_sm_map(gpuvm, priv, va, size, obj, offset);
#endif
}

/* ---- fdinfo ---- */

#ifdef NPU_HAVE_GEM_OBJECT_ACTIVE
#define NPU_MEMORY_STATS	(DRM_GEM_OBJECT_RESIDENT | DRM_GEM_OBJECT_ACTIVE)
#else
#define NPU_MEMORY_STATS	DRM_GEM_OBJECT_RESIDENT
#endif

/* ---- Managed resources ---- */

static inline void npu_drmm_destroy_workqueue(struct drm_device *drm, void *wq)
{
	destroy_workqueue(wq);
}

/* Unbound, and able to run under memory pressure: fences depend on it. */
static inline struct workqueue_struct *npu_drmm_alloc_workqueue(struct drm_device *drm,
								const char *name)
{
	struct workqueue_struct *wq =
		alloc_workqueue("%s", WQ_UNBOUND | WQ_MEM_RECLAIM, 0, name);
	int ret;

	if (!wq)
		return ERR_PTR(-ENOMEM);
	ret = drmm_add_action_or_reset(drm, npu_drmm_destroy_workqueue, wq);
	return ret ? ERR_PTR(ret) : wq;
}

/* ---- uaccess ---- */

#ifndef NPU_HAVE_COPY_STRUCT_TO_USER
/* Copies min(usize, ksize) bytes and zeroes the rest of the user's buffer. */
static inline int npu_copy_struct_to_user(void __user *dst, size_t usize, const void *src,
					  size_t ksize)
{
	size_t size = min(ksize, usize);

	if (usize > size && clear_user(dst + size, usize - size))
		return -EFAULT;
	return copy_to_user(dst, src, size) ? -EFAULT : 0;
}
#else
static inline int npu_copy_struct_to_user(void __user *dst, size_t usize, const void *src,
					  size_t ksize)
{
	return copy_struct_to_user(dst, usize, src, ksize, NULL);
}
#endif

#endif
