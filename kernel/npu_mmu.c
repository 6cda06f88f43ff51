// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Page tables of an address space, as include/npu/mmu.h defines them.
 *
 * Allocating tables and writing leaves are separate: the first happens where
 * it may fail, the second also on the path of fence signalling. The card walks
 * the tables at any time; an entry is one 64-bit store, and a table is zero
 * before it is linked.
 */
#include <linux/dmapool.h>
#include <linux/slab.h>

#include "npu_bo.h"
#include "npu_device.h"
#include "npu_mmu.h"

#define NPU_PAGE_BYTES	BIT_ULL(NPU_MMU_PAGE_SHIFT)

static unsigned int npu_mmu_index(u64 va, unsigned int level)
{
	return va >> (NPU_MMU_PAGE_SHIFT + level * NPU_MMU_LEVEL_BITS) & (NPU_MMU_ENTRIES - 1);
}

static struct npu_table *npu_table_alloc(struct npu_mmu *mmu, unsigned int level)
{
	struct npu_table *table;

	if (mmu->tables >= NPU_MMU_MAX_TABLES)
		return NULL;
	table = kzalloc(sizeof(*table), GFP_KERNEL);
	if (!table)
		return NULL;
	table->entries = dma_pool_zalloc(mmu->npu->pt_pool, GFP_KERNEL, &table->dma);
	if (table->entries && level)
		table->below = kcalloc(NPU_MMU_ENTRIES, sizeof(*table->below), GFP_KERNEL);
	if (!table->entries || (level && !table->below)) {
		if (table->entries)
			dma_pool_free(mmu->npu->pt_pool, table->entries, table->dma);
		kfree(table);
		return NULL;
	}
	mmu->tables++;
	return table;
}

static void npu_table_free(struct npu_mmu *mmu, struct npu_table *table)
{
	unsigned int i;

	if (table->below)
		for (i = 0; i < NPU_MMU_ENTRIES; i++)
			if (table->below[i])
				npu_table_free(mmu, table->below[i]);
	dma_pool_free(mmu->npu->pt_pool, table->entries, table->dma);
	kfree(table->below);
	kfree(table);
	mmu->tables--;
}

/* Inside drm_dev_enter(). */
int npu_mmu_init(struct npu_device *npu, struct npu_mmu *mmu)
{
	int asid;

	mmu->npu = npu;
	/* ASID 0 stays empty: it is what a zeroed context refers to. */
	asid = ida_alloc_range(&npu->asid_ida, 1, npu->asids - 1, GFP_KERNEL);
	if (asid < 0)
		return asid;
	mmu->asid = asid;
	mmu->root = npu_table_alloc(mmu, NPU_MMU_LEVELS - 1);
	if (!mmu->root) {
		ida_free(&npu->asid_ida, asid);
		return -ENOMEM;
	}
	/* The zeroed table before the entry that leads to it. */
	dma_wmb();
	WRITE_ONCE(npu->contexts[asid].root, mmu->root->dma | NPU_PTE_VALID);
	return 0;
}

/* From now on, and after a TLB invalidation, the card finds nothing here. */
void npu_mmu_detach(struct npu_mmu *mmu)
{
	WRITE_ONCE(mmu->npu->contexts[mmu->asid].root, 0);
	/* Gone before the invalidation that follows. */
	dma_wmb();
}

/*
 * Detached, and translations are invalidated, or the card is stopped. A second
 * call does nothing.
 */
void npu_mmu_fini(struct npu_mmu *mmu)
{
	if (!mmu->root)
		return;
	npu_table_free(mmu, mmu->root);
	mmu->root = NULL;
	ida_free(&mmu->npu->asid_ida, mmu->asid);
}

/**
 * npu_mmu_prepare - make sure that a range has tables
 * @mmu: page tables; the caller keeps others from preparing
 * @va: page-aligned start
 * @size: bytes
 *
 * Inside drm_dev_enter(). Tables made before a failure stay, empty.
 */
int npu_mmu_prepare(struct npu_mmu *mmu, u64 va, u64 size)
{
	const u64 step = NPU_PAGE_BYTES << NPU_MMU_LEVEL_BITS;
	u64 end = va + size;

	for (va = ALIGN_DOWN(va, step); va < end; va += step) {
		struct npu_table *table = mmu->root;
		unsigned int level;

		for (level = NPU_MMU_LEVELS - 1; level; level--) {
			unsigned int i = npu_mmu_index(va, level);

			if (!table->below[i]) {
				struct npu_table *below = npu_table_alloc(mmu, level - 1);

				if (!below)
					return -ENOMEM;
				/* Walkers of the driver, then of the card. */
				smp_store_release(&table->below[i], below);
				/* The zeroed table before the entry that leads to it. */
				dma_wmb();
				WRITE_ONCE(table->entries[i], below->dma | NPU_PTE_VALID);
			}
			table = table->below[i];
		}
		cond_resched();
	}
	return 0;
}

/* The level-0 table of an address, or NULL if it was never prepared. */
static struct npu_table *npu_mmu_leaf_table(struct npu_mmu *mmu, u64 va)
{
	struct npu_table *table = mmu->root;
	unsigned int level;

	for (level = NPU_MMU_LEVELS - 1; table && level; level--)
		/* Pairs with npu_mmu_prepare(): what is linked is initialised. */
		table = smp_load_acquire(&table->below[npu_mmu_index(va, level)]);
	return table;
}

/**
 * npu_mmu_map - write the leaves of a prepared range
 * @mmu: page tables
 * @va: page-aligned start
 * @size: bytes
 * @bo: buffer, in VRAM or TT and kept there by the caller
 * @offset: page-aligned start in it
 * @readonly: no write access
 *
 * Inside drm_dev_enter(). Fence-critical.
 */
void npu_mmu_map(struct npu_mmu *mmu, u64 va, u64 size, struct npu_bo *bo, u64 offset,
		 bool readonly)
{
	u64 flags = NPU_PTE_VALID | NPU_PTE_READ | NPU_PTE_LEAF |
		    (readonly ? 0 : NPU_PTE_WRITE);
	struct npu_table *table = NULL;
	struct npu_extent extent;

	npu_extent_first(&extent, mmu->npu, bo->tbo.resource, bo->tbo.ttm, offset, size);
	if (extent.card)
		flags |= NPU_PTE_CARD;
	for (; extent.bytes; va += NPU_PAGE_BYTES) {
		unsigned int i = npu_mmu_index(va, 0);

		if (!table || !i) {
			table = npu_mmu_leaf_table(mmu, va);
			cond_resched();
		}
		if (WARN_ON_ONCE(!table))
			return;
		WRITE_ONCE(table->entries[i], extent.address | flags);
		/* The run's rest is still contiguous. */
		if (extent.bytes > NPU_PAGE_BYTES) {
			extent.address += NPU_PAGE_BYTES;
			extent.bytes -= NPU_PAGE_BYTES;
			extent.offset += NPU_PAGE_BYTES;
			extent.left -= NPU_PAGE_BYTES;
		} else {
			npu_extent_next(&extent, NPU_PAGE_BYTES);
		}
	}
	/* Entries before the doorbell of a job that needs them. */
	dma_wmb();
}

/*
 * Clears leaves; the TLB is the caller's. The range may be all of the space:
 * what has no tables is skipped at the level where they end. Inside
 * drm_dev_enter(). Fence-critical.
 */
void npu_mmu_unmap(struct npu_mmu *mmu, u64 va, u64 size)
{
	u64 end = va + size;

	while (va < end) {
		struct npu_table *table = mmu->root;
		unsigned int level = NPU_MMU_LEVELS - 1;
		u64 stop;

		for (; table && level; level--) {
			struct npu_table *below;

			/* Pairs with npu_mmu_prepare(). */
			below = smp_load_acquire(&table->below[npu_mmu_index(va, level)]);
			if (!below)
				break;
			table = below;
		}
		/* What one entry of the lowest table found here covers, or all of a leaf table. */
		stop = NPU_PAGE_BYTES << NPU_MMU_LEVEL_BITS * (level ?: 1);
		stop = min(end, ALIGN_DOWN(va, stop) + stop);
		if (table && !level)
			for (; va < stop; va += NPU_PAGE_BYTES)
				WRITE_ONCE(table->entries[npu_mmu_index(va, 0)], 0);
		va = stop;
		cond_resched();
	}
	/* Gone before the invalidation that follows. */
	dma_wmb();
}
