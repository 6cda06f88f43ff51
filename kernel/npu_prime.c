// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Buffers shared with other drivers, by dma-buf.
 *
 * Ours that another device is attached to stay in host memory for that long.
 * Theirs are host memory that the exporter keeps in place; the card is attached to
 * them as long as the buffer and the card exist.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>

#include <drm/drm_gem_ttm_helper.h>
#include <drm/drm_prime.h>
#include <drm/ttm/ttm_tt.h>

#include "npu_bo.h"
#include "npu_device.h"

/* MODULE_IMPORT_NS(), whose argument became a string, without its name. */
MODULE_INFO(import_ns, "DMA_BUF");

/* ---- Export: drm_gem_object_funcs, with the buffer reserved ---- */

int npu_prime_pin(struct drm_gem_object *obj)
{
	struct npu_bo *bo = gem_to_npu_bo(obj);
	int ret;
	int idx;

	/* The pages of a card that is gone may be gone, too. */
	if (!drm_dev_enter(obj->dev, &idx))
		return -ENODEV;
	ret = npu_bo_validate_host(bo);
	if (!ret)
		ttm_bo_pin(&bo->tbo);
	drm_dev_exit(idx);
	return ret;
}

void npu_prime_unpin(struct drm_gem_object *obj)
{
	struct npu_bo *bo = gem_to_npu_bo(obj);
	struct drm_gpuvm_bo *vm_bo;

	ttm_bo_unpin(&bo->tbo);
	if (bo->placement == DRM_NPU_PLACEMENT_HOST)
		return;
	/* The next submissions bring it back to where it belongs. */
	drm_gem_for_each_gpuvm_bo(vm_bo, obj)
		drm_gpuvm_bo_evict(vm_bo, true);
}

struct sg_table *npu_prime_get_sg_table(struct drm_gem_object *obj)
{
	struct ttm_tt *tt = gem_to_npu_bo(obj)->tbo.ttm;

	return drm_prime_pages_to_sg(obj->dev, tt->pages, tt->num_pages);
}

/* ---- Import ---- */

/*
 * The exporter's mapping of memory out of the card's reach is a copy, as it was at
 * that moment. Asked only where there is such memory: behind an IOMMU there is none,
 * and dma_need_sync() is not exact.
 */
static bool npu_prime_is_copy(struct device *dev, struct sg_table *sgt)
{
	struct scatterlist *sg;
	int i;

	if (!dma_addressing_limited(dev))
		return false;
	for_each_sgtable_dma_sg(sgt, sg, i)
		if (dma_need_sync(dev, sg_dma_address(sg)))
			return true;
	return false;
}

/* drm_driver.gem_prime_import_sg_table */
struct drm_gem_object *npu_prime_import(struct drm_device *drm,
					struct dma_buf_attachment *attach, struct sg_table *sgt)
{
	struct npu_device *npu = to_npu(drm);
	struct dma_resv *resv = attach->dmabuf->resv;
	struct npu_bo *bo;
	int idx;

	if (!PAGE_ALIGNED(attach->dmabuf->size))
		return ERR_PTR(-EINVAL);
	if (npu_prime_is_copy(drm->dev, sgt)) {
		drm_dbg_driver(drm, "import refused: its memory is out of the card's reach\n");
		return ERR_PTR(-EOPNOTSUPP);
	}
	if (!drm_dev_enter(drm, &idx))
		return ERR_PTR(-ENODEV);
	dma_resv_lock(resv, NULL);
	bo = npu_bo_create(npu, attach->dmabuf->size, DRM_NPU_PLACEMENT_HOST, sgt, resv);
	dma_resv_unlock(resv);
	if (!IS_ERR(bo)) {
		bo->import = attach->dmabuf;
		bo->attach = attach;
		spin_lock(&npu->imports_lock);
		list_add_tail(&bo->import_node, &npu->imports);
		spin_unlock(&npu->imports_lock);
	}
	drm_dev_exit(idx);
	return IS_ERR(bo) ? ERR_CAST(bo) : &bo->tbo.base;
}

static void npu_prime_detach(struct dma_buf_attachment *attach, struct sg_table *sgt)
{
	dma_buf_unmap_attachment_unlocked(attach, sgt, DMA_BIDIRECTIONAL);
	dma_buf_detach(attach->dmabuf, attach);
}

/* The buffer is no longer used. */
void npu_prime_destroy(struct npu_bo *bo)
{
	struct npu_device *npu = to_npu(bo->tbo.base.dev);

	spin_lock(&npu->imports_lock);
	list_del_init(&bo->import_node);
	spin_unlock(&npu->imports_lock);
	if (!bo->import)
		return;
	if (bo->attach)
		npu_prime_detach(bo->attach, bo->tbo.sg);
	dma_buf_put(bo->import);
}

/*
 * remove(): nobody is inside drm_dev_enter(). The device's DMA mappings go with
 * it, and attachments, in which exporters may keep a mapping for the next time;
 * buffers go with their last user, some of them meanwhile.
 */
void npu_prime_unmap_all(struct npu_device *npu)
{
	struct npu_bo *bo;

	spin_lock(&npu->imports_lock);
	while ((bo = list_first_entry_or_null(&npu->imports, struct npu_bo, import_node))) {
		struct dma_buf_attachment *attach = bo->attach;
		struct dma_buf *import = bo->import;
		struct sg_table *sgt = bo->tbo.sg;

		/* In the list it has its reference to the other's. */
		get_dma_buf(import);
		list_del_init(&bo->import_node);
		bo->attach = NULL;
		spin_unlock(&npu->imports_lock);
		npu_prime_detach(attach, sgt);
		dma_buf_put(import);
		spin_lock(&npu->imports_lock);
	}
	spin_unlock(&npu->imports_lock);
}

/* ---- drm_gem_object_funcs.mmap ---- */

int npu_prime_mmap(struct drm_gem_object *obj, struct vm_area_struct *vma)
{
	struct dma_buf *import = gem_to_npu_bo(obj)->import;
	int ret;

	if (!import)
		return drm_gem_ttm_mmap(obj, vma);
	/*
	 * The exporter's mapping: nothing of ours may be left in it. DRM maps
	 * buffers from their start only.
	 */
	vma->vm_private_data = NULL;
	vma->vm_ops = NULL;
	ret = dma_buf_mmap(import, vma, 0);
	/* Its reference is the mapping's; that of the caller is not needed. */
	if (!ret)
		drm_gem_object_put(obj);
	return ret;
}
