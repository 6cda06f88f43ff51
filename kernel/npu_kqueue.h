/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Queue 0, the kernel's: clears, copies and TLB invalidations. */
#ifndef NPU_KQUEUE_H
#define NPU_KQUEUE_H

#include <linux/dma-fence.h>
#include <linux/wait.h>

#include "npu/queue.h"

#include "npu_hwq.h"

struct npu_device;

struct npu_kqueue {
	struct npu_hwq hwq;
	/* Waiters for room in the ring. */
	wait_queue_head_t room;
	u64 fence_context;
	atomic64_t fence_seqno;
	/*
	 * TLB invalidations that failed: their fences wait for the card reset
	 * that they asked for. Protected by hwq.lock.
	 */
	struct list_head parked;
};

/* A TLB invalidation in flight; memory is allocated where that may fail. */
struct npu_tlb_flush {
	struct dma_fence fence;
	/* Protects the fence. */
	spinlock_t fence_lock;
	struct npu_hwq_entry entry;
	struct npu_kqueue *kqueue;
	u32 status;
};

int npu_kqueue_init(struct npu_device *npu);

/* Packets, built in place. */
void npu_packet_fill(struct npu_packet *packet, u64 card_address, u64 bytes);
void npu_packet_copy(struct npu_packet *packet, u8 source_memory, u64 source,
		     u8 destination_memory, u64 destination, u64 bytes);

int npu_kqueue_run(struct npu_device *npu, struct npu_packet *packets, u32 count);

struct npu_tlb_flush *npu_tlb_flush_alloc(struct npu_device *npu);
void npu_tlb_flush_free(struct npu_tlb_flush *flush);
struct dma_fence *npu_tlb_flush_start(struct npu_device *npu, struct npu_tlb_flush *flush,
				      u16 asid, u64 va, u64 bytes);
struct dma_fence *npu_tlb_flush_skip(struct npu_device *npu, struct npu_tlb_flush *flush,
				     int error);
void npu_tlb_flush_wait(struct npu_device *npu, u16 asid, u64 va, u64 bytes);
void npu_kqueue_unpark(struct npu_kqueue *kqueue);

#endif
