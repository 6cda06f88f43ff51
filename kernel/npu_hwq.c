// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Hardware queues.
 *
 * In the steady state a push is one doorbell write and a completion is read
 * from memory: no other register is touched.
 */
#include <linux/dma-fence.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>

#include "npu_device.h"
#include "npu_hw.h"
#include "npu_hwq.h"
#include "npu_trace.h"
#include "npu_watchdog.h"

#define NPU_HWQ_RING_BYTES	(NPU_HWQ_RING_SIZE * sizeof(struct npu_packet))
#define NPU_HWQ_COMPLETION_BYTES (NPU_HWQ_RING_SIZE * sizeof(struct npu_completion))
#define NPU_HWQ_BYTES \
	(NPU_HWQ_RING_BYTES + NPU_HWQ_COMPLETION_BYTES + sizeof(struct npu_queue_indices))

/* Vector 0 is for events; queues share the others. With one vector all share it. */
unsigned int npu_hwq_vector(struct npu_device *npu, unsigned int id)
{
	return npu->vectors > 1 ? 1 + id % (npu->vectors - 1) : 0;
}

/**
 * npu_hwq_init - allocate a queue's rings, publish it and start it
 * @npu: device, inside drm_dev_enter() and awake
 * @hwq: zeroed
 * @id: its number, below npu->hwqs
 * @params: its context
 */
int npu_hwq_init(struct npu_device *npu, struct npu_hwq *hwq, unsigned int id,
		 const struct npu_hwq_params *params)
{
	struct npu_queue_context *context = &npu->queue_table[id];
	bool cookie;

	hwq->npu = npu;
	hwq->id = id;
	hwq->blamed = NPU_HWQ_NONE;
	hwq->kept = NPU_HWQ_NONE;
	spin_lock_init(&hwq->lock);
	INIT_LIST_HEAD(&hwq->pending);

	hwq->ring = dma_alloc_coherent(npu->drm.dev, NPU_HWQ_BYTES, &hwq->dma, GFP_KERNEL_ACCOUNT);
	if (!hwq->ring)
		return -ENOMEM;
	/*
	 * A short save area will do for most YIELDs, which keep little; with none at
	 * all the queue's jobs are not preempted.
	 */
	hwq->save_bytes = params->save_bytes;
	hwq->save = npu_hw_alloc(npu, &hwq->save_bytes, &hwq->save_dma, GFP_KERNEL_ACCOUNT);
	hwq->completions = (void *)hwq->ring + NPU_HWQ_RING_BYTES;
	hwq->indices = (void *)hwq->completions + NPU_HWQ_COMPLETION_BYTES;

	*context = (struct npu_queue_context) {
		.ring = hwq->dma,
		.completions = hwq->dma + NPU_HWQ_RING_BYTES,
		.indices = hwq->dma + NPU_HWQ_RING_BYTES + NPU_HWQ_COMPLETION_BYTES,
		.ring_log2 = NPU_HWQ_RING_LOG2,
		.asid = params->asid,
		.priority = params->priority,
		.vector = npu_hwq_vector(npu, id),
		.core_mask = params->core_mask,
		.cycle_limit = params->cycle_limit,
		.quantum = params->quantum,
		.coalesce_count = params->coalesce_count,
		.coalesce_ns = params->coalesce_ns,
		.save_area = hwq->save_dma,
		.save_bytes = hwq->save_bytes,
	};

	cookie = npu_watchdog_lock(npu);
	WRITE_ONCE(npu->slots[id], hwq);
	npu_hwq_start(hwq);
	npu_watchdog_unlock(npu, cookie);
	return 0;
}

/* The card reads context and indices and runs what is not yet retired. */
void npu_hwq_start(struct npu_hwq *hwq)
{
	/* Context and rings are in memory before the card looks. */
	dma_wmb();
	npu_write(hwq->npu, NPU_QUEUE_PAGE(hwq->id) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_START);
}

static void npu_hwq_free(struct npu_hwq *hwq)
{
	struct npu_device *npu = hwq->npu;

	lockdep_assert_held(&npu->watchdog.lock);
	WARN_ON(!list_empty(&hwq->pending));
	WRITE_ONCE(npu->slots[hwq->id], NULL);
	/* A handler may have read the slot just before. */
	synchronize_irq(npu->vector[npu_hwq_vector(npu, hwq->id)].irq);
	dma_free_coherent(npu->drm.dev, NPU_HWQ_BYTES, hwq->ring, hwq->dma);
	hwq->ring = NULL;
	if (hwq->save)
		dma_free_coherent(npu->drm.dev, hwq->save_bytes, hwq->save, hwq->save_dma);
}

/*
 * Frees a queue that the card has stopped and on which nothing is pending, unless
 * remove() has done so: then its memory is all that is left.
 */
void npu_hwq_fini(struct npu_hwq *hwq)
{
	struct npu_device *npu = hwq->npu;
	bool cookie = npu_watchdog_lock(npu);

	if (hwq->ring)
		npu_hwq_free(hwq);
	npu_watchdog_unlock(npu, cookie);
}

/*
 * remove(): the card is stopped, and nobody pushes any more. The owner of a queue
 * may be releasing it: a queue in its slot, under the lock, is still there.
 */
void npu_hwq_fini_all(struct npu_device *npu)
{
	bool cookie = npu_watchdog_lock(npu);
	unsigned int id;

	for (id = 0; id < npu->hwqs; id++) {
		if (!npu->slots[id])
			continue;
		npu_hwq_give_up(npu->slots[id], NPU_STATUS_VICTIM, -ENODEV);
		npu_hwq_free(npu->slots[id]);
	}
	npu_kqueue_unpark(&npu->kqueue);
	npu_watchdog_unlock(npu, cookie);
}

/**
 * npu_hwq_push - write packets, ring the doorbell
 * @hwq: queue, inside drm_dev_enter(), the card awake
 * @entry: ops set; belongs to the queue until its done() is called
 * @packets: copied
 * @count: at most NPU_HWQ_RING_SIZE
 *
 * Fence-critical: neither allocates nor sleeps. Returns -EAGAIN if the ring
 * has no room, or the error with which the queue was closed.
 */
int npu_hwq_push(struct npu_hwq *hwq, struct npu_hwq_entry *entry,
		 const struct npu_packet *packets, u32 count)
{
	struct npu_device *npu = hwq->npu;
	unsigned long flags;
	u32 i;

	spin_lock_irqsave(&hwq->lock, flags);
	if (hwq->closed || hwq->producer - hwq->consumer + count > NPU_HWQ_RING_SIZE) {
		int ret = hwq->closed ?: -EAGAIN;

		spin_unlock_irqrestore(&hwq->lock, flags);
		return ret;
	}

	entry->first = hwq->producer;
	entry->count = count;
	list_add_tail(&entry->node, &hwq->pending);
	for (i = 0; i < count; i++)
		hwq->ring[(hwq->producer + i) % NPU_HWQ_RING_SIZE] = packets[i];
	hwq->producer += count;
	trace_npu_run(hwq, entry->first, count);

	/* Packets before the index, the index before the doorbell. */
	dma_wmb();
	WRITE_ONCE(hwq->indices->producer, hwq->producer);
	npu_write(npu, NPU_QUEUE_PAGE(hwq->id) + NPU_QUEUE_DOORBELL,
		  lower_32_bits(hwq->producer));
	atomic_inc(&npu->inflight);
	spin_unlock_irqrestore(&hwq->lock, flags);

	npu_watchdog_arm(npu);
	return 0;
}

static void npu_hwq_retire(struct npu_hwq *hwq, const struct npu_completion *completion,
			   int error)
{
	struct npu_hwq_entry *entry =
		list_first_entry(&hwq->pending, struct npu_hwq_entry, node);

	lockdep_assert_held(&hwq->lock);
	entry->ops->packet(entry, hwq->consumer - entry->first, completion);
	hwq->consumer++;
	if (hwq->consumer == entry->first + entry->count) {
		list_del(&entry->node);
		atomic_dec(&hwq->npu->inflight);
		entry->ops->done(entry, error);
	}
}

/* Whether the oldest packet is to run again; asks its owner once per reset. */
static bool npu_hwq_keeps(struct npu_hwq *hwq)
{
	struct npu_hwq_entry *entry =
		list_first_entry(&hwq->pending, struct npu_hwq_entry, node);

	if (hwq->kept != hwq->consumer && entry->ops->restart &&
	    entry->ops->restart(entry, hwq->consumer - entry->first))
		hwq->kept = hwq->consumer;
	return hwq->kept == hwq->consumer;
}

/*
 * Retires what the card has completed, from memory alone. Any context.
 * Returns whether there was something.
 */
bool npu_hwq_process(struct npu_hwq *hwq)
{
	bool cookie = dma_fence_begin_signalling();
	bool any = false;
	unsigned long flags;

	spin_lock_irqsave(&hwq->lock, flags);
	while (hwq->consumer != hwq->producer) {
		struct npu_completion *slot =
			&hwq->completions[hwq->consumer % NPU_HWQ_RING_SIZE];
		struct npu_completion blamed;

		if (READ_ONCE(slot->sequence) != hwq->consumer + 1)
			break;
		/* The sequence was written last. */
		dma_rmb();
		if (hwq->blamed == hwq->consumer) {
			hwq->blamed = NPU_HWQ_NONE;
			blamed = *slot;
			if (blamed.status == NPU_STATUS_ABORTED ||
			    blamed.status == NPU_STATUS_VICTIM)
				blamed.status = hwq->blamed_status;
			slot = &blamed;
		}
		if (hwq->resetting && slot->status == NPU_STATUS_VICTIM && npu_hwq_keeps(hwq))
			break;
		npu_hwq_retire(hwq, slot, 0);
		any = true;
	}
	spin_unlock_irqrestore(&hwq->lock, flags);
	dma_fence_end_signalling(cookie);
	return any;
}

/*
 * For a queue that the card has stopped: pending packets end with @status, and
 * the ring begins anew. Stays open: what is pushed meanwhile waits for the start.
 */
void npu_hwq_restart(struct npu_hwq *hwq, u32 status)
{
	unsigned long flags;

	npu_hwq_give_up(hwq, status, 0);
	spin_lock_irqsave(&hwq->lock, flags);
	hwq->indices->consumer = hwq->consumer;
	hwq->indices->producer = hwq->producer;
	npu_hwq_start(hwq);
	spin_unlock_irqrestore(&hwq->lock, flags);
}

/* Between these two the card is reset, and stops the queue. */
void npu_hwq_begin_reset(struct npu_hwq *hwq)
{
	unsigned long flags;

	spin_lock_irqsave(&hwq->lock, flags);
	hwq->resetting = true;
	spin_unlock_irqrestore(&hwq->lock, flags);
}

/* Starts the queue at its oldest packet that did not retire here. */
void npu_hwq_end_reset(struct npu_hwq *hwq)
{
	unsigned long flags;

	npu_hwq_process(hwq);
	spin_lock_irqsave(&hwq->lock, flags);
	hwq->resetting = false;
	if (hwq->kept != NPU_HWQ_NONE) {
		/* For the card it is complete: back to it. */
		hwq->completions[hwq->kept % NPU_HWQ_RING_SIZE].sequence = 0;
		hwq->indices->consumer = hwq->kept;
		hwq->kept = NPU_HWQ_NONE;
	}
	if (!hwq->closed)
		npu_hwq_start(hwq);
	spin_unlock_irqrestore(&hwq->lock, flags);
}

/* The oldest packet is about to be stopped by a reset: it is to end with @status. */
void npu_hwq_blame(struct npu_hwq *hwq, u32 status)
{
	unsigned long flags;

	spin_lock_irqsave(&hwq->lock, flags);
	hwq->blamed = hwq->consumer;
	hwq->blamed_status = status;
	spin_unlock_irqrestore(&hwq->lock, flags);
}

/*
 * Ends everything pending with @status, but for a packet that was blamed. If @error
 * is not 0 it is the error of all of them, and new packets are refused with it. The
 * card must have stopped the queue, or be gone.
 */
void npu_hwq_give_up(struct npu_hwq *hwq, u32 status, int error)
{
	struct npu_completion completion = {
		.command = NPU_NO_COMMAND,
		.engine = NPU_ENGINE_PACKET,
	};
	bool cookie = dma_fence_begin_signalling();
	unsigned long flags;

	spin_lock_irqsave(&hwq->lock, flags);
	hwq->closed = error;
	while (hwq->consumer != hwq->producer) {
		completion.status = hwq->blamed == hwq->consumer ? hwq->blamed_status : status;
		npu_hwq_retire(hwq, &completion, error);
	}
	hwq->blamed = NPU_HWQ_NONE;
	spin_unlock_irqrestore(&hwq->lock, flags);
	dma_fence_end_signalling(cookie);
}
