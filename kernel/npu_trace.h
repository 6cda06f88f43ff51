/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Trace points: one per stage of a job, /sys/kernel/tracing/events/npu. Queues are
 * hardware queues, packets indices in them.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM npu

#if !defined(NPU_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define NPU_TRACE_H

#include <linux/tracepoint.h>

#include "npu_device.h"
#include "npu_queue.h"

/* SUBMIT has accepted jobs; number: the queue's of the first of them. */
TRACE_EVENT(npu_submit,
	TP_PROTO(struct npu_queue *queue, u64 number, u32 count),
	TP_ARGS(queue, number, count),
	TP_STRUCT__entry(
		__string(dev, dev_name(queue->npu->drm.dev))
		__field(u32, hwq)
		__field(u32, queue)
		__field(u64, job)
		__field(u32, count)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->hwq = queue->hwq.id;
		__entry->queue = queue->id;
		__entry->job = number;
		__entry->count = count;
	),
	TP_printk("%s hwq=%u queue=%u job=%llu count=%u", __get_str(dev), __entry->hwq,
		  __entry->queue, __entry->job, __entry->count)
);

/* Packets are in the ring, the kernel's own on queue 0, too; the doorbell follows. */
TRACE_EVENT(npu_run,
	TP_PROTO(struct npu_hwq *hwq, u64 packet, u32 count),
	TP_ARGS(hwq, packet, count),
	TP_STRUCT__entry(
		__string(dev, dev_name(hwq->npu->drm.dev))
		__field(u32, hwq)
		__field(u64, packet)
		__field(u32, count)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->hwq = hwq->id;
		__entry->packet = packet;
		__entry->count = count;
	),
	TP_printk("%s hwq=%u packet=%llu count=%u", __get_str(dev), __entry->hwq,
		  __entry->packet, __entry->count)
);

/* One packet has ended; start and end are the card's, in ns of its timebase. */
TRACE_EVENT(npu_complete,
	TP_PROTO(struct npu_queue *queue, u64 packet, u64 job,
		 const struct npu_completion *completion),
	TP_ARGS(queue, packet, job, completion),
	TP_STRUCT__entry(
		__string(dev, dev_name(queue->npu->drm.dev))
		__string(status, npu_status_name(completion->status))
		__field(u32, hwq)
		__field(u64, packet)
		__field(u64, job)
		__field(u64, start)
		__field(u64, end)
		__field(u64, cycles)
	),
	TP_fast_assign(
		__assign_str(dev);
		__assign_str(status);
		__entry->hwq = queue->hwq.id;
		__entry->packet = packet;
		__entry->job = job;
		__entry->start = completion->start_ns;
		__entry->end = completion->end_ns;
		__entry->cycles = completion->cycles_observed;
	),
	TP_printk("%s hwq=%u packet=%llu job=%llu status=%s start=%llu end=%llu cycles=%llu",
		  __get_str(dev), __entry->hwq, __entry->packet, __entry->job,
		  __get_str(status), __entry->start, __entry->end, __entry->cycles)
);

/* A job failed by its own doing, or the hardware's. */
TRACE_EVENT(npu_fault,
	TP_PROTO(struct npu_queue *queue, u64 job, const struct npu_completion *completion),
	TP_ARGS(queue, job, completion),
	TP_STRUCT__entry(
		__string(dev, dev_name(queue->npu->drm.dev))
		__string(status, npu_status_name(completion->status))
		__field(u32, hwq)
		__field(u64, job)
		__field(u64, address)
		__field(u32, command)
		__field(u8, engine)
		__field(u8, core)
		__field(u8, access)
	),
	TP_fast_assign(
		__assign_str(dev);
		__assign_str(status);
		__entry->hwq = queue->hwq.id;
		__entry->job = job;
		__entry->address = completion->address;
		__entry->command = completion->command;
		__entry->engine = completion->engine;
		__entry->core = completion->core;
		__entry->access = completion->access;
	),
	TP_printk("%s hwq=%u job=%llu status=%s command=%d engine=%u core=%u access=%u address=%#llx",
		  __get_str(dev), __entry->hwq, __entry->job, __get_str(status),
		  (s32)__entry->command, __entry->engine, __entry->core, __entry->access,
		  __entry->address)
);

/* A bind job writes leaves: one of its steps. */
TRACE_EVENT(npu_bind,
	TP_PROTO(struct npu_device *npu, u32 asid, u64 va, u64 size, bool map),
	TP_ARGS(npu, asid, va, size, map),
	TP_STRUCT__entry(
		__string(dev, dev_name(npu->drm.dev))
		__field(u32, asid)
		__field(u64, va)
		__field(u64, size)
		__field(bool, map)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->asid = asid;
		__entry->va = va;
		__entry->size = size;
		__entry->map = map;
	),
	TP_printk("%s asid=%u %s va=%#llx size=%#llx", __get_str(dev), __entry->asid,
		  __entry->map ? "map" : "unmap", __entry->va, __entry->size)
);

/* A rung of the ladder: "abort", "core", "card", "function", "give up". */
TRACE_EVENT(npu_reset,
	TP_PROTO(struct npu_device *npu, const char *rung, int hwq),
	TP_ARGS(npu, rung, hwq),
	TP_STRUCT__entry(
		__string(dev, dev_name(npu->drm.dev))
		__string(rung, rung)
		__field(int, hwq)
	),
	TP_fast_assign(
		__assign_str(dev);
		__assign_str(rung);
		__entry->hwq = hwq;
	),
	TP_printk("%s rung=%s hwq=%d", __get_str(dev), __get_str(rung), __entry->hwq)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE npu_trace
#include <trace/define_trace.h>
