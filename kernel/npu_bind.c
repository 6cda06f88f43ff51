// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * VM_BIND.
 *
 * The ioctl does all that may fail, in order: it brings the buffers to where
 * the card sees them, makes page tables, and changes the tree of mappings. A
 * bind job then writes the leaves and invalidates the TLB, after the fences it
 * waits for. Its fence sits on every buffer concerned, so that none moves or
 * is freed between the two steps.
 */
#include <linux/slab.h>

#include <drm/drm_exec.h>

#include "npu_bo.h"
#include "npu_device.h"
#include "npu_file.h"
#include "npu_pm.h"
#include "npu_sync.h"
#include "npu_trace.h"
#include "npu_vm.h"

#define NPU_MAX_BIND_OPS	1024

/* One change of the page tables. */
struct npu_bind_step {
	u64 va;
	u64 size;
	/* What to map, with a reference, or NULL to unmap. */
	struct npu_bo *bo;
	u64 offset;
	bool readonly;
};

struct npu_bind_job {
	struct drm_sched_job base;
	struct npu_vm *vm;
	/* Used if a translation goes away: [stale_start, stale_end). */
	struct npu_tlb_flush *flush;
	u64 stale_start;
	u64 stale_end;
	u32 count;
	struct npu_bind_step steps[] __counted_by(count);
};

static struct npu_bind_job *to_npu_bind_job(struct drm_sched_job *base)
{
	return container_of(base, struct npu_bind_job, base);
}

/* ---- The job: fence-critical ---- */

static struct dma_fence *npu_bind_run(struct drm_sched_job *base)
{
	struct npu_bind_job *job = to_npu_bind_job(base);
	struct npu_mmu *mmu = &job->vm->mmu;
	struct npu_device *npu = job->vm->npu;
	struct npu_tlb_flush *flush = job->flush;
	struct dma_fence *fence;
	bool cookie;
	u32 i;
	int idx;

	job->flush = NULL;
	if (!drm_dev_enter(&npu->drm, &idx))
		return npu_tlb_flush_skip(npu, flush, -ENODEV);
	cookie = dma_fence_begin_signalling();
	for (i = 0; i < job->count; i++) {
		struct npu_bind_step *step = &job->steps[i];

		trace_npu_bind(job->vm->npu, mmu->asid, step->va, step->size, step->bo);
		if (step->bo)
			npu_mmu_map(mmu, step->va, step->size, step->bo, step->offset,
				    step->readonly);
		else
			npu_mmu_unmap(mmu, step->va, step->size);
	}
	if (job->stale_start < job->stale_end)
		fence = npu_tlb_flush_start(npu, flush, mmu->asid, job->stale_start,
					    job->stale_end - job->stale_start);
	else
		fence = npu_tlb_flush_skip(npu, flush, 0);
	dma_fence_end_signalling(cookie);
	drm_dev_exit(idx);
	return fence;
}

static void npu_bind_job_destroy(struct npu_bind_job *job)
{
	u32 i;

	npu_tlb_flush_free(job->flush);
	for (i = 0; i < job->count; i++)
		if (job->steps[i].bo)
			drm_gem_object_put(&job->steps[i].bo->tbo.base);
	atomic_dec(&job->vm->unfinished);
	npu_rest(job->vm->npu);
	npu_vm_put(job->vm);
	kvfree(job);
}

static void npu_bind_free(struct drm_sched_job *base)
{
	drm_sched_job_cleanup(base);
	npu_bind_job_destroy(to_npu_bind_job(base));
}

/* Never called: the timeout is off. */
static enum drm_gpu_sched_stat npu_bind_timedout(struct drm_sched_job *base)
{
	return NPU_SCHED_STAT_HANDLED;
}

const struct drm_sched_backend_ops npu_bind_sched_ops = {
	.run_job = npu_bind_run,
	.timedout_job = npu_bind_timedout,
	.free_job = npu_bind_free,
};

/* ---- Changes of the tree ---- */

/* What one operation may need; taken before the tree is touched. */
struct npu_bind_prealloc {
	struct npu_bind_job *job;
	struct npu_va *map;
	struct npu_va *prev;
	struct npu_va *next;
	struct drm_gpuvm_bo *vm_bo;
	bool readonly;
};

/* An old mapping's part [start, start + size) goes away. */
static void npu_bind_stale(struct npu_bind_job *job, u64 start, u64 size)
{
	job->stale_start = min(job->stale_start, start);
	job->stale_end = max(job->stale_end, start + size);
}

static int npu_bind_step_map(struct drm_gpuva_op *op, void *priv)
{
	struct npu_bind_prealloc *pre = priv;
	struct npu_va *va = pre->map;
	struct drm_gpuvm_bo *vm_bo = pre->vm_bo;

	pre->map = NULL;
	va->readonly = pre->readonly;
	drm_gpuva_map(vm_bo->vm, &va->base, &op->map);
	drm_gpuva_link(&va->base, vm_bo);
	pre->job->vm->mappings++;
	return 0;
}

static int npu_bind_step_remap(struct drm_gpuva_op *op, void *priv)
{
	struct npu_bind_prealloc *pre = priv;
	struct npu_va *old = to_npu_va(op->remap.unmap->va);
	struct drm_gpuvm_bo *vm_bo = drm_gpuvm_bo_get(old->base.vm_bo);
	struct npu_va *prev = NULL;
	struct npu_va *next = NULL;
	u64 start = old->base.va.addr;
	u64 end = start + old->base.va.range;

	if (op->remap.prev) {
		swap(prev, pre->prev);
		prev->readonly = old->readonly;
		start = op->remap.prev->va.addr + op->remap.prev->va.range;
	}
	if (op->remap.next) {
		swap(next, pre->next);
		next->readonly = old->readonly;
		end = op->remap.next->va.addr;
	}
	npu_bind_stale(pre->job, start, end - start);

	drm_gpuva_remap(prev ? &prev->base : NULL, next ? &next->base : NULL, &op->remap);
	drm_gpuva_unlink(&old->base);
	kfree(old);
	if (prev)
		drm_gpuva_link(&prev->base, vm_bo);
	if (next)
		drm_gpuva_link(&next->base, vm_bo);
	drm_gpuvm_bo_put(vm_bo);
	pre->job->vm->mappings += !!prev + !!next - 1;
	return 0;
}

static int npu_bind_step_unmap(struct drm_gpuva_op *op, void *priv)
{
	struct npu_bind_prealloc *pre = priv;
	struct npu_va *old = to_npu_va(op->unmap.va);

	npu_bind_stale(pre->job, old->base.va.addr, old->base.va.range);
	drm_gpuva_unmap(&op->unmap);
	drm_gpuva_unlink(&old->base);
	kfree(old);
	pre->job->vm->mappings--;
	return 0;
}

const struct drm_gpuvm_ops npu_gpuvm_ops = {
	.vm_free = npu_vm_free,
	.vm_bo_validate = npu_vm_bo_validate,
	.sm_step_map = npu_bind_step_map,
	.sm_step_remap = npu_bind_step_remap,
	.sm_step_unmap = npu_bind_step_unmap,
};

/* A mapping that is cut at @va may be a leaf that has to become a table. */
static int npu_bind_prepare_cut(struct npu_vm *vm, u64 va)
{
	struct drm_gpuva *cut;

	if (IS_ALIGNED(va, BIT_ULL(NPU_MMU_BLOCK_SHIFT)))
		return 0;
	cut = drm_gpuva_find_first(&vm->gpuvm, va, 1);
	return cut && cut->va.addr < va ? npu_mmu_prepare_split(&vm->mmu, va) : 0;
}

/* Whether there is room for what the operation adds, not counting what it replaces. */
static bool npu_bind_has_room(struct npu_vm *vm, const struct drm_npu_bind_op *op)
{
	unsigned int more = op->op == DRM_NPU_BIND_MAP;
	struct drm_gpuva *cut = drm_gpuva_find_first(&vm->gpuvm, op->va, 1);

	/* One that has a rest on both sides becomes two. */
	if (cut && cut->va.addr < op->va && cut->va.addr + cut->va.range > op->va + op->size)
		more++;
	return vm->mappings + more <= NPU_VM_MAX_MAPPINGS;
}

/*
 * Applies one operation to the tree and adds it to the job; or changes
 * nothing and returns an error.
 */
static int npu_bind_apply(struct npu_bind_job *job, const struct drm_npu_bind_op *op,
			  struct npu_bo *bo)
{
	struct npu_vm *vm = job->vm;
	struct npu_bind_prealloc pre = {
		.job = job,
		.readonly = op->flags & DRM_NPU_BIND_READONLY,
	};
	struct npu_bind_step *step = &job->steps[job->count];
	int ret = -ENOMEM;

	if (!npu_bind_has_room(vm, op))
		return -ENOSPC;
	pre.prev = kzalloc(sizeof(*pre.prev), GFP_KERNEL_ACCOUNT);
	pre.next = kzalloc(sizeof(*pre.next), GFP_KERNEL_ACCOUNT);
	if (!pre.prev || !pre.next)
		goto out;

	if (bo) {
		pre.map = kzalloc(sizeof(*pre.map), GFP_KERNEL_ACCOUNT);
		if (!pre.map)
			goto out;
		pre.vm_bo = npu_gpuvm_bo_obtain(&vm->gpuvm, &bo->tbo.base);
		if (IS_ERR(pre.vm_bo)) {
			ret = PTR_ERR(pre.vm_bo);
			pre.vm_bo = NULL;
			goto out;
		}
		ret = npu_bo_validate(bo);
		/*
		 * Evicted, its earlier mappings come back now. The next submission
		 * would bring back this one with them, before the bind's time.
		 */
		if (!ret && pre.vm_bo->evicted)
			ret = npu_vm_bo_validate(pre.vm_bo, NULL);
		if (ret)
			goto out;
		ret = npu_mmu_prepare(&vm->mmu, op->va, op->size, bo, op->bo_offset);
		if (ret)
			goto out;
		drm_gpuvm_bo_extobj_add(pre.vm_bo);
		ret = npu_gpuvm_sm_map(&vm->gpuvm, &pre, op->va, op->size,
				       &bo->tbo.base, op->bo_offset);
	} else {
		ret = npu_bind_prepare_cut(vm, op->va) ?:
		      npu_bind_prepare_cut(vm, op->va + op->size);
		if (ret)
			goto out;
		ret = drm_gpuvm_sm_unmap(&vm->gpuvm, &pre, op->va, op->size);
	}
	if (ret)
		goto out;

	*step = (struct npu_bind_step) {
		.va = op->va,
		.size = op->size,
		.bo = bo,
		.offset = op->bo_offset,
		.readonly = pre.readonly,
	};
	if (bo)
		drm_gem_object_get(&bo->tbo.base);
	job->count++;
out:
	if (pre.vm_bo)
		drm_gpuvm_bo_put(pre.vm_bo);
	kfree(pre.map);
	kfree(pre.prev);
	kfree(pre.next);
	return ret;
}

/* ---- The ioctl ---- */

static bool npu_bind_op_valid(struct npu_vm *vm, const struct drm_npu_bind_op *op)
{
	if (op->pad || !op->size || (op->va | op->size | op->bo_offset) & ~PAGE_MASK)
		return false;
	if (!drm_gpuvm_range_valid(&vm->gpuvm, op->va, op->size))
		return false;
	switch (op->op) {
	case DRM_NPU_BIND_MAP:
		return !(op->flags & ~DRM_NPU_BIND_READONLY);
	case DRM_NPU_BIND_UNMAP:
		return !op->flags && !op->handle && !op->bo_offset;
	default:
		return false;
	}
}

/* Finds the buffers; the caller puts those found also after a failure. */
static int npu_bind_lookup(struct npu_vm *vm, struct drm_file *file,
			   const struct drm_npu_bind_op *ops, u32 count, struct npu_bo **bos)
{
	u32 i;

	for (i = 0; i < count; i++) {
		struct drm_gem_object *obj;

		if (!npu_bind_op_valid(vm, &ops[i]))
			return -EINVAL;
		if (ops[i].op != DRM_NPU_BIND_MAP)
			continue;
		obj = drm_gem_object_lookup(file, ops[i].handle);
		if (!obj)
			return -ENOENT;
		bos[i] = gem_to_npu_bo(obj);
		if (ops[i].size > obj->size || ops[i].bo_offset > obj->size - ops[i].size)
			return -EINVAL;
	}
	return 0;
}

/* Locks the space and every buffer that the operations map or may unmap. */
static int npu_bind_lock(struct npu_vm *vm, struct drm_exec *exec,
			 const struct drm_npu_bind_op *ops, u32 count, struct npu_bo **bos)
{
	u32 i;
	int ret;

	drm_exec_until_all_locked(exec) {
		ret = drm_gpuvm_prepare_vm(&vm->gpuvm, exec, 1);
		drm_exec_retry_on_contention(exec);
		if (ret)
			return ret;
		for (i = 0; i < count; i++) {
			ret = drm_gpuvm_prepare_range(&vm->gpuvm, exec, ops[i].va,
						      ops[i].size, 1);
			drm_exec_retry_on_contention(exec);
			if (ret)
				return ret;
			if (!bos[i])
				continue;
			ret = drm_exec_prepare_obj(exec, &bos[i]->tbo.base, 1);
			drm_exec_retry_on_contention(exec);
			if (ret)
				return ret;
		}
	}
	return 0;
}

/*
 * Consumes the job. If an operation fails, those before it are carried out all
 * the same, and its error is returned. *@finished, on success: signals when the
 * changes have taken effect.
 */
static int npu_bind_submit(struct npu_bind_job *job, struct drm_file *file,
			   const struct drm_npu_vm_bind *args,
			   const struct drm_npu_bind_op *ops, struct npu_bo **bos,
			   struct dma_fence **finished)
{
	struct npu_vm *vm = job->vm;
	struct npu_signals signals;
	struct dma_fence *fence;
	struct drm_exec exec;
	int failure = 0;
	u32 i;
	int ret;

	ret = npu_signals_init(&signals, file, &args->signals);
	if (ret) {
		npu_bind_job_destroy(job);
		return ret;
	}
	ret = npu_sched_job_init(&job->base, &vm->entity, 1, vm, file);
	if (ret) {
		npu_signals_fini(&signals);
		npu_bind_job_destroy(job);
		return ret;
	}
	ret = npu_waits_add(&job->base, file, &args->waits);
	if (ret)
		goto err_job;

	drm_exec_init(&exec, DRM_EXEC_INTERRUPTIBLE_WAIT | DRM_EXEC_IGNORE_DUPLICATES, 0);
	ret = npu_bind_lock(vm, &exec, ops, args->ops.count, bos);
	if (ret)
		goto err_exec;

	for (i = 0; i < args->ops.count && !failure; i++)
		failure = npu_bind_apply(job, &ops[i], bos[i]);
	if (failure && !job->count) {
		ret = failure;
		goto err_exec;
	}

	/* No return from here. */
	drm_sched_job_arm(&job->base);
	fence = &job->base.s_fence->finished;
	drm_gpuvm_resv_add_fence(&vm->gpuvm, &exec, fence, DMA_RESV_USAGE_BOOKKEEP,
				 DMA_RESV_USAGE_BOOKKEEP);
	if (!failure) {
		npu_signals_attach(&signals, fence);
		*finished = dma_fence_get(fence);
	}
	drm_sched_entity_push_job(&job->base);
	drm_exec_fini(&exec);
	npu_signals_fini(&signals);
	return failure;

err_exec:
	drm_exec_fini(&exec);
err_job:
	drm_sched_job_cleanup(&job->base);
	npu_signals_fini(&signals);
	npu_bind_job_destroy(job);
	return ret;
}

int npu_vm_bind_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct npu_file *nfile = file->driver_priv;
	struct drm_npu_vm_bind *args = data;
	struct dma_fence *finished = NULL;
	struct drm_npu_bind_op *ops;
	struct npu_bind_job *job;
	struct npu_bo **bos;
	struct npu_vm *vm;
	u32 count = args->ops.count;
	u32 i;
	int idx;
	int ret;

	if (args->flags & ~DRM_NPU_VM_BIND_ASYNC || !count)
		return -EINVAL;
	if (!(args->flags & DRM_NPU_VM_BIND_ASYNC) && args->waits.count)
		return -EINVAL;
	ops = npu_array_copy(&args->ops, sizeof(*ops), NPU_MAX_BIND_OPS);
	if (IS_ERR(ops))
		return PTR_ERR(ops);

	ret = -ENOENT;
	vm = npu_vm_lookup(nfile, args->vm_id);
	if (!vm)
		goto out_ops;
	ret = -ENOMEM;
	bos = kvcalloc(count, sizeof(*bos), GFP_KERNEL);
	if (!bos)
		goto out_vm;
	ret = npu_bind_lookup(vm, file, ops, count, bos);
	if (ret)
		goto out_bos;

	ret = npu_use_begin(vm->npu, &idx);
	if (ret)
		goto out_bos;
	ret = -EBUSY;
	if (atomic_read(&vm->unfinished) >= NPU_VM_MAX_UNFINISHED)
		goto out_exit;
	ret = -ENOMEM;
	job = kvzalloc(struct_size(job, steps, count), GFP_KERNEL_ACCOUNT);
	if (!job)
		goto out_exit;
	job->vm = npu_vm_get(vm);
	pm_runtime_get_noresume(drm->dev);
	atomic_inc(&vm->unfinished);
	job->stale_start = U64_MAX;
	job->flush = npu_tlb_flush_alloc(vm->npu);
	if (job->flush)
		ret = npu_bind_submit(job, file, args, ops, bos, &finished);
	else
		npu_bind_job_destroy(job);
out_exit:
	npu_use_end(vm->npu, idx);
	/*
	 * Outside, for earlier binds may wait for other drivers. Interrupted, the call
	 * may be made again: the result is the same.
	 */
	if (finished && !(args->flags & DRM_NPU_VM_BIND_ASYNC))
		ret = dma_fence_wait(finished, true) ?: finished->error;
	dma_fence_put(finished);
out_bos:
	for (i = 0; i < count; i++)
		if (bos[i])
			drm_gem_object_put(&bos[i]->tbo.base);
	kvfree(bos);
out_vm:
	npu_vm_put(vm);
out_ops:
	kvfree(ops);
	return ret;
}
