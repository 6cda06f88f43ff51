/* SPDX-License-Identifier: MIT */
/*
 * Address spaces. A job's virtual addresses are translated through the page
 * table of its queue's ASID: 48-bit addresses, four levels of 512 entries of 8
 * bytes, leaves of 4 KiB (level 0) and 2 MiB (level 1). Tables lie in host or
 * card memory. Only the TLB caches, and never an entry that is not valid: a
 * new mapping needs no invalidation, removing or narrowing one does.
 */
#ifndef NPU_MMU_H
#define NPU_MMU_H

#include "target.h"

#define NPU_VA_BITS		48
#define NPU_MMU_LEVELS		4
#define NPU_MMU_LEVEL_BITS	9
#define NPU_MMU_ENTRIES		512
#define NPU_MMU_PAGE_SHIFT	12
#define NPU_MMU_BLOCK_SHIFT	21

/* Entry of the context table, indexed by ASID. root: an entry as below. */
struct npu_context {
	uint64_t root;			/* VALID, CARD, address of the level-3 table */
	uint64_t reserved;
};

#define NPU_PTE_VALID		(1ull << 0)
#define NPU_PTE_READ		(1ull << 1)	/* leaves only */
#define NPU_PTE_WRITE		(1ull << 2)	/* leaves only */
#define NPU_PTE_CARD		(1ull << 3)	/* address is in card memory, else a bus address */
#define NPU_PTE_LEAF		(1ull << 4)	/* level 0: always; level 1: a 2 MiB leaf */
#define NPU_PTE_ADDRESS		0x000ffffffffff000ull
#define NPU_PTE_RESERVED	(~(NPU_PTE_ADDRESS | 0x1full))	/* zero, or the access faults */

#endif
