/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Address spaces. */
#ifndef NPU_VM_H
#define NPU_VM_H

#include <linux/workqueue.h>

#include <drm/drm_gpuvm.h>
#include <drm/gpu_scheduler.h>

#include "npu_mmu.h"

struct drm_device;
struct drm_exec;
struct drm_file;
struct npu_bo;
struct npu_device;
struct npu_file;

/*
 * The tree of mappings says what the page tables will be once all binds that
 * were accepted have run; binds run in order on the space's scheduler. The
 * tree changes under the reservation lock of the space, drm_gpuvm_resv().
 */
struct npu_vm {
	/* Has an own count: the mappings' references, among others. */
	struct drm_gpuvm gpuvm;
	struct npu_device *npu;
	/* Users: the handle, queues, bind jobs. The last one starts release. */
	struct kref users;
	struct work_struct release;
	struct npu_mmu mmu;
	/* In npu_device.vms, while the page tables exist. */
	struct list_head node;
	/* Binds. From npu_sched_get(). */
	struct drm_gpu_scheduler *sched;
	struct drm_sched_entity entity;
	/* In the tree. Protected by the reservation lock. */
	unsigned int mappings;
	/* Binds accepted and not yet freed. */
	atomic_t unfinished;
};

/* Of one space. */
#define NPU_VM_MAX_MAPPINGS	(64u << 10)
#define NPU_VM_MAX_UNFINISHED	4096

static inline struct npu_vm *to_npu_vm(struct drm_gpuvm *gpuvm)
{
	return container_of(gpuvm, struct npu_vm, gpuvm);
}

/* One mapping. */
struct npu_va {
	struct drm_gpuva base;
	bool readonly;
};

static inline struct npu_va *to_npu_va(struct drm_gpuva *va)
{
	return container_of(va, struct npu_va, base);
}

struct npu_vm *npu_vm_get(struct npu_vm *vm);
void npu_vm_put(struct npu_vm *vm);
struct npu_vm *npu_vm_lookup(struct npu_file *nfile, u32 id);
void npu_vm_evict_bo(struct npu_bo *bo);
void npu_vm_free_tables(struct npu_device *npu);
void npu_vm_close_file(struct npu_file *nfile);

int npu_vm_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int npu_vm_destroy_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

/* npu_bind.c */
extern const struct drm_sched_backend_ops npu_bind_sched_ops;
extern const struct drm_gpuvm_ops npu_gpuvm_ops;
int npu_vm_bind_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
void npu_vm_free(struct drm_gpuvm *gpuvm);
int npu_vm_bo_validate(struct drm_gpuvm_bo *vm_bo, struct drm_exec *exec);

#endif
