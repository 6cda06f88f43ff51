// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Memory of schedulers.
 *
 * A scheduler's fences point to it for their timeline's name and live on in sync
 * files, after the queue, the file and the device. Each has one of the driver's
 * fences as its parent, and that holds the module: so this memory stays until
 * the module goes, and meanwhile serves the next owner with that name.
 */
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include <drm/gpu_scheduler.h>

#include "npu_sched.h"

struct npu_sched {
	struct drm_gpu_scheduler base;
	struct npu_sched *next;
};

/* Protects the list of those that nobody uses. */
static DEFINE_SPINLOCK(npu_sched_lock);
static struct npu_sched *npu_sched_unused;

/* One of that name, or any if @name is NULL. */
static struct npu_sched *npu_sched_take(const char *name)
{
	struct npu_sched **link = &npu_sched_unused;
	struct npu_sched *sched;

	spin_lock(&npu_sched_lock);
	while (*link && name && strcmp((*link)->base.name, name))
		link = &(*link)->next;
	sched = *link;
	if (sched)
		*link = sched->next;
	spin_unlock(&npu_sched_lock);
	return sched;
}

/* For npu_sched_init() with the same name. NULL: no memory. */
struct drm_gpu_scheduler *npu_sched_get(const char *name)
{
	struct npu_sched *sched = npu_sched_take(name);

	if (!sched) {
		sched = kzalloc(sizeof(*sched), GFP_KERNEL);
		if (!sched)
			return NULL;
		sched->base.name = name;
	}
	return &sched->base;
}

/* After drm_sched_fini(), or if it was never initialised. */
void npu_sched_put(struct drm_gpu_scheduler *base)
{
	struct npu_sched *sched = container_of(base, struct npu_sched, base);

	spin_lock(&npu_sched_lock);
	sched->next = npu_sched_unused;
	npu_sched_unused = sched;
	spin_unlock(&npu_sched_lock);
}

/* At module exit: no fence is left. */
void npu_sched_free_all(void)
{
	struct npu_sched *sched;

	while ((sched = npu_sched_take(NULL)))
		kfree(sched);
}
