/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* When the card sleeps, and who wakes it. */
#ifndef NPU_PM_H
#define NPU_PM_H

#include <linux/pm_runtime.h>
#include <linux/types.h>

#include "npu_device.h"

int npu_wake(struct npu_device *npu);
void npu_rest(struct npu_device *npu);
void npu_rest_after_fault(struct npu_device *npu);
int npu_use_begin(struct npu_device *npu, int *idx);
void npu_use_end(struct npu_device *npu, int idx);

/* If the card is awake, it stays so until npu_glance_end(). Any context. */
static inline bool npu_glance(struct npu_device *npu)
{
	/* Without CONFIG_PM it never sleeps, and nobody counts. */
	return !IS_ENABLED(CONFIG_PM) || pm_runtime_get_if_active(npu->drm.dev) > 0;
}

/* To have looked is not to have used it: does not put off its sleep. */
static inline void npu_glance_end(struct npu_device *npu)
{
	pm_runtime_put(npu->drm.dev);
}

void npu_pm_init(struct npu_device *npu);
void npu_pm_start(struct npu_device *npu);
void npu_pm_fini(struct npu_device *npu);

extern const struct dev_pm_ops npu_pm_ops;

#endif
