// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Buffer objects: creation, placement, mapping into user space. */
#include <linux/slab.h>

#include <drm/drm_gem.h>
#include <drm/drm_gem_ttm_helper.h>
#include <drm/drm_vma_manager.h>
#include <drm/ttm/ttm_placement.h>

#include "npu_bo.h"
#include "npu_device.h"

static const struct ttm_place npu_place_host = {
	.mem_type = TTM_PL_TT,
};

/* A card buffer for which there is no room is in host memory: jobs work on it there, too. */
static const struct ttm_place npu_places_card_or_host[] = {
	{ .mem_type = TTM_PL_VRAM },
	{ .mem_type = TTM_PL_TT, .flags = TTM_PL_FLAG_FALLBACK },
};

static struct ttm_placement npu_bo_placement(const struct npu_bo *bo)
{
	if (bo->placement == DRM_NPU_PLACEMENT_CARD)
		return (struct ttm_placement) {
			.num_placement = ARRAY_SIZE(npu_places_card_or_host),
			.placement = npu_places_card_or_host,
		};
	return (struct ttm_placement) {
		.num_placement = 1,
		.placement = &npu_place_host,
	};
}

/**
 * npu_bo_validate - bring a buffer to where the card can access it
 * @bo: reserved buffer
 *
 * May sleep, evict others and copy; the contents are there on return.
 */
int npu_bo_validate(struct npu_bo *bo)
{
	struct ttm_operation_ctx ctx = { .interruptible = true };
	struct ttm_placement placement = npu_bo_placement(bo);

	return ttm_bo_validate(&bo->tbo, &placement, &ctx);
}

static void npu_bo_destroy(struct ttm_buffer_object *tbo)
{
	struct npu_device *npu = to_npu(tbo->base.dev);
	struct npu_bo *bo = ttm_to_npu_bo(tbo);

	atomic_dec(&npu->buffers);
	drm_gem_object_release(&tbo->base);
	kfree(bo);
}

static void npu_bo_free(struct drm_gem_object *obj)
{
	ttm_bo_fini(&gem_to_npu_bo(obj)->tbo);
}

static enum drm_gem_object_status npu_bo_status(struct drm_gem_object *obj)
{
	struct ttm_resource *resource = READ_ONCE(gem_to_npu_bo(obj)->tbo.resource);

	return resource ? DRM_GEM_OBJECT_RESIDENT : 0;
}

static const struct drm_gem_object_funcs npu_bo_funcs = {
	.free = npu_bo_free,
	.mmap = drm_gem_ttm_mmap,
	.print_info = drm_gem_ttm_print_info,
	.status = npu_bo_status,
};

static struct npu_bo *npu_bo_create(struct npu_device *npu, u64 size, u32 placement)
{
	struct ttm_placement first;
	struct npu_bo *bo;
	int ret;

	bo = kzalloc(sizeof(*bo), GFP_KERNEL);
	if (!bo)
		return ERR_PTR(-ENOMEM);
	bo->placement = placement;
	first = npu_bo_placement(bo);
	drm_gem_private_object_init(&npu->drm, &bo->tbo.base, size);
	bo->tbo.base.funcs = &npu_bo_funcs;
	atomic_inc(&npu->buffers);

	/* Calls npu_bo_destroy() when it fails. */
	ret = ttm_bo_init_validate(&npu->ttm, &bo->tbo, ttm_bo_type_device, &first, 0,
				   true, NULL, NULL, npu_bo_destroy);
	if (ret == -ENOMEM && placement == DRM_NPU_PLACEMENT_CARD)
		ret = -ENOSPC;
	return ret ? ERR_PTR(ret) : bo;
}

int npu_bo_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct npu_device *npu = to_npu(drm);
	struct drm_npu_bo_create *args = data;
	u64 card_bytes = (u64)npu->target.card_memory_mib << 20;
	struct npu_bo *bo;
	u64 size;
	int ret;
	int idx;

	if (args->flags || args->pad || !args->size ||
	    args->placement > DRM_NPU_PLACEMENT_CARD)
		return -EINVAL;
	if (args->placement == DRM_NPU_PLACEMENT_CARD && args->size > card_bytes)
		return -ENOSPC;
	if (args->size > (u64)totalram_pages() << PAGE_SHIFT &&
	    args->placement == DRM_NPU_PLACEMENT_HOST)
		return -ENOMEM;
	size = PAGE_ALIGN(args->size);

	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	bo = npu_bo_create(npu, size, args->placement);
	drm_dev_exit(idx);
	if (IS_ERR(bo))
		return PTR_ERR(bo);

	ret = drm_gem_handle_create(file, &bo->tbo.base, &args->handle);
	if (!ret)
		args->size = size;
	/* The handle keeps it. */
	drm_gem_object_put(&bo->tbo.base);
	return ret;
}

int npu_bo_mmap_offset_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_npu_bo_mmap_offset *args = data;
	struct drm_gem_object *obj;

	if (args->pad)
		return -EINVAL;
	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;
	args->offset = drm_vma_node_offset_addr(&obj->vma_node);
	drm_gem_object_put(obj);
	return 0;
}
