// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Address spaces: life, handles, and what happens when buffers move. */
#include <linux/slab.h>

#include <drm/drm_exec.h>

#include "npu_bo.h"
#include "npu_device.h"
#include "npu_file.h"
#include "npu_pm.h"
#include "npu_sched.h"
#include "npu_vm.h"

struct npu_vm *npu_vm_get(struct npu_vm *vm)
{
	kref_get(&vm->users);
	return vm;
}

/*
 * Takes the space away from the card, then removes its mappings. No job and no
 * bind of it exists any more.
 */
static void npu_vm_release(struct work_struct *work)
{
	struct npu_vm *vm = container_of(work, struct npu_vm, release);
	struct npu_device *npu = vm->npu;
	struct drm_gpuva *va, *next;
	int idx;

	drm_sched_entity_fini(&vm->entity);
	drm_sched_fini(vm->sched);
	npu_sched_put(vm->sched);

	if (!npu_use_begin(npu, &idx)) {
		npu_mmu_detach(&vm->mmu);
		npu_tlb_flush_wait(npu, vm->mmu.asid, 0, 0);
		npu_use_end(npu, idx);
	}

	/* Nobody else uses the tree any more; buffers' lists are under their locks. */
	drm_gpuvm_for_each_va_safe(va, next, &vm->gpuvm) {
		struct drm_gem_object *obj = va->gem.obj;

		/* The last reference to the buffer may be the mapping's. */
		drm_gem_object_get(obj);
		dma_resv_lock(obj->resv, NULL);
		drm_gpuva_remove(va);
		drm_gpuva_unlink(va);
		dma_resv_unlock(obj->resv);
		drm_gem_object_put(obj);
		kfree(to_npu_va(va));
	}

	/* No buffer leads here any more: eviction does not look at the tables. */
	mutex_lock(&npu->vms_lock);
	list_del(&vm->node);
	npu_mmu_fini(&vm->mmu);
	mutex_unlock(&npu->vms_lock);

	drm_gpuvm_put(&vm->gpuvm);
}

static void npu_vm_users_gone(struct kref *kref)
{
	struct npu_vm *vm = container_of(kref, struct npu_vm, users);

	/* May be called by the scheduler that has to be stopped. */
	queue_work(npu_release_wq, &vm->release);
}

void npu_vm_put(struct npu_vm *vm)
{
	if (vm)
		kref_put(&vm->users, npu_vm_users_gone);
}

/* drm_gpuvm_ops.vm_free */
void npu_vm_free(struct drm_gpuvm *gpuvm)
{
	struct npu_vm *vm = to_npu_vm(gpuvm);
	struct npu_device *npu = vm->npu;

	kfree(vm);
	atomic_dec(&npu->vm_count);
	drm_dev_put(&npu->drm);
	npu_deferred_put();
}

/* remove(): the card is stopped, and nobody is inside drm_dev_enter(). */
void npu_vm_free_tables(struct npu_device *npu)
{
	struct npu_vm *vm;

	mutex_lock(&npu->vms_lock);
	list_for_each_entry(vm, &npu->vms, node)
		npu_mmu_fini(&vm->mmu);
	mutex_unlock(&npu->vms_lock);
}

struct npu_vm *npu_vm_lookup(struct npu_file *nfile, u32 id)
{
	struct npu_vm *vm;

	xa_lock(&nfile->vms);
	vm = xa_load(&nfile->vms, id);
	if (vm)
		npu_vm_get(vm);
	xa_unlock(&nfile->vms);
	return vm;
}

/**
 * npu_vm_evict_bo - remove a buffer's translations everywhere
 * @bo: reserved; no job or bind that uses it is unfinished
 *
 * Inside drm_dev_enter(). The next submission of each space puts them back.
 */
void npu_vm_evict_bo(struct npu_bo *bo)
{
	struct drm_gem_object *obj = &bo->tbo.base;
	struct drm_gpuvm_bo *vm_bo;

	drm_gem_for_each_gpuvm_bo(vm_bo, obj) {
		struct npu_vm *vm = to_npu_vm(vm_bo->vm);
		u64 start = U64_MAX;
		u64 end = 0;
		struct drm_gpuva *va;

		drm_gpuvm_bo_evict(vm_bo, true);
		drm_gpuvm_bo_for_each_va(va, vm_bo) {
			npu_mmu_unmap(&vm->mmu, va->va.addr, va->va.range);
			start = min(start, va->va.addr);
			end = max(end, va->va.addr + va->va.range);
		}
		if (start < end)
			npu_tlb_flush_wait(vm->npu, vm->mmu.asid, start, end - start);
	}
}

/* drm_gpuvm_ops.vm_bo_validate: brings an evicted buffer back. */
int npu_vm_bo_validate(struct drm_gpuvm_bo *vm_bo, struct drm_exec *exec)
{
	struct npu_vm *vm = to_npu_vm(vm_bo->vm);
	struct npu_bo *bo = gem_to_npu_bo(vm_bo->obj);
	struct drm_gpuva *va;
	int ret;

	ret = npu_bo_validate(bo);
	if (ret)
		return ret;
	drm_gpuvm_bo_for_each_va(va, vm_bo) {
		ret = npu_mmu_prepare(&vm->mmu, va->va.addr, va->va.range, bo, va->gem.offset);
		if (ret)
			return ret;
	}
	/* These addresses were not valid: nothing to invalidate. */
	drm_gpuvm_bo_for_each_va(va, vm_bo)
		npu_mmu_map(&vm->mmu, va->va.addr, va->va.range, bo, va->gem.offset,
			    to_npu_va(va)->readonly);
	drm_gpuvm_bo_evict(vm_bo, false);
	return 0;
}

static struct npu_vm *npu_vm_create(struct npu_device *npu)
{
	struct drm_gem_object *resv;
	struct npu_vm *vm;
	int ret;

	vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return ERR_PTR(-ENOMEM);
	vm->npu = npu;
	kref_init(&vm->users);
	INIT_WORK(&vm->release, npu_vm_release);

	ret = npu_mmu_init(npu, &vm->mmu);
	if (ret)
		goto err_free;
	vm->sched = npu_sched_get("npu-bind");
	if (!vm->sched) {
		ret = -ENOMEM;
		goto err_mmu;
	}
	/* Binds cost no ring slots: any number may be in flight. */
	ret = npu_sched_init(vm->sched, &npu_bind_sched_ops, npu->sched_wq, 64, "npu-bind",
			     npu->drm.dev);
	if (ret)
		goto err_sched_put;
	ret = drm_sched_entity_init(&vm->entity, DRM_SCHED_PRIORITY_KERNEL, &vm->sched, 1, NULL);
	if (ret)
		goto err_sched;
	resv = drm_gpuvm_resv_object_alloc(&npu->drm);
	if (!resv) {
		ret = -ENOMEM;
		goto err_entity;
	}
	drm_gpuvm_init(&vm->gpuvm, "npu", 0, &npu->drm, resv, NPU_VA_START,
		       (1ull << NPU_VA_BITS) - NPU_VA_START, 0, 0, &npu_gpuvm_ops);
	drm_gem_object_put(resv);

	mutex_lock(&npu->vms_lock);
	list_add_tail(&vm->node, &npu->vms);
	mutex_unlock(&npu->vms_lock);
	drm_dev_get(&npu->drm);
	atomic_inc(&npu->vm_count);
	npu_deferred_get();
	return vm;

err_entity:
	drm_sched_entity_fini(&vm->entity);
err_sched:
	drm_sched_fini(vm->sched);
err_sched_put:
	npu_sched_put(vm->sched);
err_mmu:
	npu_mmu_detach(&vm->mmu);
	npu_mmu_fini(&vm->mmu);
err_free:
	kfree(vm);
	return ERR_PTR(ret);
}

int npu_vm_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct npu_file *nfile = file->driver_priv;
	struct drm_npu_vm_create *args = data;
	struct npu_vm *vm;
	int ret;
	int idx;

	if (args->flags)
		return -EINVAL;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	vm = npu_vm_create(to_npu(drm));
	drm_dev_exit(idx);
	if (IS_ERR(vm))
		return PTR_ERR(vm);

	/* Ids start at 1: 0 is never one. */
	ret = xa_alloc(&nfile->vms, &args->vm_id, vm, XA_LIMIT(1, NPU_FILE_MAX_VMS),
		       GFP_KERNEL);
	if (ret) {
		npu_vm_put(vm);
		return ret == -EBUSY ? -ENOSPC : ret;
	}
	return 0;
}

int npu_vm_destroy_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct npu_file *nfile = file->driver_priv;
	struct drm_npu_vm_destroy *args = data;
	struct npu_vm *vm;

	if (args->pad)
		return -EINVAL;
	vm = xa_erase(&nfile->vms, args->vm_id);
	if (!vm)
		return -ENOENT;
	npu_vm_put(vm);
	return 0;
}

void npu_vm_close_file(struct npu_file *nfile)
{
	unsigned long id;
	struct npu_vm *vm;

	xa_for_each(&nfile->vms, id, vm)
		npu_vm_put(vm);
	xa_destroy(&nfile->vms);
}
