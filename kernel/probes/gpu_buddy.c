// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The buddy allocator is called gpu_buddy. */
#include <drm/drm_buddy.h>

struct gpu_buddy npu_probe;
