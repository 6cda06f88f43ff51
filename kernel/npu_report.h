/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What people and system daemons are told about failures. */
#ifndef NPU_REPORT_H
#define NPU_REPORT_H

#include <linux/types.h>
#include <linux/workqueue.h>

struct npu_completion;
struct npu_device;
struct npu_queue;

/* The last event that is still to be sent. */
struct npu_wedged {
	/* "none" or "rebind", as DRM_WEDGE_RECOVERY_*; NULL: nothing to send. */
	const char *recovery;
	struct work_struct work;
};

const char *npu_status_name(u32 status);
bool npu_status_is_guilty(u32 status);
void npu_report_job(struct npu_queue *queue, u64 job, const struct npu_completion *completion);

void npu_wedged_init(struct npu_device *npu);
void npu_wedged_fini(struct npu_device *npu);
void npu_wedged_send(struct npu_device *npu, const char *recovery);

#endif
