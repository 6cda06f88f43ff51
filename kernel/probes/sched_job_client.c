// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* drm_sched_job_init() takes the id of the client. */
#include <drm/gpu_scheduler.h>

int npu_probe(struct drm_sched_job *job, struct drm_sched_entity *entity);
int npu_probe(struct drm_sched_job *job, struct drm_sched_entity *entity)
{
	return drm_sched_job_init(job, entity, 1, NULL, 1);
}
