/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* User queues: each is a hardware queue and a scheduler with one entity. */
#ifndef NPU_QUEUE_H_
#define NPU_QUEUE_H_

#include <linux/kref.h>
#include <linux/sched.h>
#include <linux/workqueue.h>

#include <drm/gpu_scheduler.h>
#include <uapi/drm/npu_accel.h>

#include "npu_hwq.h"

struct drm_device;
struct drm_file;
struct npu_completion;
struct npu_device;
struct npu_file;
struct npu_vm;

struct npu_queue {
	struct kref kref;
	struct work_struct release;
	struct npu_device *npu;
	struct npu_file *nfile;
	struct npu_vm *vm;
	struct npu_hwq hwq;
	/* From npu_sched_get(). */
	struct drm_gpu_scheduler *sched;
	struct drm_sched_entity entity;
	/* Handle, as the user knows it. */
	u32 id;
	/* Who made it, for reports. */
	char comm[TASK_COMM_LEN];
	u32 pid;
	u32 core_mask;

	u64 fence_context;
	u64 fence_seqno;	/* of run_job, which the scheduler serialises */

	/* Jobs accepted. Protected by the address space's reservation lock. */
	u64 jobs_submitted;
	/* Submissions accepted and not yet freed. */
	atomic_t unfinished;

	/* Protects all below. Inside hwq.lock, taken in interrupts. */
	spinlock_t lock;
	u64 jobs_completed;
	struct drm_npu_fault fault;
	/* Number from 1, 0: none. */
	u64 first_failed;
	u32 health;
	u32 hangs;
};

/* Submissions that may wait in one queue. */
#define NPU_QUEUE_MAX_UNFINISHED	4096

struct npu_queue *npu_queue_get(struct npu_queue *queue);
void npu_queue_put(struct npu_queue *queue);
struct npu_queue *npu_queue_lookup(struct npu_file *nfile, u32 id);
void npu_queue_close_file(struct npu_file *nfile);
void npu_queue_account(struct npu_queue *queue, u64 job, bool first_failure,
		       const struct npu_completion *completion);

int npu_queue_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int npu_queue_destroy_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int npu_queue_state_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

#endif
