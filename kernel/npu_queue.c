// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * User queues: each is a hardware queue and a scheduler with one entity.
 *
 * Destroying a queue stops its hardware at once. Submissions that still wait
 * for fences keep the object: they pass through run_job, which refuses them,
 * so that every fence signals with the documented error; the last one frees
 * the queue.
 */
#include <linux/capability.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "npu_device.h"
#include "npu_file.h"
#include "npu_job.h"
#include "npu_pm.h"
#include "npu_queue.h"
#include "npu_sched.h"
#include "npu_vm.h"
#include "npu_watchdog.h"

static unsigned long long cycle_limit = 100ull * 1000 * 1000 * 1000;
module_param(cycle_limit, ullong, 0644);
MODULE_PARM_DESC(cycle_limit,
		 "Most modelled cycles of one job, for queues made from now on; 0 = no limit (default 10^11)");

static unsigned long long quantum = NPU_QUANTUM_DEFAULT;
module_param(quantum, ullong, 0644);
MODULE_PARM_DESC(quantum,
		 "Most modelled cycles without a YIELD while a more urgent job waits, for queues made from now on (default 10^7)");

static unsigned int save_kib = 1024;
module_param(save_kib, uint, 0644);
MODULE_PARM_DESC(save_kib,
		 "Most KiB of live SRAM of a preempted job, for queues made from now on; 0 = no preemption (default 1024)");

static unsigned int ban_after = 5;
module_param(ban_after, uint, 0644);
MODULE_PARM_DESC(ban_after, "Hangs after which a queue is banned, 0 = never (default 5)");

struct npu_queue *npu_queue_get(struct npu_queue *queue)
{
	kref_get(&queue->kref);
	return queue;
}

static void npu_queue_release(struct work_struct *work)
{
	struct npu_queue *queue = container_of(work, struct npu_queue, release);
	struct npu_device *npu = queue->npu;

	drm_sched_entity_fini(&queue->entity);
	drm_sched_fini(queue->sched);
	npu_sched_put(queue->sched);
	npu_hwq_fini(&queue->hwq);
	ida_free(&npu->queue_ida, queue->hwq.id);
	npu_vm_put(queue->vm);
	npu_file_put(queue->nfile);
	kfree(queue);
	atomic_dec(&npu->queue_count);
	drm_dev_put(&npu->drm);
	npu_deferred_put();
}

static void npu_queue_unused(struct kref *kref)
{
	struct npu_queue *queue = container_of(kref, struct npu_queue, kref);

	/* May be called by the scheduler that has to be stopped. */
	queue_work(npu_release_wq, &queue->release);
}

void npu_queue_put(struct npu_queue *queue)
{
	if (queue)
		kref_put(&queue->kref, npu_queue_unused);
}

struct npu_queue *npu_queue_lookup(struct npu_file *nfile, u32 id)
{
	struct npu_queue *queue;

	xa_lock(&nfile->queues);
	queue = xa_load(&nfile->queues, id);
	if (queue)
		npu_queue_get(queue);
	xa_unlock(&nfile->queues);
	return queue;
}

/* Ends all jobs; new and waiting ones are refused. Gives up the handle's reference. */
static void npu_queue_kill(struct npu_queue *queue)
{
	int idx;

	if (!npu_use_begin(queue->npu, &idx)) {
		npu_watchdog_stop_queue(&queue->hwq, NPU_STATUS_ABORTED, -ECANCELED);
		npu_use_end(queue->npu, idx);
	}
	npu_queue_put(queue);
}

void npu_queue_close_file(struct npu_file *nfile)
{
	struct npu_queue *queue;
	unsigned long id;

	xa_for_each(&nfile->queues, id, queue)
		npu_queue_kill(queue);
	xa_destroy(&nfile->queues);
}

/*
 * One job of the queue completed. Called under hwq.lock. A submission's jobs
 * after the first that failed are counted, but are not the news.
 */
void npu_queue_account(struct npu_queue *queue, u64 job, bool first_failure,
		       const struct npu_completion *completion)
{
	struct npu_device *npu = queue->npu;
	struct npu_file *nfile = queue->nfile;

	atomic64_inc(&npu->jobs);
	if (completion->status != NPU_STATUS_OK)
		atomic64_inc(&npu->faults);

	spin_lock(&queue->lock);
	queue->jobs_completed++;
	if (first_failure) {
		if (!queue->first_failed)
			queue->first_failed = job + 1;
		queue->fault = (struct drm_npu_fault) {
			.status = completion->status,
			.queue_id = queue->id,
			.job = job,
			.command = completion->command,
			.engine = completion->engine,
			.core = completion->core,
			.access = completion->access,
			.source_op = completion->source_op,
			.address = completion->address,
			.timebase_ns = completion->end_ns,
		};
		if (queue->health >= DRM_NPU_QUEUE_MEMORY_LOST) {
			/* Final. */
		} else if (completion->status == NPU_STATUS_HANG) {
			unsigned int limit = READ_ONCE(ban_after);

			queue->health = DRM_NPU_QUEUE_GUILTY;
			if (++queue->hangs >= limit && limit)
				queue->health = DRM_NPU_QUEUE_BANNED;
		} else if (completion->status == NPU_STATUS_VICTIM &&
			   queue->health == DRM_NPU_QUEUE_HEALTHY) {
			queue->health = DRM_NPU_QUEUE_VICTIM;
		}
	}
	spin_unlock(&queue->lock);

	spin_lock(&nfile->lock);
	if (first_failure)
		nfile->fault = queue->fault;
	if (completion->end_ns > completion->start_ns)
		nfile->busy_ns += completion->end_ns - completion->start_ns;
	nfile->cycles += completion->cycles_observed;
	spin_unlock(&nfile->lock);
}

/* ---- ioctls ---- */

#define NPU_COALESCE_MAX_SUBMITS	(NPU_HWQ_RING_SIZE / 2)
#define NPU_COALESCE_MAX_US		10000

/* Enough for every job that may run on these cores, or what the administrator allows. */
static size_t npu_queue_save_bytes(struct npu_device *npu, u32 cores)
{
	u64 most = (u64)READ_ONCE(save_kib) * SZ_1K;
	u64 all = sizeof(struct npu_save_header) +
		  (u64)hweight32(cores) * npu->target.sram_bytes;

	if (!(npu->features & NPU_FEATURE_PREEMPT))
		return 0;
	return PAGE_ALIGN(min(all, min_t(u64, most, SZ_64M)));
}

static int npu_queue_check_coalescing(struct npu_device *npu,
				      const struct drm_npu_queue_create *args)
{
	if (!args->coalesce_count && !args->coalesce_us)
		return 0;
	if (!args->coalesce_count || args->coalesce_count > NPU_COALESCE_MAX_SUBMITS ||
	    !args->coalesce_us || args->coalesce_us > NPU_COALESCE_MAX_US)
		return -EINVAL;
	return npu->features & NPU_FEATURE_COALESCE ? 0 : -EINVAL;
}

static int npu_queue_check(struct npu_device *npu, const struct drm_npu_queue_create *args,
			   struct npu_hwq_params *params)
{
	static const u8 priorities[] = {
		[DRM_NPU_PRIORITY_LOW] = 0,
		[DRM_NPU_PRIORITY_NORMAL] = 1,
		[DRM_NPU_PRIORITY_HIGH] = 2,
	};
	u32 cores = GENMASK(npu->target.cores - 1, 0);
	u64 cap = READ_ONCE(cycle_limit);
	u64 longest = READ_ONCE(quantum) ?: NPU_QUANTUM_DEFAULT;
	int ret;

	if (args->flags || args->pad ||
	    args->priority >= ARRAY_SIZE(priorities) || args->core_mask & ~cores)
		return -EINVAL;
	if ((cap && args->cycle_limit > cap) || args->quantum > longest)
		return -EINVAL;
	ret = npu_queue_check_coalescing(npu, args);
	if (ret)
		return ret;
	if (args->priority == DRM_NPU_PRIORITY_HIGH && !capable(CAP_SYS_NICE))
		return -EACCES;

	params->priority = priorities[args->priority];
	params->core_mask = args->core_mask ?: cores;
	params->cycle_limit = args->cycle_limit ?: cap;
	params->quantum = args->quantum ?: longest;
	params->coalesce_count = args->coalesce_count;
	params->coalesce_ns = args->coalesce_us * NSEC_PER_USEC;
	params->save_bytes = npu_queue_save_bytes(npu, params->core_mask);
	return 0;
}

static struct npu_queue *npu_queue_create(struct npu_file *nfile, struct npu_device *npu,
					  struct npu_vm *vm, struct npu_hwq_params *params)
{
	struct npu_queue *queue;
	int hwq_id;
	int ret;

	queue = kzalloc(sizeof(*queue), GFP_KERNEL_ACCOUNT);
	if (!queue)
		return ERR_PTR(-ENOMEM);
	kref_init(&queue->kref);
	INIT_WORK(&queue->release, npu_queue_release);
	spin_lock_init(&queue->lock);
	queue->npu = npu;
	queue->core_mask = params->core_mask;
	get_task_comm(queue->comm, current->group_leader);
	queue->pid = task_tgid_nr(current);
	queue->fence_context = dma_fence_context_alloc(1);

	hwq_id = ida_alloc_range(&npu->queue_ida, 1, npu->hwqs - 1, GFP_KERNEL);
	if (hwq_id < 0) {
		ret = hwq_id;
		goto err_free;
	}
	params->asid = vm->mmu.asid;
	/* A job's credits are its packets: the ring never overflows. */
	queue->sched = npu_sched_get("npu");
	if (!queue->sched) {
		ret = -ENOMEM;
		goto err_id;
	}
	ret = npu_sched_init(queue->sched, &npu_job_sched_ops, npu->sched_wq,
			     NPU_HWQ_RING_SIZE, "npu", npu->drm.dev);
	if (ret)
		goto err_sched_put;
	ret = drm_sched_entity_init(&queue->entity, DRM_SCHED_PRIORITY_NORMAL, &queue->sched, 1,
				    NULL);
	if (ret)
		goto err_sched;
	ret = npu_hwq_init(npu, &queue->hwq, hwq_id, params);
	if (ret)
		goto err_entity;

	queue->vm = npu_vm_get(vm);
	queue->nfile = npu_file_get(nfile);
	drm_dev_get(&npu->drm);
	atomic_inc(&npu->queue_count);
	npu_deferred_get();
	return queue;

err_entity:
	drm_sched_entity_fini(&queue->entity);
err_sched:
	drm_sched_fini(queue->sched);
err_sched_put:
	npu_sched_put(queue->sched);
err_id:
	ida_free(&npu->queue_ida, hwq_id);
err_free:
	kfree(queue);
	return ERR_PTR(ret);
}

int npu_queue_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct npu_file *nfile = file->driver_priv;
	struct npu_device *npu = to_npu(drm);
	struct drm_npu_queue_create *args = data;
	struct npu_hwq_params params = {};
	struct npu_queue *queue;
	struct npu_vm *vm;
	int idx;
	int ret;

	ret = npu_queue_check(npu, args, &params);
	if (ret)
		return ret;
	if (READ_ONCE(npu->lost))
		return -ENODEV;
	vm = npu_vm_lookup(nfile, args->vm_id);
	if (!vm)
		return -ENOENT;
	ret = npu_use_begin(npu, &idx);
	if (ret) {
		npu_vm_put(vm);
		return ret;
	}

	queue = npu_queue_create(nfile, npu, vm, &params);
	npu_vm_put(vm);
	if (IS_ERR(queue)) {
		ret = PTR_ERR(queue);
	} else {
		/* Once it has an id, another thread may destroy it. */
		npu_queue_get(queue);
		ret = xa_alloc(&nfile->queues, &queue->id, queue,
			       XA_LIMIT(1, NPU_FILE_MAX_QUEUES), GFP_KERNEL);
		if (ret)
			npu_queue_kill(queue);
		else
			args->queue_id = queue->id;
		npu_queue_put(queue);
	}
	npu_use_end(npu, idx);
	return ret == -EBUSY ? -ENOSPC : ret;
}

int npu_queue_destroy_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct npu_file *nfile = file->driver_priv;
	struct drm_npu_queue_destroy *args = data;
	struct npu_queue *queue;

	if (args->pad)
		return -EINVAL;
	queue = xa_erase(&nfile->queues, args->queue_id);
	if (!queue)
		return -ENOENT;
	npu_queue_kill(queue);
	return 0;
}

int npu_queue_state_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct npu_file *nfile = file->driver_priv;
	struct drm_npu_queue_state *args = data;
	struct npu_queue *queue;
	unsigned long flags;

	queue = npu_queue_lookup(nfile, args->queue_id);
	if (!queue)
		return -ENOENT;
	args->jobs_submitted = READ_ONCE(queue->jobs_submitted);
	spin_lock_irqsave(&queue->lock, flags);
	args->health = queue->health;
	args->jobs_completed = queue->jobs_completed;
	args->fault = queue->fault;
	args->first_failed = queue->first_failed;
	spin_unlock_irqrestore(&queue->lock, flags);
	npu_queue_put(queue);
	return 0;
}
