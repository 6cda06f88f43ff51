// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * SUBMIT: from the ioctl to the fence.
 *
 * One SUBMIT is one scheduler job of n packets, one doorbell, and an interrupt
 * on the last packet. The ioctl builds packets and allocates the fence;
 * run_job copies the packets and rings.
 */
#include <linux/slab.h>

#include <drm/drm_exec.h>

#include "npu_device.h"
#include "npu_file.h"
#include "npu_job.h"
#include "npu_pm.h"
#include "npu_queue.h"
#include "npu_sync.h"
#include "npu_trace.h"
#include "npu_vm.h"

/* A job that is lost in so many resets is no longer started again. */
#define NPU_JOB_MAX_RESTARTS	3

/* Signals when the card has ended the submission. May outlive job and queue. */
struct npu_job_fence {
	struct dma_fence base;	/* first: it is what dma_fence_free() frees */
	/* Protects base. Inside hwq.lock. */
	spinlock_t lock;
};

struct npu_job {
	struct drm_sched_job base;
	struct npu_queue *queue;
	struct npu_hwq_entry entry;
	/* Allocated by the ioctl; plain memory until run_job initialises it. */
	struct npu_job_fence *fence;
	bool fence_live;
	/* The queue's number of the first job of the submission. */
	u64 number;
	/* Of the first job that failed. */
	u32 status;
	/* In npu_device.fence_count. */
	bool counted;
	u32 restarts;
	u32 count;
	struct npu_packet packets[] __counted_by(count);
};

static struct npu_job *to_npu_job(struct drm_sched_job *base)
{
	return container_of(base, struct npu_job, base);
}

int npu_status_to_errno(u32 status)
{
	switch (status) {
	case NPU_STATUS_OK:
		return 0;
	case NPU_STATUS_MMU_FAULT:
	case NPU_STATUS_SRAM_RANGE:
		return -EFAULT;
	case NPU_STATUS_BAD_COMMAND:
	case NPU_STATUS_HAZARD:
	case NPU_STATUS_DEADLOCK:
		return -EINVAL;
	case NPU_STATUS_BUDGET:
	case NPU_STATUS_HANG:
		return -ETIME;
	case NPU_STATUS_ABORTED:
	case NPU_STATUS_VICTIM:
		return -ECANCELED;
	case NPU_STATUS_ECC:
	case NPU_STATUS_DMA_ERROR:
	default:
		return -EIO;
	}
}

/* ---- Fence ---- */

static const char *npu_job_fence_driver(struct dma_fence *fence)
{
	return "npu";
}

static const char *npu_job_fence_timeline(struct dma_fence *fence)
{
	return "npu-queue";
}

static const struct dma_fence_ops npu_job_fence_ops = {
	.get_driver_name = npu_job_fence_driver,
	.get_timeline_name = npu_job_fence_timeline,
	.release = npu_fence_release,
};

/* ---- Completion: under hwq.lock, in interrupts ---- */

static void npu_job_packet(struct npu_hwq_entry *entry, u32 index,
			   const struct npu_completion *completion)
{
	struct npu_job *job = container_of(entry, struct npu_job, entry);
	bool first_failure = false;

	if (completion->status != NPU_STATUS_OK && job->status == NPU_STATUS_OK) {
		job->status = completion->status;
		first_failure = true;
	}
	npu_queue_account(job->queue, job->number + index, first_failure, completion);
	trace_npu_complete(job->queue, entry->first + index, job->number + index, completion);
	if (first_failure && npu_status_is_guilty(completion->status)) {
		trace_npu_fault(job->queue, job->number + index, completion);
		npu_report_job(job->queue, job->number + index, completion);
		npu_dump_job(job->queue, entry->first + index, &job->packets[index], completion);
	}
}

/*
 * The stream promises that running it twice is running it once. Its successors in
 * a chain, which the card would skip after a failure, follow the second run.
 */
static bool npu_job_restart(struct npu_hwq_entry *entry, u32 index)
{
	struct npu_job *job = container_of(entry, struct npu_job, entry);

	return job->packets[index].flags & NPU_PACKET_RESTARTABLE &&
	       job->restarts++ < NPU_JOB_MAX_RESTARTS;
}

static void npu_job_uncount(struct npu_job *job)
{
	if (job->counted) {
		job->counted = false;
		atomic_dec(&job->queue->npu->fence_count);
	}
}

static void npu_job_done(struct npu_hwq_entry *entry, int error)
{
	struct npu_job *job = container_of(entry, struct npu_job, entry);
	struct dma_fence *fence = &job->fence->base;

	/* What the job did itself says more than why the rest was given up. */
	if (!error ||
	    (job->status != NPU_STATUS_VICTIM && job->status != NPU_STATUS_ABORTED))
		error = npu_status_to_errno(job->status);
	npu_job_uncount(job);
	if (error)
		dma_fence_set_error(fence, error);
	/* The scheduler may free the job as soon as this signals. */
	dma_fence_signal(fence);
	dma_fence_put(fence);
}

static const struct npu_hwq_entry_ops npu_job_entry_ops = {
	.restart = npu_job_restart,
	.packet = npu_job_packet,
	.done = npu_job_done,
};

/* ---- Scheduler ---- */

/*
 * Fence-critical: allocates nothing and takes no lock under which anyone
 * allocates or waits.
 */
static struct dma_fence *npu_job_run(struct drm_sched_job *base)
{
	struct npu_job *job = to_npu_job(base);
	struct npu_queue *queue = job->queue;
	struct dma_fence *fence = &job->fence->base;
	int ret = -ENODEV;
	bool cookie;
	int idx;

	cookie = dma_fence_begin_signalling();
	dma_fence_init(fence, &npu_job_fence_ops, &job->fence->lock, queue->fence_context,
		       ++queue->fence_seqno);
	job->fence_live = true;
	npu_fence_hold();
	/* One reference for the completion, one for the scheduler. */
	dma_fence_get(fence);
	if (drm_dev_enter(&queue->npu->drm, &idx)) {
		ret = npu_hwq_push(&queue->hwq, &job->entry, job->packets, job->count);
		drm_dev_exit(idx);
	}
	if (ret) {
		/* Refused; the fence is returned all the same: see npu_sched.c. */
		npu_job_uncount(job);
		dma_fence_set_error(fence, ret);
		dma_fence_signal(fence);
		dma_fence_put(fence);
	}
	dma_fence_end_signalling(cookie);
	return fence;
}

static void npu_job_destroy(struct npu_job *job)
{
	if (!job->fence_live)
		kfree(job->fence);
	kvfree(job);
}

static void npu_job_free(struct drm_sched_job *base)
{
	struct npu_job *job = to_npu_job(base);
	struct npu_queue *queue = job->queue;

	drm_sched_job_cleanup(base);
	npu_job_destroy(job);
	atomic_dec(&queue->unfinished);
	npu_rest(queue->npu);
	npu_queue_put(queue);
}

/* Never called: the timeout is off, see npu_watchdog.c. */
static enum drm_gpu_sched_stat npu_job_timedout(struct drm_sched_job *base)
{
	return NPU_SCHED_STAT_HANDLED;
}

const struct drm_sched_backend_ops npu_job_sched_ops = {
	.run_job = npu_job_run,
	.timedout_job = npu_job_timedout,
	.free_job = npu_job_free,
};

/* ---- The ioctl ---- */

/* Turns the user's description into a packet; false if it makes no sense. */
static bool npu_job_build(struct npu_queue *queue, const struct drm_npu_job *in,
			  struct npu_packet *out)
{
	const struct npu_target *target = &queue->npu->target;
	const u32 known = DRM_NPU_JOB_RESTARTABLE | DRM_NPU_JOB_PROFILE |
			  DRM_NPU_JOB_PROFILE_COMMANDS;
	struct npu_packet_job *packet = (struct npu_packet_job *)out;
	bool profile = in->flags & DRM_NPU_JOB_PROFILE;
	u32 i;

	BUILD_BUG_ON(sizeof(*packet) != sizeof(*out));
	BUILD_BUG_ON(DRM_NPU_MAX_CORES != NPU_MAX_CORES);
	if (in->flags & ~known || (in->flags & DRM_NPU_JOB_PROFILE_COMMANDS && !profile))
		return false;
	if (!in->stream_count || in->stream_count > target->cores ||
	    in->region_count > NPU_MAX_REGIONS)
		return false;
	if (in->core_mask & ~queue->core_mask ||
	    hweight32(in->core_mask ?: queue->core_mask) < in->stream_count)
		return false;
	if (in->stream_va % 128 || in->region_va % 8 || in->profile_va % 128)
		return false;
	if (!in->region_count != !in->region_va || profile != !!in->profile_va)
		return false;
	for (i = 0; i < DRM_NPU_MAX_CORES; i++) {
		u32 bytes = in->stream_bytes[i];

		if (i >= in->stream_count ? bytes :
		    !bytes || bytes % 128 || bytes > target->max_stream_bytes)
			return false;
	}

	*packet = (struct npu_packet_job) {
		.opcode = NPU_PACKET_JOB,
		.stream_count = in->stream_count,
		.region_count = in->region_count,
		.core_mask = in->core_mask,
		.stream_va = in->stream_va,
		.region_va = in->region_va,
		.profile_va = in->profile_va,
	};
	if (in->flags & DRM_NPU_JOB_RESTARTABLE)
		packet->flags |= NPU_PACKET_RESTARTABLE;
	if (profile)
		packet->flags |= NPU_PACKET_PROFILE;
	if (in->flags & DRM_NPU_JOB_PROFILE_COMMANDS)
		packet->flags |= NPU_PACKET_PROFILE_COMMANDS;
	memcpy(packet->stream_bytes, in->stream_bytes, sizeof(packet->stream_bytes));
	return true;
}

static struct npu_job *npu_job_alloc(struct npu_queue *queue, const struct drm_npu_array *array)
{
	struct drm_npu_job *in = npu_array_copy(array, sizeof(*in), NPU_MAX_JOBS);
	struct npu_job *job;
	u32 i;

	if (IS_ERR_OR_NULL(in))
		return in ? ERR_CAST(in) : ERR_PTR(-EINVAL);

	job = kvzalloc(struct_size(job, packets, array->count), GFP_KERNEL_ACCOUNT);
	if (!job)
		goto err_nomem;
	job->fence = kzalloc(sizeof(*job->fence), GFP_KERNEL_ACCOUNT);
	if (!job->fence)
		goto err_nomem;
	spin_lock_init(&job->fence->lock);
	job->queue = queue;
	job->entry.ops = &npu_job_entry_ops;
	job->count = array->count;
	for (i = 0; i < job->count; i++) {
		struct npu_packet *packet = &job->packets[i];

		if (!npu_job_build(queue, &in[i], packet)) {
			kvfree(in);
			npu_job_destroy(job);
			return ERR_PTR(-EINVAL);
		}
		packet->flags |= i + 1 < job->count ? NPU_PACKET_CHAIN : NPU_PACKET_IRQ;
	}
	kvfree(in);
	return job;

err_nomem:
	kvfree(in);
	kvfree(job);
	return ERR_PTR(-ENOMEM);
}

/* Locks the space and all its buffers, and brings back what was evicted. */
static int npu_job_lock(struct npu_vm *vm, struct drm_exec *exec)
{
	int ret;

	drm_exec_until_all_locked(exec) {
		ret = drm_gpuvm_prepare_vm(&vm->gpuvm, exec, 1);
		drm_exec_retry_on_contention(exec);
		if (ret)
			return ret;
		ret = drm_gpuvm_prepare_objects(&vm->gpuvm, exec, 1);
		drm_exec_retry_on_contention(exec);
		if (ret)
			return ret;
	}
	return drm_gpuvm_validate(&vm->gpuvm, exec);
}

static int npu_job_wait_moves(struct npu_job *job, struct drm_exec *exec)
{
	struct drm_gem_object *obj;
	unsigned long index;
	int ret;

	for (index = 0; (obj = drm_exec_obj(exec, index)); index++) {
		ret = drm_sched_job_add_resv_dependencies(&job->base, obj->resv,
							  DMA_RESV_USAGE_KERNEL);
		if (ret)
			return ret;
	}
	return 0;
}

/* Consumes the job. */
static int npu_job_submit(struct npu_job *job, struct drm_file *file,
			  const struct drm_npu_submit *args)
{
	struct npu_queue *queue = job->queue;
	struct npu_vm *vm = queue->vm;
	struct npu_signals signals;
	struct dma_fence *finished;
	struct drm_exec exec;
	int ret;

	ret = npu_signals_init(&signals, file, &args->signals);
	if (ret) {
		npu_job_destroy(job);
		return ret;
	}
	ret = npu_sched_job_init(&job->base, &queue->entity, job->count, queue, file);
	if (ret) {
		npu_signals_fini(&signals);
		npu_job_destroy(job);
		return ret;
	}
	ret = npu_waits_add(&job->base, file, &args->waits);
	if (ret)
		goto err_job;

	drm_exec_init(&exec, DRM_EXEC_INTERRUPTIBLE_WAIT | DRM_EXEC_IGNORE_DUPLICATES, 0);
	ret = npu_job_lock(vm, &exec);
	if (!ret)
		ret = npu_job_wait_moves(job, &exec);
	if (ret)
		goto err_exec;

	/* No return from here. The space's lock orders arming, numbers and pushing. */
	npu_queue_get(queue);
	pm_runtime_get_noresume(queue->npu->drm.dev);
	atomic_inc(&queue->unfinished);
	atomic_inc(&queue->npu->fence_count);
	job->counted = true;
	job->number = queue->jobs_submitted;
	WRITE_ONCE(queue->jobs_submitted, job->number + job->count);
	drm_sched_job_arm(&job->base);
	finished = dma_fence_get(&job->base.s_fence->finished);
	drm_gpuvm_resv_add_fence(&vm->gpuvm, &exec, finished, DMA_RESV_USAGE_BOOKKEEP,
				 DMA_RESV_USAGE_BOOKKEEP);
	npu_signals_attach(&signals, finished);
	trace_npu_submit(queue, job->number, job->count);
	drm_sched_entity_push_job(&job->base);
	dma_fence_put(finished);
	drm_exec_fini(&exec);
	npu_signals_fini(&signals);
	return 0;

err_exec:
	drm_exec_fini(&exec);
err_job:
	drm_sched_job_cleanup(&job->base);
	npu_signals_fini(&signals);
	npu_job_destroy(job);
	return ret;
}

int npu_submit_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct npu_file *nfile = file->driver_priv;
	struct npu_device *npu = to_npu(drm);
	struct drm_npu_submit *args = data;
	struct npu_queue *queue;
	struct npu_job *job;
	int ret;
	int idx;

	if (args->flags)
		return -EINVAL;
	queue = npu_queue_lookup(nfile, args->queue_id);
	if (!queue)
		return -ENOENT;

	ret = READ_ONCE(npu->lost) ? -ENODEV : npu_use_begin(npu, &idx);
	if (ret)
		goto out_queue;
	ret = -EIO;
	if (READ_ONCE(queue->health) >= DRM_NPU_QUEUE_MEMORY_LOST)
		goto out_exit;
	ret = -EBUSY;
	if (atomic_read(&queue->unfinished) >= NPU_QUEUE_MAX_UNFINISHED)
		goto out_exit;

	job = npu_job_alloc(queue, &args->jobs);
	ret = IS_ERR(job) ? PTR_ERR(job) : npu_job_submit(job, file, args);
out_exit:
	npu_use_end(npu, idx);
out_queue:
	npu_queue_put(queue);
	return ret;
}
