/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Hardware queues: a ring of packets, a ring of completions and a doorbell.
 * The kernel's queue 0 and every user queue is one.
 */
#ifndef NPU_HWQ_H
#define NPU_HWQ_H

#include <linux/bits.h>
#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct npu_completion;
struct npu_device;
struct npu_hwq_entry;
struct npu_packet;
struct npu_queue_indices;

/* The index of no packet. */
#define NPU_HWQ_NONE		(~0ull)

#define NPU_HWQ_RING_LOG2	8
#define NPU_HWQ_RING_SIZE	BIT(NPU_HWQ_RING_LOG2)

/* All are called under npu_hwq.lock with interrupts off, on the signalling path. */
struct npu_hwq_entry_ops {
	/* Optional: packet @index was lost in a card reset; may it run again? */
	bool (*restart)(struct npu_hwq_entry *entry, u32 index);
	/* Packet @index of the entry completed. */
	void (*packet)(struct npu_hwq_entry *entry, u32 index,
		       const struct npu_completion *completion);
	/* All did, or were given up with @error. The entry may be freed. */
	void (*done)(struct npu_hwq_entry *entry, int error);
};

/* Packets that were pushed together. Memory of whoever pushed them. */
struct npu_hwq_entry {
	const struct npu_hwq_entry_ops *ops;
	/* In npu_hwq.pending. */
	struct list_head node;
	/* Index of the first packet since the queue was made. */
	u64 first;
	u32 count;
};

struct npu_hwq {
	struct npu_device *npu;
	unsigned int id;

	/* Protects all below; taken in interrupts. */
	spinlock_t lock;
	/* One coherent allocation: packets, completions, indices. */
	struct npu_packet *ring;
	struct npu_completion *completions;
	struct npu_queue_indices *indices;
	dma_addr_t dma;
	/* Where the card puts live SRAM of a preempted job; NULL: it does not preempt. */
	void *save;
	dma_addr_t save_dma;
	size_t save_bytes;
	u64 producer;
	u64 consumer;
	struct list_head pending;
	/* Not 0: refuses packets, with this error. */
	int closed;
	/* A card reset is under way: packets lost in it may stay for the start after it. */
	bool resetting;
	/* The packet that stays, or NPU_HWQ_NONE. */
	u64 kept;
	/* The packet that the watchdog stopped; ends with HANG, whatever the card says. */
	u64 blamed;
	u32 blamed_status;

	/* What the watchdog saw last. Protected by npu_watchdog.lock. */
	struct {
		u64 consumer;
		u32 heartbeat;
		/* When it looked, and for how long the heartbeat has stood still; jiffies. */
		unsigned long looked;
		unsigned long still;
		bool valid;
		bool heartbeat_valid;
	} watch;
};

/* What a queue is made with: goes into its context. */
struct npu_hwq_params {
	u32 asid;
	u32 priority;
	u32 core_mask;
	u64 cycle_limit;
	u64 quantum;
	u32 coalesce_count;
	u32 coalesce_ns;
	/* Of the save area; 0: none. */
	size_t save_bytes;
};

int npu_hwq_init(struct npu_device *npu, struct npu_hwq *hwq, unsigned int id,
		 const struct npu_hwq_params *params);
void npu_hwq_fini(struct npu_hwq *hwq);
void npu_hwq_fini_all(struct npu_device *npu);
void npu_hwq_start(struct npu_hwq *hwq);
int npu_hwq_push(struct npu_hwq *hwq, struct npu_hwq_entry *entry,
		 const struct npu_packet *packets, u32 count);
void npu_hwq_restart(struct npu_hwq *hwq, u32 status);
bool npu_hwq_process(struct npu_hwq *hwq);
void npu_hwq_give_up(struct npu_hwq *hwq, u32 status, int error);
void npu_hwq_begin_reset(struct npu_hwq *hwq);
void npu_hwq_end_reset(struct npu_hwq *hwq);
void npu_hwq_blame(struct npu_hwq *hwq, u32 status);
unsigned int npu_hwq_vector(struct npu_device *npu, unsigned int id);

#endif
