// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* drm_gpuvm_bo_obtain() has become drm_gpuvm_bo_obtain_locked(). */
#include <drm/drm_gpuvm.h>

void *npu_probe(struct drm_gpuvm *vm, struct drm_gem_object *obj);
void *npu_probe(struct drm_gpuvm *vm, struct drm_gem_object *obj)
{
	return drm_gpuvm_bo_obtain_locked(vm, obj);
}
