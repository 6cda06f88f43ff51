// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Buffer objects: creation, placement, mapping into user space. */
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_gem.h>
#include <drm/drm_gem_ttm_helper.h>
#include <drm/drm_vma_manager.h>
#include <drm/ttm/ttm_placement.h>

#include "npu_bo.h"
#include "npu_device.h"
#include "npu_pm.h"

static const struct ttm_place npu_place_host = {
	.mem_type = TTM_PL_TT,
};

/*
 * A card buffer for which there is no room is in host memory: jobs work on it there, too.
 * From the top: the aperture, at the bottom, is for those that the CPU turns out to want.
 */
static const struct ttm_place npu_places_card_or_host[] = {
	{ .mem_type = TTM_PL_VRAM, .flags = TTM_PL_FLAG_TOPDOWN },
	{ .mem_type = TTM_PL_TT, .flags = TTM_PL_FLAG_FALLBACK },
};

/* What is pinned is so in host memory, for another device. */
static struct ttm_placement npu_bo_placement(const struct npu_bo *bo)
{
	if (bo->placement == DRM_NPU_PLACEMENT_CARD && !bo->tbo.pin_count)
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

/* The same, but to host memory. */
int npu_bo_validate_host(struct npu_bo *bo)
{
	struct ttm_operation_ctx ctx = { .interruptible = true };
	struct ttm_placement placement = {
		.num_placement = 1,
		.placement = &npu_place_host,
	};

	return ttm_bo_validate(&bo->tbo, &placement, &ctx);
}

/* ---- Mapping into user space ---- */

/*
 * Where the CPU reaches it: in the aperture, whose other buffers may have to leave, or else
 * in host memory.
 */
static vm_fault_t npu_bo_make_visible(struct npu_bo *bo)
{
	struct npu_device *npu = to_npu(bo->tbo.base.dev);
	const struct ttm_place places[] = {
		{ .mem_type = TTM_PL_VRAM, .lpfn = npu->aperture_bytes >> PAGE_SHIFT },
		{ .mem_type = TTM_PL_TT, .flags = TTM_PL_FLAG_FALLBACK },
	};
	bool too_large = bo->tbo.base.size > npu->aperture_bytes;
	struct ttm_placement placement = {
		.num_placement = ARRAY_SIZE(places) - too_large,
		.placement = &places[too_large],
	};
	struct ttm_operation_ctx ctx = { .interruptible = true };
	struct ttm_resource *resource = bo->tbo.resource;

	if (!resource || resource->mem_type != TTM_PL_VRAM || npu_vram_visible(npu, resource))
		return 0;
	switch (ttm_bo_validate(&bo->tbo, &placement, &ctx)) {
	case 0:
		return 0;
	case -EBUSY:
	case -EINTR:
	case -ERESTARTSYS:
		/* The access is tried again, after the signal. */
		return VM_FAULT_NOPAGE;
	case -ENOMEM:
	case -ENOSPC:
		return VM_FAULT_OOM;
	default:
		return VM_FAULT_SIGBUS;
	}
}

/* As ttm_bo_vm_fault(), with the move in between. */
static vm_fault_t npu_bo_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct ttm_buffer_object *tbo = vma->vm_private_data;
	struct npu_device *npu = to_npu(tbo->base.dev);
	bool card;
	vm_fault_t ret;
	int idx;

	ret = ttm_bo_vm_reserve(tbo, vmf);
	if (ret)
		return ret;
	/* An aperture that sleeps has no mappings: see npu_runtime_suspend(). */
	card = tbo->resource && tbo->resource->mem_type == TTM_PL_VRAM;
	if (!drm_dev_enter(&npu->drm, &idx)) {
		ret = ttm_bo_vm_dummy_page(vmf, vma->vm_page_prot);
	} else if (card && npu_wake(npu)) {
		ret = VM_FAULT_SIGBUS;
		drm_dev_exit(idx);
	} else {
		ret = npu_bo_make_visible(ttm_to_npu_bo(tbo));
		if (!ret)
			ret = ttm_bo_vm_fault_reserved(vmf, vma->vm_page_prot,
						       TTM_BO_VM_NUM_PREFAULT);
		if (card)
			npu_rest_after_fault(npu);
		drm_dev_exit(idx);
	}
	/* It has dropped the reservation with the mmap lock. */
	if (ret == VM_FAULT_RETRY && !(vmf->flags & FAULT_FLAG_RETRY_NOWAIT))
		return ret;
	dma_resv_unlock(tbo->base.resv);
	return ret;
}

static const struct vm_operations_struct npu_bo_vm_ops = {
	.fault = npu_bo_fault,
	.open = ttm_bo_vm_open,
	.close = ttm_bo_vm_close,
	.access = ttm_bo_vm_access,
};

/* ---- Life ---- */

static void npu_bo_destroy(struct ttm_buffer_object *tbo)
{
	struct npu_device *npu = to_npu(tbo->base.dev);
	struct npu_bo *bo = ttm_to_npu_bo(tbo);

	if (tbo->type == ttm_bo_type_device)
		atomic64_sub(tbo->base.size, &npu->buffer_bytes);
	npu_prime_destroy(bo);
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
	.pin = npu_prime_pin,
	.unpin = npu_prime_unpin,
	.get_sg_table = npu_prime_get_sg_table,
	.vmap = drm_gem_ttm_vmap,
	.vunmap = drm_gem_ttm_vunmap,
	.mmap = npu_prime_mmap,
	.vm_ops = &npu_bo_vm_ops,
	.print_info = drm_gem_ttm_print_info,
	.status = npu_bo_status,
};

/* @sgt and @resv, locked, are those of an import, or NULL. */
struct npu_bo *npu_bo_create(struct npu_device *npu, u64 size, u32 placement,
			     struct sg_table *sgt, struct dma_resv *resv)
{
	enum ttm_bo_type type = sgt ? ttm_bo_type_sg : ttm_bo_type_device;
	struct ttm_placement first;
	struct npu_bo *bo;
	int ret;

	bo = kzalloc(sizeof(*bo), GFP_KERNEL_ACCOUNT);
	if (!bo)
		return ERR_PTR(-ENOMEM);
	bo->placement = placement;
	INIT_LIST_HEAD(&bo->import_node);
	first = npu_bo_placement(bo);
	if (!sgt && atomic64_add_return(size, &npu->buffer_bytes) > npu->buffer_limit) {
		atomic64_sub(size, &npu->buffer_bytes);
		kfree(bo);
		return ERR_PTR(placement == DRM_NPU_PLACEMENT_CARD ? -ENOSPC : -ENOMEM);
	}
	drm_gem_private_object_init(&npu->drm, &bo->tbo.base, size);
	bo->tbo.base.funcs = &npu_bo_funcs;
	atomic_inc(&npu->buffers);

	/* Calls npu_bo_destroy() when it fails. */
	ret = ttm_bo_init_validate(&npu->ttm, &bo->tbo, type, &first, 0, true, sgt, resv,
				   npu_bo_destroy);
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
	if (args->size > npu->buffer_limit)
		return -ENOMEM;
	size = PAGE_ALIGN(args->size);

	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	bo = npu_bo_create(npu, size, args->placement, NULL, NULL);
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
