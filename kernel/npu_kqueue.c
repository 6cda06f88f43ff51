// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Queue 0, the kernel's: clears, copies and TLB invalidations.
 *
 * Waiting for it is allowed under dma_resv locks: it depends on nothing but
 * the card, and the watchdog ends it if the card does not.
 */
#include <linux/completion.h>
#include <linux/slab.h>

#include "npu_device.h"
#include "npu_kqueue.h"
#include "npu_watchdog.h"

#define NPU_KQUEUE_PRIORITY	3	/* the highest: users wait for it */
#define NPU_KQUEUE_TRIES	3	/* when card resets come in between */

/* ---- Packets ---- */

void npu_packet_fill(struct npu_packet *packet, u64 card_address, u64 bytes)
{
	struct npu_packet_fill *fill = (struct npu_packet_fill *)packet;

	BUILD_BUG_ON(sizeof(*fill) != sizeof(*packet));
	*fill = (struct npu_packet_fill) {
		.opcode = NPU_PACKET_FILL,
		.destination_memory = NPU_MEMORY_CARD,
		.destination = card_address,
		.bytes = bytes,
	};
}

void npu_packet_copy(struct npu_packet *packet, u8 source_memory, u64 source,
		     u8 destination_memory, u64 destination, u64 bytes)
{
	struct npu_packet_copy *copy = (struct npu_packet_copy *)packet;

	BUILD_BUG_ON(sizeof(*copy) != sizeof(*packet));
	*copy = (struct npu_packet_copy) {
		.opcode = NPU_PACKET_COPY,
		.source_memory = source_memory,
		.destination_memory = destination_memory,
		.source = source,
		.destination = destination,
		.bytes = bytes,
	};
}

/* ---- Synchronous use ---- */

struct npu_kqueue_wait {
	struct npu_hwq_entry entry;
	struct npu_kqueue *kqueue;
	struct completion completion;
	u32 status;
	int error;
};

static void npu_kqueue_wait_packet(struct npu_hwq_entry *entry, u32 index,
				   const struct npu_completion *completion)
{
	struct npu_kqueue_wait *wait = container_of(entry, struct npu_kqueue_wait, entry);

	if (wait->status == NPU_STATUS_OK)
		wait->status = completion->status;
}

static void npu_kqueue_wait_done(struct npu_hwq_entry *entry, int error)
{
	struct npu_kqueue_wait *wait = container_of(entry, struct npu_kqueue_wait, entry);
	struct npu_kqueue *kqueue = wait->kqueue;

	wait->error = error;
	complete(&wait->completion);	/* the waiter's stack is gone after this */
	wake_up(&kqueue->room);
}

static const struct npu_hwq_entry_ops npu_kqueue_wait_ops = {
	.packet = npu_kqueue_wait_packet,
	.done = npu_kqueue_wait_done,
};

/*
 * The condition is the push itself: it fails with -EAGAIN exactly while there
 * is no room. The card makes room without help, so this ends.
 */
static int npu_kqueue_push(struct npu_kqueue *kqueue, struct npu_hwq_entry *entry,
			   const struct npu_packet *packets, u32 count)
{
	int ret;

	wait_event(kqueue->room,
		   (ret = npu_hwq_push(&kqueue->hwq, entry, packets, count)) != -EAGAIN);
	return ret;
}

static int npu_kqueue_try(struct npu_kqueue *kqueue, const struct npu_packet *packets,
			  u32 count, u32 *status)
{
	struct npu_kqueue_wait wait = {
		.entry.ops = &npu_kqueue_wait_ops,
		.kqueue = kqueue,
		.status = NPU_STATUS_OK,
	};
	int ret;

	init_completion(&wait.completion);
	ret = npu_kqueue_push(kqueue, &wait.entry, packets, count);
	if (ret)
		return ret;
	wait_for_completion(&wait.completion);
	*status = wait.status;
	return wait.error;
}

/**
 * npu_kqueue_run - execute packets on queue 0 and wait for them
 * @npu: device, inside drm_dev_enter() and awake
 * @packets: flags are set here
 * @count: at most NPU_HWQ_RING_SIZE
 *
 * Returns 0, or the error of the first packet that failed; later ones have
 * been skipped. Packets lost in somebody's card reset run again: doing them
 * twice is doing them once.
 */
int npu_kqueue_run(struct npu_device *npu, struct npu_packet *packets, u32 count)
{
	unsigned int tries = NPU_KQUEUE_TRIES;
	u32 status;
	int ret;
	u32 i;

	for (i = 0; i < count; i++)
		packets[i].flags = i + 1 < count ? NPU_PACKET_CHAIN : NPU_PACKET_IRQ;
	do {
		ret = npu_kqueue_try(&npu->kqueue, packets, count, &status);
		if (ret)
			return ret;
	} while (status == NPU_STATUS_VICTIM && --tries);
	return npu_status_to_errno(status);
}

/* ---- TLB invalidations ---- */

static const char *npu_tlb_fence_driver(struct dma_fence *fence)
{
	return "npu";
}

static const char *npu_tlb_fence_timeline(struct dma_fence *fence)
{
	return "npu-tlb";
}

static const struct dma_fence_ops npu_tlb_fence_ops = {
	.get_driver_name = npu_tlb_fence_driver,
	.get_timeline_name = npu_tlb_fence_timeline,
	.release = npu_fence_release,
};

static void npu_tlb_flush_packet(struct npu_hwq_entry *entry, u32 index,
				 const struct npu_completion *completion)
{
	container_of(entry, struct npu_tlb_flush, entry)->status = completion->status;
}

static void npu_tlb_flush_done(struct npu_hwq_entry *entry, int error)
{
	struct npu_tlb_flush *flush = container_of(entry, struct npu_tlb_flush, entry);
	struct npu_kqueue *kqueue = flush->kqueue;
	struct npu_device *npu = kqueue->hwq.npu;

	/*
	 * Given up: the card is stopped or gone and accesses nothing. VICTIM: a
	 * reset emptied the TLB. Any other failure leaves old entries behind,
	 * and the fence guards pages that are about to be reused.
	 */
	if (!error && flush->status != NPU_STATUS_OK && flush->status != NPU_STATUS_VICTIM) {
		list_add_tail(&entry->node, &kqueue->parked);
		npu_watchdog_want_card_reset(npu);
	} else {
		dma_fence_signal(&flush->fence);
		dma_fence_put(&flush->fence);
	}
	wake_up(&kqueue->room);
}

static const struct npu_hwq_entry_ops npu_tlb_flush_ops = {
	.packet = npu_tlb_flush_packet,
	.done = npu_tlb_flush_done,
};

/* A card reset emptied the TLB. */
void npu_kqueue_unpark(struct npu_kqueue *kqueue)
{
	struct npu_tlb_flush *flush, *next;
	unsigned long flags;

	spin_lock_irqsave(&kqueue->hwq.lock, flags);
	list_for_each_entry_safe(flush, next, &kqueue->parked, entry.node) {
		list_del(&flush->entry.node);
		dma_fence_signal(&flush->fence);
		dma_fence_put(&flush->fence);
	}
	spin_unlock_irqrestore(&kqueue->hwq.lock, flags);
}

struct npu_tlb_flush *npu_tlb_flush_alloc(struct npu_device *npu)
{
	struct npu_tlb_flush *flush = kzalloc(sizeof(*flush), GFP_KERNEL_ACCOUNT);

	if (!flush)
		return NULL;
	flush->kqueue = &npu->kqueue;
	flush->entry.ops = &npu_tlb_flush_ops;
	spin_lock_init(&flush->fence_lock);
	return flush;
}

/* For one that was never started. */
void npu_tlb_flush_free(struct npu_tlb_flush *flush)
{
	kfree(flush);
}

/* Its fence, with a reference for the card and one for the caller. */
static struct dma_fence *npu_tlb_flush_fence(struct npu_device *npu, struct npu_tlb_flush *flush)
{
	dma_fence_init(&flush->fence, &npu_tlb_fence_ops, &flush->fence_lock,
		       npu->kqueue.fence_context,
		       atomic64_inc_return(&npu->kqueue.fence_seqno));
	npu_fence_hold();
	return dma_fence_get(&flush->fence);
}

/* There is nothing to invalidate: a fence that has signalled, with @error if not 0. */
struct dma_fence *npu_tlb_flush_skip(struct npu_device *npu, struct npu_tlb_flush *flush,
				     int error)
{
	struct dma_fence *fence = npu_tlb_flush_fence(npu, flush);

	if (error)
		dma_fence_set_error(fence, error);
	dma_fence_signal(fence);
	dma_fence_put(fence);
	return fence;
}

/**
 * npu_tlb_flush_start - invalidate translations
 * @npu: device, inside drm_dev_enter() and awake
 * @flush: owned by the card after this
 * @asid: address space
 * @va: page-aligned start
 * @bytes: length, 0 for the whole address space
 *
 * Returns a fence, with a reference for the caller, that signals when no access
 * through an old translation is in flight any more. Fence-critical: may sleep
 * for room in the ring, allocates nothing.
 */
struct dma_fence *npu_tlb_flush_start(struct npu_device *npu, struct npu_tlb_flush *flush,
				      u16 asid, u64 va, u64 bytes)
{
	const struct npu_packet_tlb_invalidate packet = {
		.opcode = NPU_PACKET_TLB_INVALIDATE,
		.flags = NPU_PACKET_IRQ,
		.asid = asid,
		.va = va,
		.bytes = bytes,
	};
	int ret;

	BUILD_BUG_ON(sizeof(packet) != sizeof(struct npu_packet));
	npu_tlb_flush_fence(npu, flush);
	ret = npu_kqueue_push(&npu->kqueue, &flush->entry,
			      (const struct npu_packet *)&packet, 1);
	if (ret) {
		/* Queue 0 is closed only when the card accesses nothing any more. */
		dma_fence_signal(&flush->fence);
		dma_fence_put(&flush->fence);
	}
	return &flush->fence;
}

/* The same for callers that can neither fail nor continue before it happened. */
void npu_tlb_flush_wait(struct npu_device *npu, u16 asid, u64 va, u64 bytes)
{
	struct npu_packet packet;
	struct npu_packet_tlb_invalidate *invalidate = (void *)&packet;
	int ret;

	*invalidate = (struct npu_packet_tlb_invalidate) {
		.opcode = NPU_PACKET_TLB_INVALIDATE,
		.asid = asid,
		.va = va,
		.bytes = bytes,
	};
	ret = npu_kqueue_run(npu, &packet, 1);
	if (ret && ret != -ECANCELED && ret != -ENODEV)
		npu_watchdog_card_reset_now(npu);
}

/* ---- Life ---- */

int npu_kqueue_init(struct npu_device *npu)
{
	const struct npu_hwq_params params = {
		.priority = NPU_KQUEUE_PRIORITY,
		/* It runs no jobs; a context without cores is refused. */
		.core_mask = GENMASK(npu->target.cores - 1, 0),
	};
	struct npu_kqueue *kqueue = &npu->kqueue;

	init_waitqueue_head(&kqueue->room);
	INIT_LIST_HEAD(&kqueue->parked);
	kqueue->fence_context = dma_fence_context_alloc(1);
	return npu_hwq_init(npu, &kqueue->hwq, 0, &params);
}
