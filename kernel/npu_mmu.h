/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Page tables of an address space, as include/npu/mmu.h defines them. */
#ifndef NPU_MMU_H_
#define NPU_MMU_H_

#include <linux/spinlock.h>
#include <linux/types.h>

struct npu_device;
struct npu_bo;

/*
 * One table. Tables come when a range is prepared and stay until the address
 * space goes, so that walks need no lock.
 */
struct npu_table {
	u64 *entries;
	dma_addr_t dma;
	/*
	 * Levels 1..3: the table below each entry. NULL at level 0. One below
	 * level 1 is linked unless a leaf, or nothing, is in its place.
	 */
	struct npu_table **below;
};

struct npu_mmu {
	struct npu_device *npu;
	/* Protects level-1 entries and the level-0 tables. Nothing is taken inside. */
	spinlock_t lock;
	struct npu_table *root;
	unsigned int asid;
	unsigned int tables;
};

/* Tables of one address space: dense, they map 64 GiB. */
#define NPU_MMU_MAX_TABLES	(32u << 10)

int npu_mmu_init(struct npu_device *npu, struct npu_mmu *mmu);
void npu_mmu_detach(struct npu_mmu *mmu);
void npu_mmu_fini(struct npu_mmu *mmu);
int npu_mmu_prepare(struct npu_mmu *mmu, u64 va, u64 size, struct npu_bo *bo, u64 offset);
int npu_mmu_prepare_split(struct npu_mmu *mmu, u64 va);
void npu_mmu_map(struct npu_mmu *mmu, u64 va, u64 size, struct npu_bo *bo, u64 offset,
		 bool readonly);
void npu_mmu_unmap(struct npu_mmu *mmu, u64 va, u64 size);
unsigned int npu_mmu_walk(struct npu_mmu *mmu, u64 va, u64 *entries);

#endif
