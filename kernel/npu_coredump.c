// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Device coredumps, laid out as <uapi/drm/npu_coredump.h> says.
 *
 * Written in two steps. The first is on the path of fence signalling, before
 * anything that explains the failure is gone: registers as the watchdog finds
 * them, the ring, the way to the faulting address. It fills memory that probe()
 * allocated, takes no lock but hwq.lock, and claims it with one atomic bit. The
 * second is a work that signals no fence: it may allocate and take dma_resv
 * locks, adds the guilty job's commands, and hands all to dev_coredumpv(), which
 * frees it.
 */
#include <linux/devcoredump.h>
#include <linux/dma-mapping.h>
#include <linux/utsname.h>
#include <linux/vmalloc.h>

#include <uapi/drm/npu_coredump.h>

#include "npu_bo.h"
#include "npu_coredump.h"
#include "npu_device.h"
#include "npu_hwq.h"
#include "npu_pm.h"
#include "npu_queue.h"
#include "npu_vm.h"
#include "npu_watchdog.h"

#define NPU_DUMP_FIXED_BYTES	SZ_32K
#define NPU_DUMP_MAX_STREAM	SZ_4M
#define NPU_DUMP_BOUNCE_BYTES	SZ_64K
/* Packets shown before the oldest that has not retired. */
#define NPU_DUMP_RING_BEFORE	8

/* A new section's payload, zeroed; NULL if there is no room. */
static void *npu_dump_section(struct npu_dump_file *file, u32 type, u64 address, size_t bytes)
{
	struct drm_npu_dump_section *section = file->data + file->bytes;
	size_t all = sizeof(*section) + ALIGN(bytes, 8);

	if (all > file->size - file->bytes)
		return NULL;
	file->bytes += all;
	memset(section, 0, all);
	*section = (struct drm_npu_dump_section) {
		.type = type,
		.bytes = bytes,
		.address = address,
	};
	return section + 1;
}

static struct drm_npu_dump_event *npu_dump_event(struct npu_dump *dump)
{
	return dump->file.data + sizeof(struct drm_npu_dump_header) +
	       sizeof(struct drm_npu_dump_section);
}

/* ---- The first step: fence-critical ---- */

/* Whether the dump is the caller's. With header, event and target, which always fit. */
static bool npu_dump_claim(struct npu_device *npu, enum drm_npu_dump_reason reason)
{
	struct npu_dump *dump = &npu->dump;
	struct drm_npu_dump_event *event;

	/* Faults come as often as a user likes, and each dump is work for queue 0. */
	if (reason == DRM_NPU_DUMP_JOB && !__ratelimit(&dump->limit))
		return false;
	if (test_and_set_bit(0, &dump->busy))
		return false;
	dump->has_registers = false;
	dump->file.bytes = sizeof(struct drm_npu_dump_header);
	event = npu_dump_section(&dump->file, DRM_NPU_DUMP_EVENT, 0, sizeof(*event));
	event->reason = reason;
	event->interface_version = npu->version;
	event->realtime_ns = ktime_get_real_fast_ns();
	strscpy(event->device, dev_name(npu->drm.dev), sizeof(event->device));
	strscpy(event->release, init_utsname()->release, sizeof(event->release));
	event->core_resets = atomic64_read(&npu->core_resets);
	event->card_resets = atomic64_read(&npu->card_resets);
	event->hwq = ~0u;
	memcpy(npu_dump_section(&dump->file, DRM_NPU_DUMP_TARGET, 0, sizeof(npu->target)),
	       &npu->target, sizeof(npu->target));
	return true;
}

static void npu_dump_range(struct npu_device *npu, u32 offset, u32 end)
{
	u32 *words = npu_dump_section(&npu->dump.file, DRM_NPU_DUMP_REGISTERS, offset,
				      end - offset);

	for (; words && offset < end; offset += 4)
		*words++ = npu_read(npu, offset);
}

/* All that software may read and that is not in the target. Holds watchdog.lock. */
static void npu_dump_registers(struct npu_device *npu)
{
	u32 core, engine, id;

	npu_dump_range(npu, NPU_REG_MAGIC, NPU_REG_DMA_BITS + 4);
	npu_dump_range(npu, NPU_REG_CONTROL, NPU_REG_TIMEBASE + 8);
	npu_dump_range(npu, NPU_REG_POWER_MW, NPU_REG_CYCLES + 8);
	npu_dump_range(npu, NPU_REG_COUNT_MMIO_READ, NPU_REG_COUNT_FAULT + 4);
	for (core = 0; core < npu->target.cores; core++) {
		npu_dump_range(npu, NPU_REG_CORE(core, NPU_CORE_STATE),
			       NPU_REG_CORE(core, NPU_CORE_COMMAND) + 4);
		for (engine = 0; engine < NPU_ENGINE_COUNT; engine++)
			npu_dump_range(npu, NPU_REG_ENGINE(core, engine, NPU_ENGINE_REG_COMMANDS),
				       NPU_REG_ENGINE(core, engine, NPU_ENGINE_REG_BYTES) + 8);
	}
	npu_dump_range(npu, NPU_REG_INJECT_COUNT, NPU_REG_INJECT_ARMED + 4);
	for (id = 0; id < npu->hwqs; id++)
		if (npu->slots[id])
			npu_dump_range(npu, NPU_QUEUE_PAGE(id) + NPU_QUEUE_STATE,
				       NPU_QUEUE_PAGE(id) + NPU_QUEUE_WAITED + 8);
	npu->dump.has_registers = true;
}

static void npu_dump_ring(struct npu_dump *dump, struct npu_hwq *hwq)
{
	struct drm_npu_dump_event *event = npu_dump_event(dump);
	struct drm_npu_dump_ring *ring;
	u32 i;

	lockdep_assert_held(&hwq->lock);
	event->hwq = hwq->id;
	event->packet = hwq->consumer;
	ring = npu_dump_section(&dump->file, DRM_NPU_DUMP_RING, hwq->id, sizeof(*ring));
	if (!ring)
		return;
	BUILD_BUG_ON(sizeof(ring->slot[0].packet) != sizeof(struct npu_packet));
	BUILD_BUG_ON(sizeof(ring->slot[0].completion) != sizeof(struct npu_completion));
	ring->producer = hwq->producer;
	ring->consumer = hwq->consumer;
	ring->first = hwq->consumer - min(hwq->consumer, NPU_DUMP_RING_BEFORE);
	for (i = 0; i < DRM_NPU_DUMP_RING_SLOTS; i++) {
		u32 at = (ring->first + i) % NPU_HWQ_RING_SIZE;

		memcpy(ring->slot[i].packet, &hwq->ring[at], sizeof(ring->slot[i].packet));
		memcpy(ring->slot[i].completion, &hwq->completions[at],
		       sizeof(ring->slot[i].completion));
	}
}

static void npu_dump_publish(struct npu_dump *dump)
{
	dump->hwq = NULL;
	queue_work(npu_release_wq, &dump->work);
}

/**
 * npu_dump_begin - capture the card before it is reset
 * @npu: device, inside drm_dev_enter() and with watchdog.lock held
 * @hwq: queue whose oldest packet hangs; NULL: the card is reset for another reason
 *
 * The completion of that packet adds what is known about the job.
 */
void npu_dump_begin(struct npu_device *npu, struct npu_hwq *hwq)
{
	struct npu_dump *dump = &npu->dump;
	unsigned long flags;

	lockdep_assert_held(&npu->watchdog.lock);
	if (!npu_dump_claim(npu, hwq ? DRM_NPU_DUMP_HANG : DRM_NPU_DUMP_CARD_RESET))
		return;
	npu_dump_registers(npu);
	if (!hwq) {
		npu_dump_publish(dump);
		return;
	}
	spin_lock_irqsave(&hwq->lock, flags);
	npu_dump_ring(dump, hwq);
	dump->packet = hwq->consumer;
	WRITE_ONCE(dump->hwq, hwq);
	spin_unlock_irqrestore(&hwq->lock, flags);
}

/* Recovery is over; if no job answered for the hang, the dump is what it is. */
void npu_dump_end(struct npu_device *npu, struct npu_hwq *hwq)
{
	unsigned long flags;

	spin_lock_irqsave(&hwq->lock, flags);
	if (npu->dump.hwq == hwq)
		npu_dump_publish(&npu->dump);
	spin_unlock_irqrestore(&hwq->lock, flags);
}

/**
 * npu_dump_job - capture a job that failed
 * @queue: of the job
 * @packet: its index in the hardware queue, the oldest there
 * @what: the packet
 * @completion: how it ended; queue->fault says the same
 *
 * Called under hwq.lock, in interrupts.
 */
void npu_dump_job(struct npu_queue *queue, u64 packet, const struct npu_packet *what,
		  const struct npu_completion *completion)
{
	struct npu_dump *dump = &queue->npu->dump;
	struct npu_hwq *hwq = &queue->hwq;
	struct drm_npu_dump_event *event;
	u64 walk[1 + NPU_MMU_LEVELS];
	unsigned int entries;
	void *section;

	lockdep_assert_held(&hwq->lock);
	if (READ_ONCE(dump->hwq) != hwq || dump->packet != packet) {
		if (!npu_dump_claim(queue->npu, DRM_NPU_DUMP_JOB))
			return;
		npu_dump_ring(dump, hwq);
	}
	event = npu_dump_event(dump);
	event->reason = DRM_NPU_DUMP_JOB;
	event->asid = queue->vm->mmu.asid;
	strscpy(event->comm, queue->comm, sizeof(event->comm));
	event->pid = queue->pid;
	event->fault = queue->fault;

	if (completion->status == NPU_STATUS_MMU_FAULT) {
		entries = npu_mmu_walk(&queue->vm->mmu, completion->address, walk);
		section = npu_dump_section(&dump->file, DRM_NPU_DUMP_WALK, completion->address,
					   entries * sizeof(*walk));
		if (section)
			memcpy(section, walk, entries * sizeof(*walk));
	}
	dump->vm = npu_vm_get(queue->vm);
	memcpy(&dump->job, what, sizeof(dump->job));
	dump->core = completion->core;
	npu_dump_publish(dump);
}

/* ---- The second step ---- */

/* Copies from a buffer through queue 0, wherever it lies. Returns how much. */
static size_t npu_dump_copy_bo(struct npu_device *npu, struct npu_bo *bo, u64 offset, void *to,
			       size_t bytes, void *bounce, dma_addr_t bounce_dma)
{
	struct npu_packet packet;
	struct npu_extent extent;
	size_t done = 0;

	if (npu_bo_validate(bo))
		return 0;
	npu_extent_first(&extent, npu, bo->tbo.resource, bo->tbo.ttm, offset, bytes);
	while (extent.bytes) {
		size_t piece = min(extent.bytes, NPU_DUMP_BOUNCE_BYTES);

		npu_packet_copy(&packet, extent.card ? NPU_MEMORY_CARD : NPU_MEMORY_HOST,
				extent.address, NPU_MEMORY_HOST, bounce_dma, piece);
		if (npu_kqueue_run(npu, &packet, 1))
			break;
		memcpy(to + done, bounce, piece);
		done += piece;
		npu_extent_next(&extent, piece);
	}
	return done;
}

/* The buffer behind @va, with a reference; *bytes is cut to its mapping. */
static struct npu_bo *npu_dump_find(struct npu_vm *vm, u64 va, u64 *offset, size_t *bytes)
{
	struct npu_bo *bo = NULL;
	struct drm_gpuva *mapping;

	dma_resv_lock(drm_gpuvm_resv(&vm->gpuvm), NULL);
	mapping = drm_gpuva_find_first(&vm->gpuvm, va, 1);
	if (mapping) {
		u64 skip = va - mapping->va.addr;

		bo = gem_to_npu_bo(mapping->gem.obj);
		drm_gem_object_get(mapping->gem.obj);
		*offset = mapping->gem.offset + skip;
		*bytes = min(*bytes, mapping->va.range - skip);
	}
	dma_resv_unlock(drm_gpuvm_resv(&vm->gpuvm));
	return bo;
}

/* Adds user memory as a section, as far as it is mapped. Inside drm_dev_enter(). */
static void npu_dump_memory(struct npu_device *npu, struct npu_dump_file *file, u32 type, u64 va,
			    size_t bytes)
{
	struct npu_vm *vm = npu->dump.vm;
	struct drm_npu_dump_section *section;
	dma_addr_t bounce_dma;
	size_t done = 0;
	void *bounce;
	void *to;

	to = bytes ? npu_dump_section(file, type, va, bytes) : NULL;
	if (!to)
		return;
	bounce = dma_alloc_coherent(npu->drm.dev, NPU_DUMP_BOUNCE_BYTES, &bounce_dma,
				    GFP_KERNEL | __GFP_NOWARN);
	while (bounce && done < bytes) {
		size_t part = bytes - done;
		size_t got = 0;
		u64 offset;
		struct npu_bo *bo = npu_dump_find(vm, va + done, &offset, &part);

		if (!bo)
			break;
		dma_resv_lock(bo->tbo.base.resv, NULL);
		got = npu_dump_copy_bo(npu, bo, offset, to + done, part, bounce, bounce_dma);
		dma_resv_unlock(bo->tbo.base.resv);
		drm_gem_object_put(&bo->tbo.base);
		done += got;
		if (got < part)
			break;
	}
	if (bounce)
		dma_free_coherent(npu->drm.dev, NPU_DUMP_BOUNCE_BYTES, bounce, bounce_dma);

	/* It is the last one so far: what was not read is cut off, all of it with its head. */
	section = to - sizeof(*section);
	section->bytes = done;
	file->bytes = (to - file->data) + ALIGN(done, 8);
	if (!done)
		file->bytes -= sizeof(*section);
}

static void npu_dump_job_memory(struct npu_device *npu, struct npu_dump_file *file)
{
	const struct npu_packet_job *job = &npu->dump.job;
	u64 va = job->stream_va;
	u32 core;

	for (core = 0; core < npu->dump.core; core++)
		va += job->stream_bytes[core];
	npu_dump_memory(npu, file, DRM_NPU_DUMP_REGIONS, job->region_va,
			job->region_count * sizeof(u64));
	npu_dump_memory(npu, file, DRM_NPU_DUMP_STREAM, va,
			min(job->stream_bytes[core], NPU_DUMP_MAX_STREAM));
}

static void npu_dump_work(struct work_struct *work)
{
	struct npu_dump *dump = container_of(work, struct npu_dump, work);
	struct npu_device *npu = container_of(dump, struct npu_device, dump);
	struct npu_dump_file file = {};
	struct drm_npu_dump_header *header;
	bool entered;
	bool cookie;
	int idx;

	entered = !npu_use_begin(npu, &idx);
	if (entered && !dump->has_registers) {
		cookie = npu_watchdog_lock(npu);
		if (!npu->lost && !npu->offline)
			npu_dump_registers(npu);
		npu_watchdog_unlock(npu, cookie);
	}

	file.size = dump->file.bytes;
	if (dump->vm && dump->core < NPU_MAX_CORES)
		file.size += 2 * sizeof(struct drm_npu_dump_section) +
			     NPU_MAX_REGIONS * sizeof(u64) +
			     min(dump->job.stream_bytes[dump->core], NPU_DUMP_MAX_STREAM);
	file.data = vmalloc(file.size);
	if (file.data) {
		memcpy(file.data, dump->file.data, dump->file.bytes);
		file.bytes = dump->file.bytes;
		if (entered && dump->vm && dump->core < NPU_MAX_CORES)
			npu_dump_job_memory(npu, &file);
		header = file.data;
		*header = (struct drm_npu_dump_header) {
			.magic = DRM_NPU_DUMP_MAGIC,
			.version = DRM_NPU_DUMP_VERSION,
			.bytes = file.bytes,
		};
		/* Drops it if there is one already that nobody has read or deleted. */
		dev_coredumpv(npu->drm.dev, file.data, file.bytes, GFP_KERNEL);
	}
	npu_vm_put(dump->vm);
	dump->vm = NULL;
	if (entered)
		npu_use_end(npu, idx);
	clear_bit_unlock(0, &dump->busy);
}

int npu_dump_init(struct npu_device *npu)
{
	struct npu_dump *dump = &npu->dump;

	INIT_WORK(&dump->work, npu_dump_work);
	ratelimit_state_init(&dump->limit, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);
	/* What is dropped needs no line in the log. */
	ratelimit_set_flags(&dump->limit, RATELIMIT_MSG_ON_RELEASE);
	dump->file.size = NPU_DUMP_FIXED_BYTES;
	dump->file.data = drmm_kmalloc(&npu->drm, NPU_DUMP_FIXED_BYTES, GFP_KERNEL);
	return dump->file.data ? 0 : -ENOMEM;
}

/* Nothing completes any more. */
void npu_dump_fini(struct npu_device *npu)
{
	flush_work(&npu->dump.work);
}
