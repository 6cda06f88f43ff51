// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Card memory: a TTM resource manager on drm_buddy. */
#include <linux/dma-mapping.h>
#include <linux/slab.h>

#include <drm/drm_vma_manager.h>
#include <drm/ttm/ttm_bo.h>
#include <drm/ttm/ttm_placement.h>
#include <drm/ttm/ttm_tt.h>

#include "npu_device.h"
#include "npu_hw.h"
#include "npu_vram.h"

static struct npu_vram *to_npu_vram(struct ttm_resource_manager *manager)
{
	return container_of(manager, struct npu_vram, manager);
}

static struct npu_vram_resource *to_npu_vram_resource(struct ttm_resource *resource)
{
	return container_of(resource, struct npu_vram_resource, base);
}

static int npu_vram_alloc(struct ttm_resource_manager *manager, struct ttm_buffer_object *bo,
			  const struct ttm_place *place, struct ttm_resource **out)
{
	struct npu_vram *vram = to_npu_vram(manager);
	struct npu_vram_resource *resource;
	unsigned long flags = 0;
	u64 start = (u64)place->fpfn << PAGE_SHIFT;
	u64 end = place->lpfn ? (u64)place->lpfn << PAGE_SHIFT : manager->size;
	int ret;

	resource = kzalloc(sizeof(*resource), GFP_KERNEL_ACCOUNT);
	if (!resource)
		return -ENOMEM;
	INIT_LIST_HEAD(&resource->blocks);
	ttm_resource_init(bo, place, &resource->base);

	if (start || place->lpfn)
		flags |= GPU_BUDDY_RANGE_ALLOCATION;
	if (place->flags & TTM_PL_FLAG_TOPDOWN)
		flags |= GPU_BUDDY_TOPDOWN_ALLOCATION;
	mutex_lock(&vram->lock);
	ret = gpu_buddy_alloc_blocks(&vram->mm, start, end, resource->base.size, PAGE_SIZE,
				     &resource->blocks, flags);
	if (!ret)
		list_add_tail(&resource->node, &vram->used);
	mutex_unlock(&vram->lock);
	if (ret) {
		ttm_resource_fini(manager, &resource->base);
		kfree(resource);
		return ret;
	}
	resource->base.start =
		gpu_buddy_block_offset(list_first_entry(&resource->blocks,
							struct gpu_buddy_block, link)) >>
		PAGE_SHIFT;
	*out = &resource->base;
	return 0;
}

static void npu_vram_free(struct ttm_resource_manager *manager, struct ttm_resource *base)
{
	struct npu_vram *vram = to_npu_vram(manager);
	struct npu_vram_resource *resource = to_npu_vram_resource(base);

	mutex_lock(&vram->lock);
	list_del(&resource->node);
	gpu_buddy_free_list(&vram->mm, &resource->blocks, 0);
	mutex_unlock(&vram->lock);
	ttm_resource_fini(manager, base);
	kfree(resource);
}

/* Bytes of the resource that lie in [start, end) of card memory. */
static u64 npu_vram_bytes_in(struct npu_vram *vram, struct ttm_resource *base, u64 start, u64 end)
{
	struct gpu_buddy_block *block;
	u64 bytes = 0;

	list_for_each_entry(block, &to_npu_vram_resource(base)->blocks, link) {
		u64 first = gpu_buddy_block_offset(block);
		u64 last = first + gpu_buddy_block_size(&vram->mm, block);

		if (first < end && last > start)
			bytes += min(last, end) - max(first, start);
	}
	return bytes;
}

static u64 npu_vram_bytes_at(struct ttm_resource_manager *manager, struct ttm_resource *base,
			     const struct ttm_place *place)
{
	return npu_vram_bytes_in(to_npu_vram(manager), base, (u64)place->fpfn << PAGE_SHIFT,
				 place->lpfn ? (u64)place->lpfn << PAGE_SHIFT : manager->size);
}

/* Would its eviction make room at @place? */
static bool npu_vram_intersects(struct ttm_resource_manager *manager, struct ttm_resource *base,
				const struct ttm_place *place, size_t size)
{
	return npu_vram_bytes_at(manager, base, place) > 0;
}

/* Is it where @place wants it? */
static bool npu_vram_compatible(struct ttm_resource_manager *manager, struct ttm_resource *base,
				const struct ttm_place *place, size_t size)
{
	return npu_vram_bytes_at(manager, base, place) == base->size;
}

bool npu_vram_visible(struct npu_device *npu, struct ttm_resource *resource)
{
	return npu_vram_bytes_in(&npu->vram, resource, 0, npu->aperture_bytes) == resource->size;
}

static void npu_vram_debug(struct ttm_resource_manager *manager, struct drm_printer *printer)
{
	struct npu_vram *vram = to_npu_vram(manager);

	mutex_lock(&vram->lock);
	drm_buddy_print(&vram->mm, printer);
	mutex_unlock(&vram->lock);
}

static const struct ttm_resource_manager_func npu_vram_func = {
	.alloc = npu_vram_alloc,
	.free = npu_vram_free,
	.intersects = npu_vram_intersects,
	.compatible = npu_vram_compatible,
	.debug = npu_vram_debug,
};

int npu_vram_init(struct npu_device *npu)
{
	struct npu_vram *vram = &npu->vram;
	u64 bytes = (u64)npu->target.card_memory_mib << 20;
	int ret;

	ret = drmm_mutex_init(&npu->drm, &vram->lock);
	if (ret)
		return ret;
	INIT_LIST_HEAD(&vram->used);
	INIT_LIST_HEAD(&vram->saved);
	ret = gpu_buddy_init(&vram->mm, bytes, PAGE_SIZE);
	if (ret)
		return ret;
	vram->manager.func = &npu_vram_func;
	ttm_resource_manager_init(&vram->manager, &npu->ttm, bytes);
	ttm_set_driver_manager(&npu->ttm, TTM_PL_VRAM, &vram->manager);
	ttm_resource_manager_set_used(&vram->manager, true);
	return 0;
}

/* All buffers are gone. */
void npu_vram_fini(struct npu_device *npu)
{
	struct npu_vram *vram = &npu->vram;

	ttm_resource_manager_set_used(&vram->manager, false);
	ttm_resource_manager_evict_all(&npu->ttm, &vram->manager);
	ttm_resource_manager_cleanup(&vram->manager);
	ttm_set_driver_manager(&npu->ttm, TTM_PL_VRAM, NULL);
	gpu_buddy_fini(&vram->mm);
}

/* ---- Sleep ---- */

/* The next access of the CPU through the aperture is a page fault. */
void npu_vram_unmap_cpu(struct npu_device *npu)
{
	struct npu_vram_resource *resource;

	mutex_lock(&npu->vram.lock);
	list_for_each_entry(resource, &npu->vram.used, node)
		drm_vma_node_unmap(&resource->base.bo->base.vma_node, npu->ttm.dev_mapping);
	mutex_unlock(&npu->vram.lock);
}

/* A copy of a run of card memory. */
struct npu_saved {
	struct list_head node;
	u64 address;
	size_t bytes;
	void *copy;
	dma_addr_t dma;
};

#define NPU_SAVED_BYTES		SZ_1M

static int npu_vram_save_run(struct npu_device *npu, u64 address, u64 bytes)
{
	struct npu_packet packet;
	struct npu_saved *saved;
	int ret = 0;

	while (bytes && !ret) {
		saved = kzalloc(sizeof(*saved), GFP_KERNEL);
		if (!saved)
			return -ENOMEM;
		saved->address = address;
		saved->bytes = min(bytes, NPU_SAVED_BYTES);
		saved->copy = npu_hw_alloc(npu, &saved->bytes, &saved->dma, GFP_KERNEL);
		if (!saved->copy) {
			kfree(saved);
			return -ENOMEM;
		}
		list_add_tail(&saved->node, &npu->vram.saved);
		npu_packet_copy(&packet, NPU_MEMORY_CARD, address, NPU_MEMORY_HOST, saved->dma,
				saved->bytes);
		ret = npu_kqueue_run(npu, &packet, 1);
		address += saved->bytes;
		bytes -= saved->bytes;
	}
	return ret;
}

static void npu_vram_forget(struct npu_device *npu, struct npu_saved *saved)
{
	list_del(&saved->node);
	dma_free_coherent(npu->drm.dev, saved->bytes, saved->copy, saved->dma);
	kfree(saved);
}

/**
 * npu_vram_save - copy the card memory that buffers have to host memory
 * @npu: device; queue 0 works, and nothing else runs
 *
 * The buffers stay where they are. Returns 0, or an error and has done nothing.
 */
int npu_vram_save(struct npu_device *npu)
{
	struct npu_vram *vram = &npu->vram;
	struct npu_vram_resource *resource;
	struct gpu_buddy_block *block;
	struct npu_saved *saved, *next;
	int ret = 0;

	/* TTM may be freeing some: what the list says stays true until all is copied. */
	mutex_lock(&vram->lock);
	list_for_each_entry(resource, &vram->used, node) {
		list_for_each_entry(block, &resource->blocks, link) {
			ret = npu_vram_save_run(npu, gpu_buddy_block_offset(block),
						gpu_buddy_block_size(&vram->mm, block));
			if (ret)
				goto out;
		}
	}
out:
	mutex_unlock(&vram->lock);
	if (ret)
		list_for_each_entry_safe(saved, next, &vram->saved, node)
			npu_vram_forget(npu, saved);
	return ret;
}

/* Back to where it was. An error leaves card memory undefined. */
int npu_vram_restore(struct npu_device *npu)
{
	struct npu_saved *saved, *next;
	struct npu_packet packet;
	int ret = 0;

	list_for_each_entry_safe(saved, next, &npu->vram.saved, node) {
		npu_packet_copy(&packet, NPU_MEMORY_HOST, saved->dma, NPU_MEMORY_CARD,
				saved->address, saved->bytes);
		ret = ret ?: npu_kqueue_run(npu, &packet, 1);
		npu_vram_forget(npu, saved);
	}
	return ret;
}

/* ---- Runs of device addresses ---- */

/* Offset to the run that contains it; merges runs that happen to touch. */
static void npu_extent_load(struct npu_extent *extent)
{
	u64 run;

	if (!extent->left) {
		extent->bytes = 0;
		return;
	}
	if (extent->vram) {
		struct gpu_buddy *mm = &extent->npu->vram.mm;

		/* offset is relative to block. */
		while (extent->offset >= gpu_buddy_block_size(mm, extent->block)) {
			extent->offset -= gpu_buddy_block_size(mm, extent->block);
			extent->block = list_next_entry(extent->block, link);
		}
		extent->address = gpu_buddy_block_offset(extent->block) + extent->offset;
		run = gpu_buddy_block_size(mm, extent->block) - extent->offset;
	} else {
		const dma_addr_t *pages = extent->tt->dma_address;
		u64 page = extent->offset >> PAGE_SHIFT;

		extent->address = pages[page] + offset_in_page(extent->offset);
		run = PAGE_SIZE - offset_in_page(extent->offset);
		while (run < extent->left && ++page < extent->tt->num_pages &&
		       pages[page] == pages[page - 1] + PAGE_SIZE)
			run += PAGE_SIZE;
	}
	extent->bytes = min(run, extent->left);
}

/**
 * npu_extent_first - start a walk
 * @extent: the walk
 * @npu: device
 * @resource: in TTM_PL_VRAM or TTM_PL_TT; the buffer is reserved
 * @tt: populated pages, for TTM_PL_TT
 * @offset: in the buffer
 * @bytes: > 0, ends within the buffer
 */
void npu_extent_first(struct npu_extent *extent, struct npu_device *npu,
		      struct ttm_resource *resource, struct ttm_tt *tt,
		      u64 offset, u64 bytes)
{
	*extent = (struct npu_extent) {
		.npu = npu,
		.offset = offset,
		.left = bytes,
		.card = resource->mem_type == TTM_PL_VRAM,
		.tt = tt,
	};
	if (extent->card) {
		extent->vram = to_npu_vram_resource(resource);
		extent->block = list_first_entry(&extent->vram->blocks,
						 struct gpu_buddy_block, link);
	}
	npu_extent_load(extent);
}

/* Steps over @consumed bytes, at most those of the run. At the end bytes is 0. */
void npu_extent_next(struct npu_extent *extent, u64 consumed)
{
	extent->offset += consumed;
	extent->left -= consumed;
	if (consumed < extent->bytes) {
		extent->address += consumed;
		extent->bytes -= consumed;
	} else {
		npu_extent_load(extent);
	}
}

/* Steps over @bytes, any number of runs, at most to the end. */
void npu_extent_skip(struct npu_extent *extent, u64 bytes)
{
	while (bytes) {
		u64 step = min(bytes, extent->bytes);

		npu_extent_next(extent, step);
		bytes -= step;
	}
}
