/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Buffer objects and where they live. */
#ifndef NPU_BO_H
#define NPU_BO_H

#include <drm/ttm/ttm_bo.h>

struct dma_buf;
struct dma_buf_attachment;
struct drm_device;
struct drm_file;
struct npu_device;
struct sg_table;

struct npu_bo {
	struct ttm_buffer_object tbo;
	/* enum drm_npu_placement: where it belongs; eviction may have moved it. */
	u32 placement;
	/* Another driver's, or NULL: with a reference. */
	struct dma_buf *import;
	/* The card's, until it goes. DRM's copy in the GEM object outlives it. */
	struct dma_buf_attachment *attach;
	/* In npu_device.imports, if it is another driver's and the card exists. */
	struct list_head import_node;
};

static inline struct npu_bo *ttm_to_npu_bo(struct ttm_buffer_object *tbo)
{
	return container_of(tbo, struct npu_bo, tbo);
}

static inline struct npu_bo *gem_to_npu_bo(struct drm_gem_object *obj)
{
	return container_of(obj, struct npu_bo, tbo.base);
}

struct npu_bo *npu_bo_create(struct npu_device *npu, u64 size, u32 placement,
			     struct sg_table *sgt, struct dma_resv *resv);
int npu_bo_validate(struct npu_bo *bo);
int npu_bo_validate_host(struct npu_bo *bo);
int npu_bo_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int npu_bo_mmap_offset_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

int npu_ttm_init(struct npu_device *npu);

/* npu_prime.c */
int npu_prime_pin(struct drm_gem_object *obj);
void npu_prime_unpin(struct drm_gem_object *obj);
struct sg_table *npu_prime_get_sg_table(struct drm_gem_object *obj);
int npu_prime_mmap(struct drm_gem_object *obj, struct vm_area_struct *vma);
struct drm_gem_object *npu_prime_import(struct drm_device *drm,
					struct dma_buf_attachment *attach, struct sg_table *sgt);
void npu_prime_destroy(struct npu_bo *bo);
void npu_prime_unmap_all(struct npu_device *npu);

#endif
