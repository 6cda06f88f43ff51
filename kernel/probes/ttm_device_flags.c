// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* ttm_device_init() takes flags for allocation, not two bools. */
#include <drm/ttm/ttm_device.h>

int npu_probe(struct ttm_device *ttm, const struct ttm_device_funcs *funcs, struct device *dev,
	      struct address_space *mapping, struct drm_vma_offset_manager *manager);
int npu_probe(struct ttm_device *ttm, const struct ttm_device_funcs *funcs, struct device *dev,
	      struct address_space *mapping, struct drm_vma_offset_manager *manager)
{
	return ttm_device_init(ttm, funcs, dev, mapping, manager, 0);
}
