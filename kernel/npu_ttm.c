// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * TTM's view of the card: pages of host memory, moves between host and card
 * memory through queue 0, and the CPU's window on card memory.
 *
 * Moves are synchronous: they wait for the buffer's jobs, remove its
 * translations, copy, and return when the copy is done.
 */
#include <linux/dma-mapping.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/swiotlb.h>

#include <drm/drm_drv.h>
#include <drm/drm_managed.h>
#include <drm/drm_prime.h>
#include <drm/ttm/ttm_placement.h>
#include <drm/ttm/ttm_range_manager.h>
#include <drm/ttm/ttm_tt.h>

#include "npu_bo.h"
#include "npu_device.h"
#include "npu_pm.h"
#include "npu_vm.h"

/* Packets of one batch of a clear or a copy. */
#define NPU_MOVE_BATCH		16

/* As many as TTM allows itself below 4 GiB. */
#define NPU_DMA32_PAGES		(SZ_2G >> PAGE_SHIFT)

static struct npu_device *ttm_to_npu(struct ttm_device *bdev)
{
	return container_of(bdev, struct npu_device, ttm);
}

/* ---- Host pages: cached, coherent, mapped for DMA by TTM's pool ---- */

struct npu_tt {
	struct ttm_tt base;
	struct ttm_buffer_object *tbo;
	/* TTM took them for freed; other devices use them. */
	bool kept;
};

static struct ttm_tt *npu_ttm_tt_create(struct ttm_buffer_object *tbo, u32 page_flags)
{
	struct npu_tt *tt = kzalloc(sizeof(*tt), GFP_KERNEL_ACCOUNT);

	if (!tt)
		return NULL;
	tt->tbo = tbo;
	/*
	 * Zeroed also when an evicted buffer is about to fill it: the card may
	 * be gone before the copy, and user space would see the pages.
	 */
	page_flags |= TTM_TT_FLAG_ZERO_ALLOC;
	if (ttm_sg_tt_init(&tt->base, tbo, page_flags, ttm_cached)) {
		kfree(tt);
		return NULL;
	}
	return &tt->base;
}

static int npu_ttm_tt_populate(struct ttm_device *bdev, struct ttm_tt *tt,
			       struct ttm_operation_ctx *ctx)
{
	int ret;
	int idx;

	/* The CPU may want pages that remove() has taken, to read them as a debugger does. */
	if (!drm_dev_enter(&ttm_to_npu(bdev)->drm, &idx))
		return -ENODEV;
	if (tt->page_flags & TTM_TT_FLAG_EXTERNAL)
		ret = drm_prime_sg_to_dma_addr_array(tt->sg, tt->dma_address, tt->num_pages);
	else
		ret = ttm_pool_alloc(&bdev->pool, tt, ctx);
	drm_dev_exit(idx);
	return ret;
}

/*
 * The card's mappings of pages that stay: as ttm_pool_free() undoes them, which finds
 * the order of a run of pages in its first one.
 */
static void npu_ttm_unmap(struct ttm_device *bdev, struct ttm_tt *tt)
{
	u32 i, run;

	for (i = 0; i < tt->num_pages; i += run) {
		run = 1u << page_private(tt->pages[i]);
		dma_unmap_page(bdev->pool.dev, tt->dma_address[i], (size_t)run << PAGE_SHIFT,
			       DMA_BIDIRECTIONAL);
	}
	/* Part of the allocation that pages points to. */
	tt->dma_address = NULL;
}

/*
 * Pages of a buffer that is pinned are unpopulated only by remove(), and then
 * the devices that it is pinned for go on using them.
 */
static void npu_ttm_tt_unpopulate(struct ttm_device *bdev, struct ttm_tt *tt)
{
	struct npu_tt *ntt = container_of(tt, struct npu_tt, base);

	if (tt->page_flags & TTM_TT_FLAG_EXTERNAL)
		return;
	if (ntt->tbo->pin_count) {
		npu_ttm_unmap(bdev, tt);
		ntt->kept = true;
	} else {
		ttm_pool_free(&bdev->pool, tt);
	}
}

static void npu_ttm_tt_destroy(struct ttm_device *bdev, struct ttm_tt *tt)
{
	struct npu_tt *ntt = container_of(tt, struct npu_tt, base);

	if (ntt->kept)
		ttm_pool_free(&bdev->pool, tt);
	ttm_tt_fini(tt);
	kfree(ntt);
}

/* ---- Moves ---- */

static void npu_ttm_evict_flags(struct ttm_buffer_object *tbo, struct ttm_placement *placement)
{
	static const struct ttm_place host = { .mem_type = TTM_PL_TT };
	static const struct ttm_place system = { .mem_type = TTM_PL_SYSTEM };
	bool card = tbo->resource && tbo->resource->mem_type == TTM_PL_VRAM;

	placement->num_placement = 1;
	placement->placement = card ? &host : &system;
}

/* Zeroes card memory that a buffer is about to get. */
static int npu_ttm_clear(struct npu_device *npu, struct ttm_resource *resource)
{
	struct npu_packet packets[NPU_MOVE_BATCH];
	struct npu_extent extent;
	u32 count = 0;
	int ret = 0;

	npu_extent_first(&extent, npu, resource, NULL, 0, resource->size);
	while (extent.bytes && !ret) {
		npu_packet_fill(&packets[count++], extent.address, extent.bytes);
		npu_extent_next(&extent, extent.bytes);
		if (count == NPU_MOVE_BATCH || !extent.bytes) {
			ret = npu_kqueue_run(npu, packets, count);
			count = 0;
		}
	}
	return ret;
}

static int npu_ttm_copy(struct npu_device *npu, struct ttm_buffer_object *tbo,
			struct ttm_resource *to)
{
	struct npu_packet packets[NPU_MOVE_BATCH];
	struct npu_extent source, target;
	u32 count = 0;
	int ret = 0;

	npu_extent_first(&source, npu, tbo->resource, tbo->ttm, 0, to->size);
	npu_extent_first(&target, npu, to, tbo->ttm, 0, to->size);
	while (source.bytes && !ret) {
		u64 bytes = min(source.bytes, target.bytes);

		npu_packet_copy(&packets[count++],
				source.card ? NPU_MEMORY_CARD : NPU_MEMORY_HOST, source.address,
				target.card ? NPU_MEMORY_CARD : NPU_MEMORY_HOST, target.address,
				bytes);
		npu_extent_next(&source, bytes);
		npu_extent_next(&target, bytes);
		if (count == NPU_MOVE_BATCH || !source.bytes) {
			ret = npu_kqueue_run(npu, packets, count);
			count = 0;
		}
	}
	return ret;
}

static bool npu_ttm_is_pair(u32 a, u32 b, u32 x, u32 y)
{
	return (a == x && b == y) || (a == y && b == x);
}

/* With the device present, and awake. */
static int npu_ttm_move_hw(struct npu_device *npu, struct ttm_buffer_object *tbo,
			   struct ttm_operation_ctx *ctx, struct ttm_resource *to)
{
	struct ttm_resource *from = tbo->resource;
	int ret;

	if (!from || (from->mem_type == TTM_PL_SYSTEM && !tbo->ttm)) {
		/* A new buffer. */
		ret = npu_ttm_clear(npu, to);
		if (!ret)
			ttm_bo_move_null(tbo, to);
		return ret;
	}

	/* Leaves a place that the card may be using. */
	ret = ttm_bo_wait_ctx(tbo, ctx);
	if (ret)
		return ret;
	npu_vm_evict_bo(ttm_to_npu_bo(tbo));

	if (to->mem_type == TTM_PL_SYSTEM) {
		ttm_bo_move_null(tbo, to);
		return 0;
	}
	ret = npu_ttm_copy(npu, tbo, to);
	if (ret)
		return ret;
	ttm_bo_move_sync_cleanup(tbo, to);
	return 0;
}

static int npu_ttm_move(struct ttm_buffer_object *tbo, bool evict,
			struct ttm_operation_ctx *ctx, struct ttm_resource *to,
			struct ttm_place *hop)
{
	struct npu_device *npu = ttm_to_npu(tbo->bdev);
	struct ttm_resource *from = tbo->resource;
	int ret;
	int idx;

	/* Only TT pages have addresses for the card. */
	if (from && tbo->ttm &&
	    npu_ttm_is_pair(from->mem_type, to->mem_type, TTM_PL_SYSTEM, TTM_PL_VRAM)) {
		*hop = (struct ttm_place) {
			.mem_type = TTM_PL_TT,
			.flags = TTM_PL_FLAG_TEMPORARY,
		};
		return -EMULTIHOP;
	}
	/* Host memory, which TTM's pool has zeroed, that the card does not know yet. */
	if (to->mem_type != TTM_PL_VRAM && (!from || from->mem_type == TTM_PL_SYSTEM)) {
		ttm_bo_move_null(tbo, to);
		return 0;
	}

	ret = npu_use_begin(npu, &idx);
	if (ret == -ENODEV) {
		/* Contents are lost with the card. */
		ttm_bo_move_null(tbo, to);
		return 0;
	}
	if (ret)
		return ret;
	ret = npu_ttm_move_hw(npu, tbo, ctx, to);
	npu_use_end(npu, idx);
	return ret;
}

/* ---- The aperture ---- */

static int npu_ttm_io_mem_reserve(struct ttm_device *bdev, struct ttm_resource *resource)
{
	struct npu_device *npu = ttm_to_npu(bdev);

	if (resource->mem_type != TTM_PL_VRAM)
		return 0;
	if (!npu_vram_visible(npu, resource))
		return -ENXIO;
	resource->bus.offset = npu->aperture_base + ((u64)resource->start << PAGE_SHIFT);
	resource->bus.is_iomem = true;
	resource->bus.caching = ttm_write_combined;
	return 0;
}

static unsigned long npu_ttm_io_mem_pfn(struct ttm_buffer_object *tbo, unsigned long page)
{
	struct npu_device *npu = ttm_to_npu(tbo->bdev);
	struct npu_extent extent;

	npu_extent_first(&extent, npu, tbo->resource, NULL, (u64)page << PAGE_SHIFT, PAGE_SIZE);
	return (npu->aperture_base + extent.address) >> PAGE_SHIFT;
}

static struct ttm_device_funcs npu_ttm_funcs = {
	.ttm_tt_create = npu_ttm_tt_create,
	.ttm_tt_populate = npu_ttm_tt_populate,
	.ttm_tt_unpopulate = npu_ttm_tt_unpopulate,
	.ttm_tt_destroy = npu_ttm_tt_destroy,
	.eviction_valuable = ttm_bo_eviction_valuable,
	.evict_flags = npu_ttm_evict_flags,
	.move = npu_ttm_move,
	.io_mem_reserve = npu_ttm_io_mem_reserve,
	.io_mem_pfn = npu_ttm_io_mem_pfn,
};

/* Runs after the last buffer, dma-buf and file of the device are gone. */
static void npu_ttm_release(struct drm_device *drm, void *unused)
{
	struct npu_device *npu = to_npu(drm);

	/* What is alive now would be used after it is freed. */
	drm_WARN_ON(drm, atomic_read(&npu->vm_count));
	drm_WARN_ON(drm, atomic_read(&npu->queue_count));
	drm_WARN_ON(drm, atomic_read(&npu->fence_count));
	drm_WARN_ON(drm, atomic_read(&npu->inflight));
	/* Buffers that were busy when freed are destroyed by a work of TTM's. */
	drain_workqueue(npu->ttm.wq);
	drm_WARN_ON(drm, atomic_read(&npu->buffers));

	npu_vram_fini(npu);
	ttm_range_man_fini(&npu->ttm, TTM_PL_TT);
	ttm_device_fini(&npu->ttm);
}

int npu_ttm_init(struct npu_device *npu)
{
	struct drm_device *drm = &npu->drm;
	/* Buffers may pin at most three quarters of the machine's memory. */
	unsigned long host_pages = totalram_pages() / 4 * 3;
	/*
	 * Not all of it is in reach of the card, or of a bridge above it. Mapped for
	 * DMA all the same it would be a copy, which nobody keeps in step.
	 */
	bool dma32 = dma_addressing_limited(drm->dev);
	int ret;

	if (is_swiotlb_force_bounce(drm->dev)) {
		drm_err(drm, "all DMA is to bounce buffers here: shared memory is not possible\n");
		return -EOPNOTSUPP;
	}
	if (dma32)
		host_pages = min(host_pages, NPU_DMA32_PAGES);

	/* TTM moves what is idle out of both: without it there would be no limit. */
	npu->buffer_limit = ((u64)host_pages << PAGE_SHIFT) +
			    ((u64)npu->target.card_memory_mib << 20);
	ret = npu_ttm_device_init(&npu->ttm, &npu_ttm_funcs, drm, dma32);
	if (ret)
		return ret;
	ret = ttm_range_man_init(&npu->ttm, TTM_PL_TT, true, host_pages);
	if (ret)
		goto err_device;
	ret = npu_vram_init(npu);
	if (ret)
		goto err_range;
	return drmm_add_action_or_reset(drm, npu_ttm_release, NULL);

err_range:
	ttm_range_man_fini(&npu->ttm, TTM_PL_TT);
err_device:
	ttm_device_fini(&npu->ttm);
	return ret;
}
