// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* drm_gpuvm_sm_map() takes a struct drm_gpuvm_map_req. */
#include <drm/drm_gpuvm.h>

int npu_probe(struct drm_gpuvm *vm);
int npu_probe(struct drm_gpuvm *vm)
{
	const struct drm_gpuvm_map_req req = {};

	return drm_gpuvm_sm_map(vm, NULL, &req);
}
