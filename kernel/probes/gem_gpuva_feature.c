// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Drivers announce drm_gpuvm by a feature bit. */
#include <drm/drm_drv.h>

const int npu_probe = DRIVER_GEM_GPUVA;
