/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Device coredumps: what a job that failed, and the card, looked like. */
#ifndef NPU_COREDUMP_H
#define NPU_COREDUMP_H

#include <linux/ratelimit.h>
#include <linux/workqueue.h>

#include "npu/queue.h"

struct npu_completion;
struct npu_device;
struct npu_hwq;
struct npu_queue;
struct npu_vm;

/* A dump that is being written. */
struct npu_dump_file {
	void *data;
	size_t size;
	size_t bytes;
};

/* One dump at a time; what happens meanwhile leaves none. */
struct npu_dump {
	/* Bit 0: somebody is writing. */
	unsigned long busy;
	/* Of dumps that jobs cause. */
	struct ratelimit_state limit;
	/*
	 * Memory of fixed size, so that capturing allocates nothing. The bulk, user
	 * memory, is added by the work.
	 */
	struct npu_dump_file file;
	bool has_registers;
	/* Begun for this queue's packet, and not yet ended. Protected by that queue's hwq.lock. */
	struct npu_hwq *hwq;
	u64 packet;
	/* The guilty job's, with a reference, and what it ran. */
	struct npu_vm *vm;
	struct npu_packet_job job;
	u32 core;
	struct work_struct work;
};

int npu_dump_init(struct npu_device *npu);
void npu_dump_fini(struct npu_device *npu);
void npu_dump_begin(struct npu_device *npu, struct npu_hwq *hwq);
void npu_dump_end(struct npu_device *npu, struct npu_hwq *hwq);
void npu_dump_job(struct npu_queue *queue, u64 packet, const struct npu_packet *what,
		  const struct npu_completion *completion);

#endif
