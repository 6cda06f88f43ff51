/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR MIT) */
/*
 * Device coredumps of the npu driver: what /sys/class/devcoredump/devcdN/data
 * holds. `npu-objdump --coredump` shows one.
 *
 * A dump is struct drm_npu_dump_header, then sections: struct
 * drm_npu_dump_section, then its payload, padded to a multiple of 8 bytes. The
 * first section is EVENT; others come in any order, some more than once, and
 * those that could not be had are missing. Sections and structs grow at their
 * end only; a reader skips types that it does not know. All little-endian.
 */
#ifndef _UAPI_NPU_COREDUMP_H_
#define _UAPI_NPU_COREDUMP_H_

#include "npu_accel.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define DRM_NPU_DUMP_MAGIC	0x504d55444e55504eull	/* "NPUNDUMP" read as bytes */
#define DRM_NPU_DUMP_VERSION	1

/** struct drm_npu_dump_header - the file's first bytes */
struct drm_npu_dump_header {
	/** @magic: DRM_NPU_DUMP_MAGIC. */
	__u64 magic;
	/** @version: DRM_NPU_DUMP_VERSION; another one means another layout. */
	__u32 version;
	/** @bytes: Of the whole file. */
	__u32 bytes;
};

enum drm_npu_dump_section_type {
	/** @DRM_NPU_DUMP_EVENT: struct drm_npu_dump_event. */
	DRM_NPU_DUMP_EVENT = 1,
	/** @DRM_NPU_DUMP_TARGET: struct npu_target of include/npu/target.h. */
	DRM_NPU_DUMP_TARGET = 2,
	/** @DRM_NPU_DUMP_REGISTERS: __u32[], of BAR 0 from offset address on. */
	DRM_NPU_DUMP_REGISTERS = 3,
	/** @DRM_NPU_DUMP_RING: struct drm_npu_dump_ring; address: hardware queue. */
	DRM_NPU_DUMP_RING = 4,
	/** @DRM_NPU_DUMP_WALK: __u64[]: entries read on the way to VA address, the context's first. */
	DRM_NPU_DUMP_WALK = 5,
	/**
	 * @DRM_NPU_DUMP_STREAM: The guilty core's command stream, from its start at
	 * VA address on, at most 4 MiB; read after the job had ended.
	 */
	DRM_NPU_DUMP_STREAM = 6,
	/** @DRM_NPU_DUMP_REGIONS: __u64[]: the job's region table, at VA address; likewise. */
	DRM_NPU_DUMP_REGIONS = 7,
};

/** struct drm_npu_dump_section - before each section's payload */
struct drm_npu_dump_section {
	/** @type: enum drm_npu_dump_section_type. */
	__u32 type;
	/** @bytes: Of the payload, without padding. */
	__u32 bytes;
	/** @address: See the type; else 0. */
	__u64 address;
};

enum drm_npu_dump_reason {
	/** @DRM_NPU_DUMP_JOB: A job failed by its own doing, or the hardware's. */
	DRM_NPU_DUMP_JOB = 1,
	/** @DRM_NPU_DUMP_HANG: A queue hung; no job of a user answers for it. */
	DRM_NPU_DUMP_HANG = 2,
	/** @DRM_NPU_DUMP_CARD_RESET: The card was about to be reset. */
	DRM_NPU_DUMP_CARD_RESET = 3,
};

/** struct drm_npu_dump_event - what happened */
struct drm_npu_dump_event {
	/** @reason: enum drm_npu_dump_reason. */
	__u32 reason;
	/** @interface_version: Register NPU_REG_VERSION. */
	__u32 interface_version;
	/** @realtime_ns: When. */
	__u64 realtime_ns;
	/** @device: PCI address. */
	char device[32];
	/** @release: Of the kernel, as uname -r. */
	char release[64];
	/** @core_resets: Since the driver took the card, as in struct drm_npu_counters. */
	__u64 core_resets;
	/** @card_resets: Likewise. */
	__u64 card_resets;
	/** @hwq: Hardware queue concerned, 0xffffffff: none. */
	__u32 hwq;
	/** @asid: JOB: its address space. */
	__u32 asid;
	/** @packet: Index in the hardware queue. */
	__u64 packet;
	/** @comm: JOB: name of the process that made the queue. */
	char comm[16];
	/** @pid: JOB: its id, in the initial namespace. */
	__u32 pid;
	/** @pad: Zero. */
	__u32 pad;
	/** @fault: JOB: as in QUEUE_STATE. */
	struct drm_npu_fault fault;
};

#define DRM_NPU_DUMP_RING_SLOTS	16

/** struct drm_npu_dump_slot - one packet and what became of it */
struct drm_npu_dump_slot {
	/** @packet: struct npu_packet of include/npu/queue.h. */
	__u64 packet[8];
	/** @completion: struct npu_completion; of another packet if sequence is not index + 1. */
	__u64 completion[16];
};

/** struct drm_npu_dump_ring - packets around the oldest that has not retired */
struct drm_npu_dump_ring {
	/** @producer: Packets announced. */
	__u64 producer;
	/** @consumer: Packets retired. */
	__u64 consumer;
	/** @first: Index of the packet in slot[0]. */
	__u64 first;
	/** @slot: One after another, those from producer on are old. */
	struct drm_npu_dump_slot slot[DRM_NPU_DUMP_RING_SLOTS];
};

#if defined(__cplusplus)
}
#endif

#endif
