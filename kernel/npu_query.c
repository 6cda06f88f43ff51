// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* DEV_QUERY: every block is filled whole, then as much copied as asked for. */
#include <linux/ktime.h>
#include <linux/sizes.h>

#include <drm/ttm/ttm_placement.h>

#include "npu_device.h"
#include "npu_file.h"
#include "npu_job.h"
#include "npu_pm.h"
#include "npu_query.h"

static void npu_query_caps(struct npu_device *npu, struct drm_npu_caps *caps)
{
	BUILD_BUG_ON(sizeof(caps->target) != sizeof(npu->target));
	*caps = (struct drm_npu_caps) {
		.interface_version = npu->version,
		.features = npu->features,
		.serial = npu->serial,
		.va_start = NPU_VA_START,
		.va_end = 1ull << NPU_VA_BITS,
		.aperture_bytes = npu->aperture_bytes,
		.max_jobs = NPU_MAX_JOBS,
		.max_queues = min(NPU_FILE_MAX_QUEUES, npu->hwqs - 1),
	};
	memcpy(caps->target, &npu->target, sizeof(caps->target));
}

static void npu_query_memory(struct npu_device *npu, struct drm_npu_telemetry *telemetry)
{
	struct ttm_resource_manager *card = &npu->vram.manager;
	struct ttm_resource_manager *host = ttm_manager_type(&npu->ttm, TTM_PL_TT);
	struct ttm_resource_manager *system = ttm_manager_type(&npu->ttm, TTM_PL_SYSTEM);

	telemetry->card_memory_used = ttm_resource_manager_usage(card);
	telemetry->card_memory_total = card->size;
	telemetry->host_memory_used = ttm_resource_manager_usage(host) +
				      ttm_resource_manager_usage(system);
}

static void npu_query_telemetry(struct npu_device *npu, struct drm_npu_telemetry *telemetry)
{
	*telemetry = (struct drm_npu_telemetry) {
		.power_mw = npu_read(npu, NPU_REG_POWER_MW),
		.temperature_mc = npu_read(npu, NPU_REG_TEMPERATURE_MC),
		.clock_mhz = npu_read(npu, NPU_REG_CLOCK_MHZ),
		.throttles = npu_read(npu, NPU_REG_THROTTLES),
		.energy_nj = npu_read64(npu, NPU_REG_ENERGY_NJ),
		.busy_ns = npu_read64(npu, NPU_REG_BUSY_NS),
		.cycles = npu_read64(npu, NPU_REG_CYCLES),
	};
	npu_query_memory(npu, telemetry);
}

/* The card is about to sleep: its counters stand still. It has no clock then. */
void npu_telemetry_keep(struct npu_device *npu)
{
	npu_query_telemetry(npu, &npu->asleep);
	npu->asleep.clock_mhz = 0;
}

/**
 * npu_telemetry - what monitoring programs want to know, without waking the card
 * @npu: device
 * @telemetry: clock_mhz is 0 if it sleeps: nobody knows power and temperature
 *
 * Returns 0, or -ENODEV if the card is gone.
 */
int npu_telemetry(struct npu_device *npu, struct drm_npu_telemetry *telemetry)
{
	int idx;

	if (READ_ONCE(npu->lost) || !drm_dev_enter(&npu->drm, &idx))
		return -ENODEV;
	if (npu_glance(npu)) {
		npu_query_telemetry(npu, telemetry);
		npu_glance_end(npu);
	} else {
		*telemetry = npu->asleep;
		npu_query_memory(npu, telemetry);
	}
	drm_dev_exit(idx);
	return 0;
}

static void npu_query_counters(struct npu_device *npu, struct drm_npu_counters *counters)
{
	*counters = (struct drm_npu_counters) {
		.jobs = atomic64_read(&npu->jobs),
		.faults = atomic64_read(&npu->faults),
		.core_resets = atomic64_read(&npu->core_resets),
		.card_resets = atomic64_read(&npu->card_resets),
		.device_mmio_reads = npu_read(npu, NPU_REG_COUNT_MMIO_READ),
		.device_mmio_writes = npu_read(npu, NPU_REG_COUNT_MMIO_WRITE),
		.device_doorbells = npu_read(npu, NPU_REG_COUNT_DOORBELL),
		.device_interrupts = npu_read(npu, NPU_REG_COUNT_INTERRUPT),
		.buffers = atomic_read(&npu->buffers),
		.vms = atomic_read(&npu->vm_count),
		.queues = atomic_read(&npu->queue_count),
		.fences = atomic_read(&npu->fence_count),
		.job_aborts = atomic64_read(&npu->job_aborts),
		.function_resets = atomic64_read(&npu->function_resets),
	};
}

static void npu_query_engines(struct npu_device *npu, struct drm_npu_engines *engines)
{
	struct drm_npu_engine *engine = engines->engine;
	u32 core, e;

	memset(engines, 0, sizeof(*engines));
	BUILD_BUG_ON(DRM_NPU_ENGINES != NPU_ENGINE_COUNT);
	BUILD_BUG_ON(DRM_NPU_MAX_CORES != NPU_MAX_CORES);
	for (core = 0; core < npu->target.cores; core++) {
		for (e = 0; e < DRM_NPU_ENGINES; e++, engine++) {
			engine->commands =
				npu_read64(npu, NPU_REG_ENGINE(core, e, NPU_ENGINE_REG_COMMANDS));
			engine->busy_cycles =
				npu_read64(npu, NPU_REG_ENGINE(core, e, NPU_ENGINE_REG_BUSY));
			engine->stall_cycles =
				npu_read64(npu, NPU_REG_ENGINE(core, e, NPU_ENGINE_REG_STALL));
			engine->wait_cycles =
				npu_read64(npu, NPU_REG_ENGINE(core, e, NPU_ENGINE_REG_WAIT));
			engine->bytes =
				npu_read64(npu, NPU_REG_ENGINE(core, e, NPU_ENGINE_REG_BYTES));
		}
	}
}

/* The host's time is that in the middle of the register read. */
static void npu_query_clock(struct npu_device *npu, struct drm_npu_clock *clock)
{
	u64 before = ktime_get_ns();

	clock->timebase_ns = npu_read64(npu, NPU_REG_TIMEBASE);
	clock->monotonic_ns = before + (ktime_get_ns() - before) / 2;
}

static void npu_query_fault(struct npu_file *nfile, struct drm_npu_fault *fault)
{
	unsigned long flags;

	spin_lock_irqsave(&nfile->lock, flags);
	*fault = nfile->fault;
	spin_unlock_irqrestore(&nfile->lock, flags);
}

int npu_dev_query_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct npu_device *npu = to_npu(drm);
	struct drm_npu_dev_query *args = data;
	union {
		struct drm_npu_caps caps;
		struct drm_npu_telemetry telemetry;
		struct drm_npu_counters counters;
		struct drm_npu_clock clock;
		struct drm_npu_fault fault;
		struct drm_npu_engines engines;
	} block;
	bool registers = true;
	size_t size;
	int ret = 0;
	int idx;

	switch (args->type) {
	case DRM_NPU_QUERY_CAPS:
		size = sizeof(block.caps);
		registers = false;
		break;
	case DRM_NPU_QUERY_TELEMETRY:
		size = sizeof(block.telemetry);
		break;
	case DRM_NPU_QUERY_COUNTERS:
		size = sizeof(block.counters);
		break;
	case DRM_NPU_QUERY_CLOCK:
		size = sizeof(block.clock);
		break;
	case DRM_NPU_QUERY_LAST_FAULT:
		size = sizeof(block.fault);
		registers = false;
		break;
	case DRM_NPU_QUERY_ENGINES:
		size = sizeof(block.engines);
		break;
	default:
		return -EINVAL;
	}
	if (!args->pointer) {
		args->size = size;
		return 0;
	}
	/* Zeroing the rest of a huge size would hold the CPU. */
	if (args->size > SZ_4K)
		return -EINVAL;

	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	if (registers)
		ret = READ_ONCE(npu->lost) ? -ENODEV : npu_wake(npu);
	if (ret)
		goto out;
	switch (args->type) {
	case DRM_NPU_QUERY_CAPS:
		npu_query_caps(npu, &block.caps);
		break;
	case DRM_NPU_QUERY_TELEMETRY:
		npu_query_telemetry(npu, &block.telemetry);
		break;
	case DRM_NPU_QUERY_COUNTERS:
		npu_query_counters(npu, &block.counters);
		break;
	case DRM_NPU_QUERY_CLOCK:
		npu_query_clock(npu, &block.clock);
		break;
	case DRM_NPU_QUERY_LAST_FAULT:
		npu_query_fault(file->driver_priv, &block.fault);
		break;
	case DRM_NPU_QUERY_ENGINES:
		npu_query_engines(npu, &block.engines);
		break;
	}
	if (registers)
		npu_rest(npu);
out:
	drm_dev_exit(idx);

	if (!ret)
		ret = npu_copy_struct_to_user(u64_to_user_ptr(args->pointer), args->size, &block,
					      size);
	if (!ret)
		args->size = size;
	return ret;
}
