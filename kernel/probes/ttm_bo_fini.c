// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The GEM object counts references to a TTM buffer; its end is ttm_bo_fini(). */
#include <drm/ttm/ttm_bo.h>

void npu_probe(struct ttm_buffer_object *bo);
void npu_probe(struct ttm_buffer_object *bo)
{
	ttm_bo_fini(bo);
}
