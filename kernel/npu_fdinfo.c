// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * fdinfo of an open file, in the keys of Documentation/gpu/drm-usage-stats.rst. The
 * DRM core adds driver, device and client.
 */
#include <linux/math64.h>

#include <drm/ttm/ttm_placement.h>
#include <drm/ttm/ttm_tt.h>

#include "npu_bo.h"
#include "npu_device.h"
#include "npu_fdinfo.h"
#include "npu_file.h"

enum { NPU_REGION_HOST, NPU_REGION_CARD, NPU_REGIONS };

/*
 * A buffer's size counts for the region where it belongs, as resident where it is
 * now. Host pages count from their first use on.
 */
static void npu_fdinfo_bo(struct npu_bo *bo, struct drm_memory_stats *stats)
{
	struct drm_gem_object *obj = &bo->tbo.base;
	struct ttm_resource *resource = bo->tbo.resource;
	struct drm_memory_stats *home =
		&stats[bo->placement == DRM_NPU_PLACEMENT_CARD ? NPU_REGION_CARD :
								 NPU_REGION_HOST];
	struct drm_memory_stats *now = NULL;

	dma_resv_assert_held(obj->resv);
	if (drm_gem_object_is_shared_for_memory_stats(obj))
		home->shared += obj->size;
	else
		home->private += obj->size;
	if (resource && resource->mem_type == TTM_PL_VRAM)
		now = &stats[NPU_REGION_CARD];
	else if (bo->tbo.ttm && ttm_tt_is_populated(bo->tbo.ttm))
		now = &stats[NPU_REGION_HOST];
	if (!now)
		return;
	now->resident += obj->size;
	if (!dma_resv_test_signaled(obj->resv, DMA_RESV_USAGE_BOOKKEEP))
		now->active += obj->size;
}

static void npu_fdinfo_memory(struct drm_printer *p, struct drm_file *file)
{
	struct drm_memory_stats stats[NPU_REGIONS] = {};
	struct drm_gem_object *obj;
	int id;

	/* A reservation may sleep: without the table's lock, and with a reference. */
	spin_lock(&file->table_lock);
	idr_for_each_entry(&file->object_idr, obj, id) {
		drm_gem_object_get(obj);
		spin_unlock(&file->table_lock);
		dma_resv_lock(obj->resv, NULL);
		npu_fdinfo_bo(gem_to_npu_bo(obj), stats);
		dma_resv_unlock(obj->resv);
		drm_gem_object_put(obj);
		spin_lock(&file->table_lock);
	}
	spin_unlock(&file->table_lock);

	drm_print_memory_stats(p, &stats[NPU_REGION_HOST], NPU_MEMORY_STATS, "host");
	drm_print_memory_stats(p, &stats[NPU_REGION_CARD], NPU_MEMORY_STATS, "card");
}

void npu_show_fdinfo(struct drm_printer *p, struct drm_file *file)
{
	struct npu_device *npu = to_npu(file->minor->dev);
	struct npu_file *nfile = file->driver_priv;
	unsigned long flags;
	u64 busy_ns, cycles;

	spin_lock_irqsave(&nfile->lock, flags);
	busy_ns = nfile->busy_ns;
	cycles = nfile->cycles;
	spin_unlock_irqrestore(&nfile->lock, flags);

	drm_printf(p, "drm-engine-npu:\t%llu ns\n", busy_ns);
	drm_printf(p, "drm-engine-capacity-npu:\t%u\n", npu->target.cores);
	drm_printf(p, "drm-cycles-npu:\t%llu\n", cycles);
	/*
	 * A timestamp in the unit of the cycles; with it, drm-maxfreq- is not to be
	 * given. The nominal clock's: no register is read, the card may sleep.
	 */
	drm_printf(p, "drm-total-cycles-npu:\t%llu\n",
		   mul_u64_u32_div(ktime_get_ns(), npu->target.clock_mhz, 1000));
	npu_fdinfo_memory(p, file);
}
