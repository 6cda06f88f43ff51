// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Arrays from user space, and the syncobjs in them. */
#include <linux/dma-fence-chain.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <drm/drm_syncobj.h>
#include <drm/gpu_scheduler.h>
#include <uapi/drm/npu_accel.h>

#include "npu_compat.h"
#include "npu_sync.h"

/* An element of a later version is at most this long. */
#define NPU_MAX_STRIDE	1024

/**
 * npu_array_copy - copy an array of structs
 * @array: from user space
 * @size: of one struct in this version; longer ones must be zero beyond it
 * @max: most elements
 *
 * Returns NULL for an empty array, the copy for kvfree(), or an ERR_PTR.
 */
void *npu_array_copy(const struct drm_npu_array *array, size_t size, u32 max)
{
	void *copy;
	u32 i;
	int ret;

	if (!array->count)
		return NULL;
	if (array->count > max || array->stride < size || array->stride > NPU_MAX_STRIDE ||
	    array->stride % 8)
		return ERR_PTR(-EINVAL);
	copy = kvcalloc(array->count, size, GFP_KERNEL);
	if (!copy)
		return ERR_PTR(-ENOMEM);
	for (i = 0; i < array->count; i++) {
		ret = copy_struct_from_user(copy + i * size, size,
					    u64_to_user_ptr(array->array) +
					    (u64)i * array->stride, array->stride);
		if (ret) {
			kvfree(copy);
			/* Bytes of a later version that this one would ignore. */
			return ERR_PTR(ret == -E2BIG ? -EINVAL : ret);
		}
	}
	return copy;
}

static bool npu_sync_valid(const struct drm_npu_sync *sync)
{
	if (sync->flags & ~DRM_NPU_SYNC_TIMELINE)
		return false;
	return !(sync->flags & DRM_NPU_SYNC_TIMELINE) == !sync->point;
}

/* Makes the job wait for what the array names. */
int npu_waits_add(struct drm_sched_job *job, struct drm_file *file,
		  const struct drm_npu_array *array)
{
	struct drm_npu_sync *syncs = npu_array_copy(array, sizeof(*syncs), NPU_MAX_SYNCS);
	int ret = 0;
	u32 i;

	if (IS_ERR(syncs))
		return PTR_ERR(syncs);
	for (i = 0; i < array->count && !ret; i++) {
		if (!npu_sync_valid(&syncs[i]))
			ret = -EINVAL;
		else
			ret = drm_sched_job_add_syncobj_dependency(job, file,
								   syncs[i].handle,
								   syncs[i].point);
	}
	kvfree(syncs);
	return ret;
}

/* Finds what to signal. On failure nothing is left to undo. */
int npu_signals_init(struct npu_signals *signals, struct drm_file *file,
		     const struct drm_npu_array *array)
{
	struct drm_npu_sync *syncs = npu_array_copy(array, sizeof(*syncs), NPU_MAX_SYNCS);
	int ret = 0;
	u32 i;

	*signals = (struct npu_signals) {};
	if (IS_ERR_OR_NULL(syncs))
		return PTR_ERR_OR_ZERO(syncs);

	signals->array = kvcalloc(array->count, sizeof(*signals->array), GFP_KERNEL);
	if (!signals->array) {
		kvfree(syncs);
		return -ENOMEM;
	}
	for (i = 0; i < array->count; i++) {
		struct npu_signal *signal = &signals->array[i];

		if (!npu_sync_valid(&syncs[i])) {
			ret = -EINVAL;
			break;
		}
		signals->count = i + 1;
		signal->point = syncs[i].point;
		signal->syncobj = drm_syncobj_find(file, syncs[i].handle);
		if (!signal->syncobj) {
			ret = -ENOENT;
			break;
		}
		if (signal->point) {
			signal->chain = dma_fence_chain_alloc();
			if (!signal->chain) {
				ret = -ENOMEM;
				break;
			}
		}
	}
	kvfree(syncs);
	if (ret)
		npu_signals_fini(signals);
	return ret;
}

/* Cannot fail. */
void npu_signals_attach(struct npu_signals *signals, struct dma_fence *fence)
{
	u32 i;

	for (i = 0; i < signals->count; i++) {
		struct npu_signal *signal = &signals->array[i];

		if (signal->chain) {
			drm_syncobj_add_point(signal->syncobj, signal->chain, fence,
					      signal->point);
			signal->chain = NULL;	/* the syncobj's now */
		} else {
			drm_syncobj_replace_fence(signal->syncobj, fence);
		}
	}
}

void npu_signals_fini(struct npu_signals *signals)
{
	u32 i;

	for (i = 0; i < signals->count; i++) {
		dma_fence_chain_free(signals->array[i].chain);
		if (signals->array[i].syncobj)
			drm_syncobj_put(signals->array[i].syncobj);
	}
	kvfree(signals->array);
	*signals = (struct npu_signals) {};
}
