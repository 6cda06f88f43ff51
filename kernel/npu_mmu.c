// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Page tables of an address space, as include/npu/mmu.h defines them.
 *
 * Allocating tables and writing leaves are separate: the first happens where
 * it may fail, the second also on the path of fence signalling. The card walks
 * the tables at any time; an entry is one 64-bit store, and a table is filled
 * before it is linked.
 *
 * A block, 2 MiB, is one leaf where address, size and memory allow. What maps
 * or unmaps a part of a block has prepared the level-0 table that then takes
 * the leaf's place. That table stays when a leaf replaces it, for the next time.
 */
#include <linux/dma-mapping.h>
#include <linux/slab.h>

#include "npu_bo.h"
#include "npu_device.h"
#include "npu_mmu.h"

#define NPU_PAGE_BYTES	BIT_ULL(NPU_MMU_PAGE_SHIFT)
#define NPU_BLOCK_BYTES	BIT_ULL(NPU_MMU_BLOCK_SHIFT)
#define NPU_TABLE_BYTES	(NPU_MMU_ENTRIES * sizeof(u64))

static unsigned int npu_mmu_index(u64 va, unsigned int level)
{
	return va >> (NPU_MMU_PAGE_SHIFT + level * NPU_MMU_LEVEL_BITS) & (NPU_MMU_ENTRIES - 1);
}

static struct npu_table *npu_table_alloc(struct npu_mmu *mmu, unsigned int level)
{
	struct npu_table *table;

	if (mmu->tables >= NPU_MMU_MAX_TABLES)
		return ERR_PTR(-ENOSPC);
	table = kzalloc(sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!table)
		return ERR_PTR(-ENOMEM);
	table->entries = dma_alloc_coherent(mmu->npu->drm.dev, NPU_TABLE_BYTES, &table->dma,
					    GFP_KERNEL_ACCOUNT);
	if (table->entries && level)
		table->below = kcalloc(NPU_MMU_ENTRIES, sizeof(*table->below),
				       GFP_KERNEL_ACCOUNT);
	if (!table->entries || (level && !table->below)) {
		if (table->entries)
			dma_free_coherent(mmu->npu->drm.dev, NPU_TABLE_BYTES, table->entries,
					  table->dma);
		kfree(table);
		return ERR_PTR(-ENOMEM);
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
	dma_free_coherent(mmu->npu->drm.dev, NPU_TABLE_BYTES, table->entries, table->dma);
	kfree(table->below);
	kfree(table);
	mmu->tables--;
}

/* Inside drm_dev_enter(). */
int npu_mmu_init(struct npu_device *npu, struct npu_mmu *mmu)
{
	int asid;

	mmu->npu = npu;
	spin_lock_init(&mmu->lock);
	/* ASID 0 stays empty: it is what a zeroed context refers to. */
	asid = ida_alloc_range(&npu->asid_ida, 1, npu->asids - 1, GFP_KERNEL);
	if (asid < 0)
		return asid;
	mmu->asid = asid;
	mmu->root = npu_table_alloc(mmu, NPU_MMU_LEVELS - 1);
	if (IS_ERR(mmu->root)) {
		ida_free(&npu->asid_ida, asid);
		return PTR_ERR(mmu->root);
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

/* The end of the block that contains @va, or @end if that comes first. */
static u64 npu_block_stop(u64 va, u64 end)
{
	return min(end, ALIGN(va + 1, NPU_BLOCK_BYTES));
}

/* Whether the next @bytes, all within one block, can be a single leaf. */
static bool npu_block_is_leaf(const struct npu_extent *extent, u64 bytes)
{
	return bytes == NPU_BLOCK_BYTES && extent->bytes >= bytes &&
	       IS_ALIGNED(extent->address, NPU_BLOCK_BYTES);
}

/* The table of @level on the way to @va, made if need be. */
static int npu_mmu_make(struct npu_mmu *mmu, u64 va, unsigned int level)
{
	struct npu_table *table = mmu->root;
	unsigned int at;

	for (at = NPU_MMU_LEVELS - 1; at > level; at--) {
		unsigned int i = npu_mmu_index(va, at);

		if (!table->below[i]) {
			struct npu_table *below = npu_table_alloc(mmu, at - 1);

			if (IS_ERR(below))
				return PTR_ERR(below);
			/* Walkers of the driver, then of the card. */
			smp_store_release(&table->below[i], below);
			/* Level 0 is linked when a leaf is written. */
			if (at > 1) {
				/* The zeroed table before the entry that leads to it. */
				dma_wmb();
				WRITE_ONCE(table->entries[i], below->dma | NPU_PTE_VALID);
			}
		}
		table = table->below[i];
	}
	return 0;
}

/**
 * npu_mmu_prepare - make the tables that mapping a buffer takes
 * @mmu: page tables; the caller keeps others from preparing
 * @va: page-aligned start
 * @size: bytes
 * @bo: buffer, in VRAM or TT; does not move before it is mapped
 * @offset: page-aligned start in it
 *
 * Inside drm_dev_enter(). Tables made before a failure stay, empty.
 */
int npu_mmu_prepare(struct npu_mmu *mmu, u64 va, u64 size, struct npu_bo *bo, u64 offset)
{
	struct npu_extent extent;
	u64 end = va + size;
	u64 stop;
	int ret;

	npu_extent_first(&extent, mmu->npu, bo->tbo.resource, bo->tbo.ttm, offset, size);
	for (; va < end; va = stop) {
		stop = npu_block_stop(va, end);
		ret = npu_mmu_make(mmu, va, npu_block_is_leaf(&extent, stop - va) ? 1 : 0);
		if (ret)
			return ret;
		npu_extent_skip(&extent, stop - va);
		cond_resched();
	}
	return 0;
}

/* As npu_mmu_prepare(), for a mapping that will end or begin at @va. */
int npu_mmu_prepare_split(struct npu_mmu *mmu, u64 va)
{
	return npu_mmu_make(mmu, va, 0);
}

/* The level-1 table of an address, or NULL and the level where there is none. */
static struct npu_table *npu_mmu_block_table(struct npu_mmu *mmu, u64 va, unsigned int *level)
{
	struct npu_table *table = mmu->root;

	for (*level = NPU_MMU_LEVELS - 1; table && *level > 1; --*level) {
		struct npu_table **below = &table->below[npu_mmu_index(va, *level)];

		/* Pairs with npu_mmu_make(): what is linked is initialised. */
		table = smp_load_acquire(below);
		if (!table)
			return NULL;
	}
	return table;
}

/*
 * The level-0 table of entry @i, linked: with what the leaf before mapped, or
 * empty. NULL if none was prepared.
 */
static struct npu_table *npu_mmu_split(struct npu_mmu *mmu, struct npu_table *table,
				       unsigned int i)
{
	/* Pairs with npu_mmu_make(). */
	struct npu_table *pages = smp_load_acquire(&table->below[i]);
	u64 entry = table->entries[i];
	unsigned int page;

	lockdep_assert_held(&mmu->lock);
	if (!pages || (entry && !(entry & NPU_PTE_LEAF)))
		return pages;
	for (page = 0; page < NPU_MMU_ENTRIES; page++)
		WRITE_ONCE(pages->entries[page], entry ? entry + page * NPU_PAGE_BYTES : 0);
	/* The table before the entry that leads to it. */
	dma_wmb();
	WRITE_ONCE(table->entries[i], pages->dma | NPU_PTE_VALID);
	return pages;
}

/**
 * npu_mmu_map - write the leaves of a prepared range
 * @mmu: page tables
 * @va: page-aligned start
 * @size: bytes
 * @bo: buffer, in VRAM or TT and kept there by the caller since it prepared
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
	struct npu_extent extent;
	u64 end = va + size;

	npu_extent_first(&extent, mmu->npu, bo->tbo.resource, bo->tbo.ttm, offset, size);
	if (extent.card)
		flags |= NPU_PTE_CARD;
	while (va < end) {
		u64 stop = npu_block_stop(va, end);
		unsigned int i = npu_mmu_index(va, 1);
		struct npu_table *table, *pages;
		unsigned int level;

		table = npu_mmu_block_table(mmu, va, &level);
		if (WARN_ON_ONCE(!table))
			return;
		spin_lock(&mmu->lock);
		if (npu_block_is_leaf(&extent, stop - va)) {
			WRITE_ONCE(table->entries[i], extent.address | flags);
			npu_extent_skip(&extent, stop - va);
			va = stop;
		} else {
			pages = npu_mmu_split(mmu, table, i);
			for (; va < stop; va += NPU_PAGE_BYTES) {
				if (!WARN_ON_ONCE(!pages))
					WRITE_ONCE(pages->entries[npu_mmu_index(va, 0)],
						   extent.address | flags);
				npu_extent_skip(&extent, NPU_PAGE_BYTES);
			}
		}
		spin_unlock(&mmu->lock);
		cond_resched();
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
		unsigned int i = npu_mmu_index(va, 1);
		struct npu_table *table, *pages;
		unsigned int level;
		u64 stop;

		table = npu_mmu_block_table(mmu, va, &level);
		/* What one entry of the lowest table found covers. */
		stop = NPU_PAGE_BYTES << NPU_MMU_LEVEL_BITS * level;
		stop = min(end, ALIGN_DOWN(va, stop) + stop);
		if (table && READ_ONCE(table->entries[i])) {
			spin_lock(&mmu->lock);
			pages = NULL;
			if (stop - va < NPU_BLOCK_BYTES)
				pages = npu_mmu_split(mmu, table, i);
			/*
			 * A leaf that is not prepared for a part to go belongs to
			 * a later bind: a submission validated its buffer early.
			 * That bind writes it again.
			 */
			if (!pages)
				WRITE_ONCE(table->entries[i], 0);
			else
				for (; va < stop; va += NPU_PAGE_BYTES)
					WRITE_ONCE(pages->entries[npu_mmu_index(va, 0)], 0);
			spin_unlock(&mmu->lock);
		}
		va = stop;
		cond_resched();
	}
	/* Gone before the invalidation that follows. */
	dma_wmb();
}

/**
 * npu_mmu_walk - read what the card reads on its way to an address
 * @mmu: page tables
 * @va: address, of any kind
 * @entries: room for 1 + NPU_MMU_LEVELS: the context's, then one per level
 *
 * Any context, while the address space has users. Returns how many there are;
 * the last one is a leaf, or why there is none.
 */
unsigned int npu_mmu_walk(struct npu_mmu *mmu, u64 va, u64 *entries)
{
	struct npu_table *table = mmu->root;
	unsigned int level = NPU_MMU_LEVELS - 1;
	unsigned int count = 0;

	entries[count++] = READ_ONCE(mmu->npu->contexts[mmu->asid].root);
	while (table) {
		unsigned int i = npu_mmu_index(va, level);
		u64 entry = READ_ONCE(table->entries[i]);

		entries[count++] = entry;
		if (!level || !(entry & NPU_PTE_VALID) || entry & NPU_PTE_LEAF)
			break;
		/* Pairs with npu_mmu_prepare(). */
		table = smp_load_acquire(&table->below[i]);
		level--;
	}
	return count;
}
