/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Buffer objects and where they live. */
#ifndef NPU_BO_H
#define NPU_BO_H

#include <drm/ttm/ttm_bo.h>

struct drm_device;
struct drm_file;
struct npu_device;

struct npu_bo {
	struct ttm_buffer_object tbo;
	/* enum drm_npu_placement: where it belongs; eviction may have moved it. */
	u32 placement;
};

static inline struct npu_bo *ttm_to_npu_bo(struct ttm_buffer_object *tbo)
{
	return container_of(tbo, struct npu_bo, tbo);
}

static inline struct npu_bo *gem_to_npu_bo(struct drm_gem_object *obj)
{
	return container_of(obj, struct npu_bo, tbo.base);
}

int npu_bo_validate(struct npu_bo *bo);
int npu_bo_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int npu_bo_mmap_offset_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

int npu_ttm_init(struct npu_device *npu);

#endif
