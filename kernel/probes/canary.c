// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Compiles on every kernel that can have this driver. */
#include <drm/gpu_scheduler.h>

struct drm_gpu_scheduler npu_probe;
