/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR MIT) */
/*
 * User-space interface of the npu accel driver.
 *
 * Rules for everything below, today and later:
 *  - every struct is a multiple of 8 bytes, 64-bit members are 8-byte aligned,
 *    and 32- and 64-bit programs see the same layout;
 *  - padding and unused fields are zero, or the call fails with EINVAL; so do
 *    unknown flags;
 *  - structs grow at their end only, zero meaning the old behaviour; one that is
 *    longer than the driver's must be zero beyond it, or the call fails with EINVAL;
 *  - no unions and no bit-fields; arrays carry their element's size (stride);
 *  - ioctl numbers are only ever appended;
 *  - addresses and handles of the caller are checked before anything happens:
 *    a call that fails has changed nothing, except where its text says so.
 *
 * Common errors: EINVAL bad argument, ENOENT no such handle or id, ENOMEM and
 * ENOSPC no host or card memory, EACCES not permitted, ENODEV card gone,
 * EIO card lost until reset, EINTR interrupted: call again unchanged.
 */
#ifndef _UAPI_NPU_ACCEL_H_
#define _UAPI_NPU_ACCEL_H_

#include "drm.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define DRM_NPU_DEV_QUERY		0x00
#define DRM_NPU_BO_CREATE		0x01
#define DRM_NPU_BO_MMAP_OFFSET		0x02
#define DRM_NPU_VM_CREATE		0x03
#define DRM_NPU_VM_DESTROY		0x04
#define DRM_NPU_VM_BIND			0x05
#define DRM_NPU_QUEUE_CREATE		0x06
#define DRM_NPU_QUEUE_DESTROY		0x07
#define DRM_NPU_QUEUE_STATE		0x08
#define DRM_NPU_SUBMIT			0x09

/*
 * A user-space array: count elements of stride bytes each. Elements longer than
 * the driver's version must be zero beyond it. At most 1024 bind operations
 * and 256 syncs in one array; more is EINVAL.
 */
struct drm_npu_array {
	/**
	 * @stride: Size of one element; at least that of its first version, at
	 * most 1024, a multiple of 8.
	 */
	__u32 stride;
	/** @count: Number of elements. */
	__u32 count;
	/** @array: User pointer. Ignored when count is 0. */
	__u64 array;
};

/* ---- DEV_QUERY -------------------------------------------------------- */

enum drm_npu_query_type {
	/**
	 * @DRM_NPU_QUERY_CAPS: struct drm_npu_caps.
	 */
	DRM_NPU_QUERY_CAPS = 0,
	/** @DRM_NPU_QUERY_TELEMETRY: struct drm_npu_telemetry. */
	DRM_NPU_QUERY_TELEMETRY = 1,
	/** @DRM_NPU_QUERY_COUNTERS: struct drm_npu_counters. */
	DRM_NPU_QUERY_COUNTERS = 2,
	/** @DRM_NPU_QUERY_CLOCK: struct drm_npu_clock. */
	DRM_NPU_QUERY_CLOCK = 3,
	/** @DRM_NPU_QUERY_LAST_FAULT: struct drm_npu_fault of this file. */
	DRM_NPU_QUERY_LAST_FAULT = 4,
	/** @DRM_NPU_QUERY_ENGINES: struct drm_npu_engines. */
	DRM_NPU_QUERY_ENGINES = 5,
};

/**
 * struct drm_npu_dev_query - read one block of information
 *
 * With pointer 0 the driver only stores the block's size. Otherwise it copies
 * min(size, block) bytes, zeroes the rest of the caller's buffer and stores
 * the block's size.
 */
struct drm_npu_dev_query {
	/** @type: enum drm_npu_query_type. */
	__u32 type;
	/** @size: In: bytes at pointer, at most 4096. Out: bytes of the driver's block. */
	__u32 size;
	/** @pointer: User pointer, 0 to ask for the size. */
	__u64 pointer;
};

#define DRM_NPU_TARGET_WORDS 64

/** struct drm_npu_caps - what the card is */
struct drm_npu_caps {
	/** @interface_version: Register NPU_REG_VERSION: major << 16 | minor. */
	__u32 interface_version;
	/** @pad: Zero. */
	__u32 pad;
	/** @features: Register NPU_REG_FEATURES. */
	__u64 features;
	/** @serial: Register NPU_REG_SERIAL. */
	__u64 serial;
	/** @va_start: Lowest address that VM_BIND accepts. */
	__u64 va_start;
	/** @va_end: First address that it does not. */
	__u64 va_end;
	/** @aperture_bytes: Size of the CPU's window on card memory. */
	__u64 aperture_bytes;
	/** @max_jobs: Most jobs of one SUBMIT. */
	__u32 max_jobs;
	/** @max_queues: Most queues of one open file. */
	__u32 max_queues;
	/** @target: struct npu_target of include/npu/target.h, word by word. */
	__u32 target[DRM_NPU_TARGET_WORDS];
};

/** struct drm_npu_telemetry - modelled power, heat and use; memory in bytes */
struct drm_npu_telemetry {
	/** @power_mw: Power now, milliwatts. */
	__u32 power_mw;
	/** @temperature_mc: Millidegrees Celsius. */
	__u32 temperature_mc;
	/** @clock_mhz: Clock after throttling. */
	__u32 clock_mhz;
	/** @throttles: Times the clock was lowered. */
	__u32 throttles;
	/** @energy_nj: Since power-on, nanojoules. */
	__u64 energy_nj;
	/** @busy_ns: Timebase during which a core executed. */
	__u64 busy_ns;
	/** @cycles: Modelled cycles executed by all cores. */
	__u64 cycles;
	/** @card_memory_used: Bytes of card memory allocated. */
	__u64 card_memory_used;
	/** @card_memory_total: Bytes of card memory. */
	__u64 card_memory_total;
	/** @host_memory_used: Bytes of host memory in buffers of all clients. */
	__u64 host_memory_used;
};

/** struct drm_npu_counters - counts since the driver took the card */
struct drm_npu_counters {
	/** @jobs: Jobs completed, whatever their status. */
	__u64 jobs;
	/** @faults: Jobs that ended with a status other than OK. */
	__u64 faults;
	/** @core_resets: Core resets by the watchdog. */
	__u64 core_resets;
	/** @card_resets: Card resets. */
	__u64 card_resets;
	/** @device_mmio_reads: Card's own count of register reads, modulo 2^32. */
	__u64 device_mmio_reads;
	/** @device_mmio_writes: And of register writes. */
	__u64 device_mmio_writes;
	/** @device_doorbells: And of doorbells. */
	__u64 device_doorbells;
	/** @device_interrupts: And of interrupts raised. */
	__u64 device_interrupts;
	/** @buffers: Buffer objects alive. */
	__u32 buffers;
	/** @vms: Address spaces alive. */
	__u32 vms;
	/** @queues: User queues alive. */
	__u32 queues;
	/** @fences: Job fences not yet signalled. */
	__u32 fences;
	/** @job_aborts: Jobs without progress that the watchdog asked the card to abort. */
	__u64 job_aborts;
	/** @function_resets: Resets of the function or its slot, whoever asked for them. */
	__u64 function_resets;
};

/**
 * struct drm_npu_engine - what one engine did, since power-on
 *
 * Counted when a job ends with status OK. Modelled; 0 where time is not.
 */
struct drm_npu_engine {
	/** @commands: Commands retired. */
	__u64 commands;
	/** @busy_cycles: Cycles with a command between start and retirement. */
	__u64 busy_cycles;
	/** @stall_cycles: Cycles that commands waited for memory or SRAM ports. */
	__u64 stall_cycles;
	/** @wait_cycles: Cycles that the next command waited for others. */
	__u64 wait_cycles;
	/** @bytes: LOAD, STORE: of external memory; MAC, VEC: through SRAM ports. */
	__u64 bytes;
};

#define DRM_NPU_MAX_CORES	8
#define DRM_NPU_ENGINES		4

/** struct drm_npu_engines - all engines; zero for cores that the card does not have */
struct drm_npu_engines {
	/** @engine: Core by core, in the order of enum npu_engine. */
	struct drm_npu_engine engine[DRM_NPU_MAX_CORES * DRM_NPU_ENGINES];
};

/** struct drm_npu_clock - the card's and the host's clock at one moment */
struct drm_npu_clock {
	/** @timebase_ns: The card's timebase. */
	__u64 timebase_ns;
	/** @monotonic_ns: CLOCK_MONOTONIC. */
	__u64 monotonic_ns;
};

/**
 * struct drm_npu_fault - how a job failed
 *
 * All zero: no job of this file (or queue) has failed.
 */
struct drm_npu_fault {
	/** @status: enum npu_status_code of include/npu/status.h. */
	__u32 status;
	/** @queue_id: Queue of the job. */
	__u32 queue_id;
	/** @job: The queue's job number, from 0, that failed. */
	__u64 job;
	/** @command: Index of the command in its stream, or 0xffffffff. */
	__u32 command;
	/** @engine: enum npu_engine. */
	__u8 engine;
	/** @core: Position in the gang. */
	__u8 core;
	/** @access: enum npu_access. */
	__u8 access;
	/** @pad0: Zero. */
	__u8 pad0;
	/** @source_op: The command's operator index. */
	__u32 source_op;
	/** @pad1: Zero. */
	__u32 pad1;
	/** @address: VA, bus or SRAM address concerned. */
	__u64 address;
	/** @timebase_ns: When. */
	__u64 timebase_ns;
};

/*
 * ---- Buffers ----------------------------------------------------------
 *
 * GEM_CLOSE, PRIME_HANDLE_TO_FD and PRIME_FD_TO_HANDLE are DRM's. A buffer that
 * another device is attached to lies in host memory. PRIME_FD_TO_HANDLE fails with
 * EOPNOTSUPP if memory is out of the reach of a card with few address bits. Jobs
 * put no fences for implicit synchronisation on shared buffers: see the dma-buf's
 * DMA_BUF_IOCTL_IMPORT_SYNC_FILE.
 */

enum drm_npu_placement {
	/** @DRM_NPU_PLACEMENT_HOST: Host memory, coherent. */
	DRM_NPU_PLACEMENT_HOST = 0,
	/** @DRM_NPU_PLACEMENT_CARD: Card memory; may be evicted to host memory. */
	DRM_NPU_PLACEMENT_CARD = 1,
};

/** struct drm_npu_bo_create - make a buffer, zeroed */
struct drm_npu_bo_create {
	/** @size: In: bytes, > 0. Out: rounded up to pages. */
	__u64 size;
	/** @placement: enum drm_npu_placement. */
	__u32 placement;
	/** @flags: Zero. */
	__u32 flags;
	/** @handle: Out: GEM handle. */
	__u32 handle;
	/** @pad: Zero. */
	__u32 pad;
};

/** struct drm_npu_bo_mmap_offset - offset for mmap() on the device node */
struct drm_npu_bo_mmap_offset {
	/** @handle: Buffer. */
	__u32 handle;
	/** @pad: Zero. */
	__u32 pad;
	/** @offset: Out: for mmap(). */
	__u64 offset;
};

/* ---- Address spaces --------------------------------------------------- */

/** struct drm_npu_vm_create - make an empty address space; ENOSPC: too many in this file */
struct drm_npu_vm_create {
	/** @flags: Zero. */
	__u32 flags;
	/** @vm_id: Out. */
	__u32 vm_id;
};

/** struct drm_npu_vm_destroy - drop an address space; its queues keep it alive */
struct drm_npu_vm_destroy {
	/** @vm_id: Address space. */
	__u32 vm_id;
	/** @pad: Zero. */
	__u32 pad;
};

#define DRM_NPU_SYNC_TIMELINE	(1u << 0)

/**
 * struct drm_npu_sync - one syncobj to wait for or to signal
 *
 * A fence that is to be waited for must be there: EINVAL. Its error is not
 * passed on.
 */
struct drm_npu_sync {
	/** @handle: Syncobj. */
	__u32 handle;
	/** @flags: DRM_NPU_SYNC_TIMELINE: a point of a timeline syncobj. */
	__u32 flags;
	/** @point: The point, > 0; 0 for a binary syncobj. */
	__u64 point;
};

enum drm_npu_bind_op_type {
	/** @DRM_NPU_BIND_MAP: Map, replacing what is there. */
	DRM_NPU_BIND_MAP = 0,
	/** @DRM_NPU_BIND_UNMAP: Unmap all of the range, mapped or not. */
	DRM_NPU_BIND_UNMAP = 1,
};

#define DRM_NPU_BIND_READONLY	(1u << 0)

/** struct drm_npu_bind_op - one change of an address space */
struct drm_npu_bind_op {
	/** @op: enum drm_npu_bind_op_type. */
	__u32 op;
	/** @flags: MAP: DRM_NPU_BIND_READONLY. UNMAP: zero. */
	__u32 flags;
	/** @handle: MAP: the buffer. UNMAP: zero. */
	__u32 handle;
	/** @pad: Zero. */
	__u32 pad;
	/** @bo_offset: MAP: page-aligned offset in it. UNMAP: zero. */
	__u64 bo_offset;
	/** @va: Page aligned. */
	__u64 va;
	/** @size: Bytes, > 0, page aligned. */
	__u64 size;
};

#define DRM_NPU_VM_BIND_ASYNC	(1u << 0)

/**
 * struct drm_npu_vm_bind - change an address space
 *
 * The operations take effect in order. Without ASYNC they have on return, and
 * waits must be empty; with it they run when all waits are signalled, after
 * the address space's earlier binds. If one fails, those before it stay.
 *
 * ENOSPC: the address space has 65536 mappings, or 32768 page tables. EBUSY:
 * 4096 binds of it are unfinished; wait for one.
 */
struct drm_npu_vm_bind {
	/** @vm_id: Address space. */
	__u32 vm_id;
	/** @flags: DRM_NPU_VM_BIND_ASYNC. */
	__u32 flags;
	/** @ops: struct drm_npu_bind_op. */
	struct drm_npu_array ops;
	/** @waits: struct drm_npu_sync. */
	struct drm_npu_array waits;
	/** @signals: struct drm_npu_sync. */
	struct drm_npu_array signals;
};

/* ---- Queues ----------------------------------------------------------- */

enum drm_npu_priority {
	/** @DRM_NPU_PRIORITY_NORMAL: The default. */
	DRM_NPU_PRIORITY_NORMAL = 0,
	/** @DRM_NPU_PRIORITY_LOW: Below all others. */
	DRM_NPU_PRIORITY_LOW = 1,
	/** @DRM_NPU_PRIORITY_HIGH: Needs CAP_SYS_NICE. */
	DRM_NPU_PRIORITY_HIGH = 2,
};

/**
 * struct drm_npu_queue_create - make a queue on an address space
 *
 * ENOSPC: the file has caps.max_queues already, or the card has no more.
 */
struct drm_npu_queue_create {
	/** @vm_id: Address space of all its jobs. */
	__u32 vm_id;
	/** @priority: enum drm_npu_priority; EACCES if not permitted. */
	__u32 priority;
	/**
	 * @cycle_limit: Modelled cycles per job, 0 = the administrator's limit;
	 * EINVAL above that (module parameter cycle_limit).
	 */
	__u64 cycle_limit;
	/** @core_mask: Cores it may use, 0 = all. */
	__u32 core_mask;
	/** @flags: Zero. */
	__u32 flags;
	/** @queue_id: Out. */
	__u32 queue_id;
	/** @pad: Zero. */
	__u32 pad;
	/**
	 * @quantum: Modelled cycles that a job may run without a YIELD while a more
	 * urgent one waits (more ends it with BUDGET), and after which queues of
	 * equal priority take turns; 0 = the administrator's; EINVAL above that
	 * (module parameter quantum).
	 */
	__u64 quantum;
	/**
	 * @coalesce_count: One interrupt for so many SUBMITs, so that fences signal
	 * later; 0 = each has its own. At most 128, and then coalesce_us is not 0.
	 */
	__u32 coalesce_count;
	/** @coalesce_us: And no later than this after the first; at most 10000. */
	__u32 coalesce_us;
};

/** struct drm_npu_queue_destroy - end a queue; its unfinished jobs are aborted */
struct drm_npu_queue_destroy {
	/** @queue_id: Queue. */
	__u32 queue_id;
	/** @pad: Zero. */
	__u32 pad;
};

enum drm_npu_queue_health {
	/** @DRM_NPU_QUEUE_HEALTHY: Accepts jobs. */
	DRM_NPU_QUEUE_HEALTHY = 0,
	/** @DRM_NPU_QUEUE_GUILTY: A job of it had to be stopped by a reset; accepts jobs. */
	DRM_NPU_QUEUE_GUILTY = 1,
	/** @DRM_NPU_QUEUE_VICTIM: Lost jobs in a reset caused by another; accepts jobs. */
	DRM_NPU_QUEUE_VICTIM = 2,
	/** @DRM_NPU_QUEUE_MEMORY_LOST: Buffer contents are lost; SUBMIT fails with EIO. */
	DRM_NPU_QUEUE_MEMORY_LOST = 3,
	/** @DRM_NPU_QUEUE_BANNED: Too many hangs; SUBMIT fails with EIO. */
	DRM_NPU_QUEUE_BANNED = 4,
};

/** struct drm_npu_queue_state - health and last fault of a queue */
struct drm_npu_queue_state {
	/** @queue_id: In: queue. */
	__u32 queue_id;
	/** @health: Out: enum drm_npu_queue_health. */
	__u32 health;
	/** @jobs_submitted: Out. */
	__u64 jobs_submitted;
	/** @jobs_completed: Out: whatever their status. */
	__u64 jobs_completed;
	/** @fault: Out: of the last job that failed. */
	struct drm_npu_fault fault;
	/**
	 * @first_failed: Out: number of the first job that failed, counted
	 * from 1; 0: none has. Jobs that were skipped because of a failure in
	 * their SUBMIT do not count.
	 */
	__u64 first_failed;
};

/* ---- SUBMIT ----------------------------------------------------------- */

#define DRM_NPU_JOB_RESTARTABLE		(1u << 0)
#define DRM_NPU_JOB_PROFILE		(1u << 1)
#define DRM_NPU_JOB_PROFILE_COMMANDS	(1u << 2)

/** struct drm_npu_job - one job: streams for a gang of cores */
struct drm_npu_job {
	/** @stream_va: VA of the streams, one after another; 128-byte aligned. */
	__u64 stream_va;
	/** @region_va: VA of the region table, 8-byte aligned; 0 if region_count is. */
	__u64 region_va;
	/** @profile_va: VA of struct npu_profile, 128-byte aligned; 0 without PROFILE. */
	__u64 profile_va;
	/** @stream_count: Cores of the gang, 1 .. target.cores. */
	__u32 stream_count;
	/** @region_count: Entries of the region table, at most 64. */
	__u32 region_count;
	/** @core_mask: Cores it may run on, 0 = any of the queue's. */
	__u32 core_mask;
	/** @flags: DRM_NPU_JOB_*. */
	__u32 flags;
	/** @stream_bytes: Of each stream, a multiple of 128; 0 beyond stream_count. */
	__u32 stream_bytes[DRM_NPU_MAX_CORES];
};

/**
 * struct drm_npu_submit - run jobs, in order, on a queue
 *
 * They start when all waits are signalled and the queue's earlier submissions
 * have ended; the signals fire when the last has ended. The first job that
 * fails ends the rest with status ABORTED and puts the fence's error:
 *  -EFAULT MMU_FAULT, SRAM_RANGE; -EINVAL BAD_COMMAND, HAZARD, DEADLOCK;
 *  -ETIME BUDGET, HANG; -EIO ECC, DMA_ERROR; -ECANCELED ABORTED, VICTIM;
 *  -ENODEV card gone. QUEUE_STATE tells more.
 * EBUSY: 4096 submissions of the queue are unfinished; wait for one.
 */
struct drm_npu_submit {
	/** @queue_id: Queue. */
	__u32 queue_id;
	/** @flags: Zero. */
	__u32 flags;
	/** @jobs: struct drm_npu_job, 1 .. caps.max_jobs. */
	struct drm_npu_array jobs;
	/** @waits: struct drm_npu_sync. */
	struct drm_npu_array waits;
	/** @signals: struct drm_npu_sync. */
	struct drm_npu_array signals;
};

#define DRM_IOCTL_NPU_DEV_QUERY \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_NPU_DEV_QUERY, struct drm_npu_dev_query)
#define DRM_IOCTL_NPU_BO_CREATE \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_NPU_BO_CREATE, struct drm_npu_bo_create)
#define DRM_IOCTL_NPU_BO_MMAP_OFFSET \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_NPU_BO_MMAP_OFFSET, struct drm_npu_bo_mmap_offset)
#define DRM_IOCTL_NPU_VM_CREATE \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_NPU_VM_CREATE, struct drm_npu_vm_create)
#define DRM_IOCTL_NPU_VM_DESTROY \
	DRM_IOW(DRM_COMMAND_BASE + DRM_NPU_VM_DESTROY, struct drm_npu_vm_destroy)
#define DRM_IOCTL_NPU_VM_BIND \
	DRM_IOW(DRM_COMMAND_BASE + DRM_NPU_VM_BIND, struct drm_npu_vm_bind)
#define DRM_IOCTL_NPU_QUEUE_CREATE \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_NPU_QUEUE_CREATE, struct drm_npu_queue_create)
#define DRM_IOCTL_NPU_QUEUE_DESTROY \
	DRM_IOW(DRM_COMMAND_BASE + DRM_NPU_QUEUE_DESTROY, struct drm_npu_queue_destroy)
#define DRM_IOCTL_NPU_QUEUE_STATE \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_NPU_QUEUE_STATE, struct drm_npu_queue_state)
#define DRM_IOCTL_NPU_SUBMIT \
	DRM_IOW(DRM_COMMAND_BASE + DRM_NPU_SUBMIT, struct drm_npu_submit)

#if defined(__cplusplus)
}
#endif

#endif
