// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* struct drm_sched_init_args has num_rqs. */
#include <drm/gpu_scheduler.h>

const struct drm_sched_init_args npu_probe = { .num_rqs = 1 };
