// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What people and system daemons are told about failures: one line of the
 * kernel's log per guilty job, and the WEDGED uevent of Documentation/gpu/drm-uapi.rst.
 */
#include <linux/kobject.h>

#include <drm/drm_file.h>

#include "npu_device.h"
#include "npu_queue.h"
#include "npu_report.h"

static const struct {
	const char *name;
	const char *cause;
} npu_statuses[] = {
	[NPU_STATUS_OK] = { "OK", "no failure" },
	[NPU_STATUS_BAD_COMMAND] = { "BAD_COMMAND", "invalid command" },
	[NPU_STATUS_MMU_FAULT] = { "MMU_FAULT", "no mapping for this access" },
	[NPU_STATUS_SRAM_RANGE] = { "SRAM_RANGE", "operand beyond SRAM" },
	[NPU_STATUS_HAZARD] = { "HAZARD", "accesses to SRAM that no wait orders" },
	[NPU_STATUS_DEADLOCK] = { "DEADLOCK", "wait that is never met" },
	[NPU_STATUS_BUDGET] = { "BUDGET", "over its cycle limit or quantum" },
	[NPU_STATUS_HANG] = { "HANG", "no progress" },
	[NPU_STATUS_ECC] = { "ECC", "uncorrectable memory error" },
	[NPU_STATUS_DMA_ERROR] = { "DMA_ERROR", "bus transaction refused" },
	[NPU_STATUS_ABORTED] = { "ABORTED", "aborted or skipped" },
	[NPU_STATUS_VICTIM] = { "VICTIM", "lost in a reset" },
};

const char *npu_status_name(u32 status)
{
	BUILD_BUG_ON(ARRAY_SIZE(npu_statuses) != NPU_STATUS_COUNT);
	return status < NPU_STATUS_COUNT ? npu_statuses[status].name : "?";
}

/* Failed by its own doing, or the hardware's; not by what happened to others. */
bool npu_status_is_guilty(u32 status)
{
	return status != NPU_STATUS_OK && status != NPU_STATUS_ABORTED &&
	       status != NPU_STATUS_VICTIM;
}

/* Any context. A user can cause as many as he likes: ratelimited, and no error. */
void npu_report_job(struct npu_queue *queue, u64 job, const struct npu_completion *completion)
{
	static const char * const engines[] = {
		"LOAD", "STORE", "MAC", "VEC", "the sequencer", "the packet",
	};
	static const char * const accesses[] = { "read", "write", "fetch" };
	const u32 status = completion->status;

	BUILD_BUG_ON(ARRAY_SIZE(engines) != NPU_ENGINE_PACKET + 1);
	dev_notice_ratelimited(queue->npu->drm.dev,
			       "%s[%u]: queue %u (hardware %u) job %llu: %s, %s; %s of core %u, command %d, operator %d, %s of %#llx\n",
			       queue->comm, queue->pid, queue->id, queue->hwq.id, job,
			       npu_status_name(status),
			       status < NPU_STATUS_COUNT ? npu_statuses[status].cause : "unknown",
			       completion->engine < ARRAY_SIZE(engines) ?
			       engines[completion->engine] : "?",
			       completion->core, (s32)completion->command,
			       (s32)completion->source_op,
			       completion->access < ARRAY_SIZE(accesses) ?
			       accesses[completion->access] : "?", completion->address);
}

/*
 * drm_dev_wedged_event() of newer kernels sends it for the primary node, which an
 * accel device does not have: it would follow a null pointer.
 */
static void npu_wedged_work(struct work_struct *work)
{
	struct npu_device *npu = container_of(work, struct npu_device, wedged.work);
	const char *recovery = xchg(&npu->wedged.recovery, NULL);
	char text[32];
	char *env[] = { text, NULL };
	int idx;

	if (!recovery || !drm_dev_enter(&npu->drm, &idx))
		return;
	snprintf(text, sizeof(text), "WEDGED=%s", recovery);
	kobject_uevent_env(&npu->drm.accel->kdev->kobj, KOBJ_CHANGE, env);
	drm_dev_exit(idx);
}

void npu_wedged_init(struct npu_device *npu)
{
	INIT_WORK(&npu->wedged.work, npu_wedged_work);
}

void npu_wedged_fini(struct npu_device *npu)
{
	cancel_work_sync(&npu->wedged.work);
}

/* The card was reset, or needs @recovery. Sending allocates: from a work. */
void npu_wedged_send(struct npu_device *npu, const char *recovery)
{
	WRITE_ONCE(npu->wedged.recovery, recovery);
	queue_work(npu_release_wq, &npu->wedged.work);
}
