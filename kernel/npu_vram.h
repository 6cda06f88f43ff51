/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Card memory: a TTM resource manager on drm_buddy. */
#ifndef NPU_VRAM_H
#define NPU_VRAM_H

#include <linux/mutex.h>

#include <drm/ttm/ttm_resource.h>

#include "npu_compat.h"

struct npu_device;
struct ttm_tt;

struct npu_vram {
	struct ttm_resource_manager manager;
	/* Protects mm and used. Innermost among the driver's. */
	struct mutex lock;
	struct gpu_buddy mm;
	/* struct npu_vram_resource, all of them. */
	struct list_head used;
	/* Contents, while the machine sleeps. */
	struct list_head saved;
};

/* Card memory of one buffer: a list of buddy blocks, in the buffer's order. */
struct npu_vram_resource {
	struct ttm_resource base;
	struct list_head blocks;
	/* In npu_vram.used. */
	struct list_head node;
};

/* Whether the CPU reaches all of it through the aperture. */
bool npu_vram_visible(struct npu_device *npu, struct ttm_resource *resource);

void npu_vram_unmap_cpu(struct npu_device *npu);
int npu_vram_save(struct npu_device *npu);
int npu_vram_restore(struct npu_device *npu);

int npu_vram_init(struct npu_device *npu);
void npu_vram_fini(struct npu_device *npu);

/*
 * Walks the device addresses of a buffer, in card or host memory, in runs that
 * are contiguous for the device.
 */
struct npu_extent {
	/* The current run: address for the card and its length. */
	u64 address;
	u64 bytes;
	bool card;
	/* Private. */
	struct npu_device *npu;
	struct npu_vram_resource *vram;
	struct gpu_buddy_block *block;
	struct ttm_tt *tt;
	u64 offset;
	u64 left;
};

void npu_extent_first(struct npu_extent *extent, struct npu_device *npu,
		      struct ttm_resource *resource, struct ttm_tt *tt,
		      u64 offset, u64 bytes);
void npu_extent_next(struct npu_extent *extent, u64 consumed);
void npu_extent_skip(struct npu_extent *extent, u64 bytes);

#endif
