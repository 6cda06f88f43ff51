// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The status of a handled timeout is called RESET. */
#include <drm/gpu_scheduler.h>

const enum drm_gpu_sched_stat npu_probe = DRM_GPU_SCHED_STAT_RESET;
