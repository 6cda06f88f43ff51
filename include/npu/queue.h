/* SPDX-License-Identifier: MIT */
/*
 * Memory structures of queues: contexts, packets, completions, events. All of
 * them lie in kernel memory at bus addresses, little-endian, and are never
 * mapped to user space. Reserved fields are zero, or the packet is BAD_COMMAND.
 *
 * Life of a packet: software writes packet i into ring slot i mod size, stores
 * producer = i + 1 in the index block and rings the doorbell with its low 32
 * bits. The device executes packets of a queue in order, writes completion i
 * into completion slot i mod size, its `sequence` last, then the consumer
 * index, then raises the queue's interrupt if the packet asked for it.
 * Everything a job stored is visible before its completion.
 */
#ifndef NPU_QUEUE_H
#define NPU_QUEUE_H

#include "target.h"

#define NPU_RING_LOG2_MIN	4
#define NPU_RING_LOG2_MAX	14

/* Where addresses of COPY, FILL and page tables point. */
enum npu_memory {
	NPU_MEMORY_HOST = 0,	/* bus address */
	NPU_MEMORY_CARD = 1,	/* offset in card memory */
};

/* One entry of the queue table, 128 bytes; read at NPU_QUEUE_CMD_START. */
struct npu_queue_context {
	uint64_t ring;			/* struct npu_packet[1 << ring_log2], 64-byte aligned */
	uint64_t completions;		/* struct npu_completion[1 << ring_log2], 128-byte aligned */
	uint64_t indices;		/* struct npu_queue_indices, 16-byte aligned */
	uint32_t ring_log2;
	uint32_t asid;			/* address space of every job of the queue */
	uint32_t priority;		/* 0 lowest .. 3 highest */
	uint32_t vector;		/* MSI-X vector, 1 .. vectors - 1 (0 if there is only one) */
	uint32_t core_mask;		/* cores its jobs may use */
	uint32_t flags;			/* reserved */
	uint64_t cycle_limit;		/* modelled cycles per job, 0 = none */
	uint64_t quantum;		/* modelled cycles, 0 = NPU_QUANTUM_DEFAULT; see below */
	uint32_t coalesce_count;	/* raise after so many IRQ packets, 0 or 1 = each */
	uint32_t coalesce_ns;		/* and no later than this after the first */
	uint64_t save_area;		/* bus address, 64-byte aligned; see below */
	uint64_t save_bytes;		/* 0 = its jobs are not put aside */
	uint64_t reserved[5];
};

/*
 * Arbitration. A job that waits for cores is more urgent than one of a lower
 * priority that runs on them. At its next YIELD the running job is put aside
 * (NPU_QUEUE_PREEMPTED) and goes on, on any cores of its mask, when nothing
 * more urgent waits. Jobs of equal priority take turns at a YIELD once one has
 * run for its queue's quantum. A job is put aside only where what its YIELDs
 * list fits its queue's save area; a gang where all of its cores are at YIELDs of
 * the same number, counted from the beginning of each list. While something more
 * urgent waits, a job that has run for more than the quantum since it could last
 * be put aside, or since it began, ends with BUDGET: that is how long the more
 * urgent waits at most, and a YIELD's saving. In function-only mode there are no
 * cycles and the quantum has no effect.
 */
#define NPU_QUANTUM_DEFAULT	10000000ull

/*
 * What is in a save area: this header, then the ranges that the YIELDs list, one
 * after another, core by core. sizeof(header) + streams of a job * SRAM bytes
 * suffice for every job. Written by the card when it puts a job aside, read when
 * the job goes on, not looked at otherwise. If it cannot be written or read, or
 * no longer has this header, the job ends with DMA_ERROR.
 */
#define NPU_SAVE_MAGIC		0x5641533155504e00ull

struct npu_save_header {
	uint64_t magic;			/* NPU_SAVE_MAGIC */
	uint64_t packet;		/* index in the queue */
	uint64_t preemption;		/* how many times the job was put aside before */
	uint64_t bytes;			/* of the ranges that follow */
	uint64_t reserved[4];
};

struct npu_queue_indices {
	uint64_t producer;		/* written by software */
	uint64_t consumer;		/* written by the device */
};

enum npu_packet_opcode {
	NPU_PACKET_NOP = 0,
	NPU_PACKET_JOB = 1,
	NPU_PACKET_COPY = 2,		/* queue 0 only */
	NPU_PACKET_FILL = 3,		/* queue 0 only */
	NPU_PACKET_TLB_INVALIDATE = 4,	/* queue 0 only */
	NPU_PACKET_FENCE = 5,		/* completes when all packets of all queues that were started
					 * before it have completed; queue 0 only */
};

#define NPU_PACKET_IRQ		(1u << 0)	/* interrupt on completion */
#define NPU_PACKET_CHAIN	(1u << 1)	/* the next packet belongs to the same submission: if this
						 * one fails, the chain's rest ends with ABORTED */
#define NPU_PACKET_RESTARTABLE	(1u << 2)	/* JOB: may run again after a reset interrupted it */
#define NPU_PACKET_PROFILE	(1u << 3)	/* JOB: write struct npu_profile at profile_va */
#define NPU_PACKET_PROFILE_COMMANDS (1u << 4)	/* JOB: and one npu_profile_command per command */

#define NPU_MAX_REGIONS		64

/* Every packet is 64 bytes and starts with opcode and flags. */
struct npu_packet_job {
	uint8_t opcode;
	uint8_t flags;
	uint8_t stream_count;		/* 1 .. cores; as many cores start together */
	uint8_t region_count;		/* 0 .. NPU_MAX_REGIONS */
	uint32_t core_mask;		/* any of these cores; 0 = all of the queue's */
	uint64_t stream_va;		/* the streams, one after another, 128-byte aligned */
	uint64_t region_va;		/* uint64_t[region_count]: base VA of each region, 8-byte aligned */
	uint64_t profile_va;		/* 128-byte aligned, 0 without NPU_PACKET_PROFILE */
	uint32_t stream_bytes[NPU_MAX_CORES]; /* of stream i; multiples of 128, 0 from stream_count on */
};

struct npu_packet_copy {
	uint8_t opcode;
	uint8_t flags;
	uint8_t source_memory;		/* enum npu_memory */
	uint8_t destination_memory;
	uint32_t reserved0;
	uint64_t source;
	uint64_t destination;
	uint64_t bytes;
	uint64_t reserved[4];
};

struct npu_packet_fill {
	uint8_t opcode;
	uint8_t flags;
	uint8_t reserved0;
	uint8_t destination_memory;
	uint32_t pattern;		/* repeated little-endian; bytes and destination are multiples of 4 */
	uint64_t destination;
	uint64_t bytes;
	uint64_t reserved[5];
};

struct npu_packet_tlb_invalidate {
	uint8_t opcode;
	uint8_t flags;
	uint16_t asid;
	uint32_t reserved0;
	uint64_t va;			/* page aligned */
	uint64_t bytes;			/* 0 = the whole address space */
	uint64_t reserved[5];
};

/* NOP and FENCE: all other bytes zero. */
struct npu_packet {
	uint8_t opcode;
	uint8_t flags;
	uint8_t body[62];
};

/* 128 bytes. Fields other than sequence and status are valid for JOB packets. */
struct npu_completion {
	uint64_t sequence;		/* packet index + 1, written last */
	uint32_t status;		/* enum npu_status_code */
	uint32_t command;		/* index in the stream of the command that failed, or NPU_NO_COMMAND */
	uint8_t engine;			/* enum npu_engine of the failure */
	uint8_t core;			/* position in the gang of the failure */
	uint8_t access;			/* enum npu_access, for MMU_FAULT and DMA_ERROR */
	uint8_t flags;			/* NPU_COMPLETION_* */
	uint32_t source_op;		/* of the failing command */
	uint64_t address;		/* VA, bus or SRAM address of the failure */
	uint64_t start_ns;		/* timebase */
	uint64_t end_ns;
	uint64_t cycles_solo;		/* modelled: cold TLB, nominal clock, idle card */
	uint64_t cycles_observed;	/* with contention, throttling and saving; not while put aside */
	uint64_t macs;			/* multiply-accumulates of useful taps, padding included */
	uint64_t card_bytes;		/* card memory traffic, reads and writes */
	uint64_t pcie_bytes;
	uint64_t energy_pj;
	uint64_t mac_cycles;		/* MAC array busy, all cores */
	uint64_t vec_cycles;
	uint64_t dma_cycles;
	uint64_t reserved;
};

#define NPU_COMPLETION_CYCLES_VALID (1u << 0)	/* clear in function-only mode */

/* Written to user memory for NPU_PACKET_PROFILE, before the completion. */
struct npu_profile {
	struct npu_completion completion;	/* sequence is 0 until written, then the packet's */
	uint32_t commands;			/* records that follow, all cores */
	uint32_t sram_peak_bytes;		/* highest SRAM address touched + 1, largest of the cores */
	uint64_t reserved[15];
};

struct npu_profile_command {
	uint32_t command;		/* index in its stream */
	uint8_t core;
	uint8_t engine;
	uint8_t opcode;
	uint8_t reserved;
	uint32_t source_op;
	uint32_t wait_cycles;		/* at the head of its engine's FIFO, waits not satisfied */
	uint64_t start_cycle;		/* execution begins, from job start */
	uint32_t execute_cycles;	/* start to retirement, stalls included */
	uint32_t stall_cycles;		/* of those: waiting for memory or SRAM ports */
};

/* Event ring entry, 64 bytes, `sequence` written last. */
enum npu_event_type {
	NPU_EVENT_QUEUE_ERROR = 1,	/* a queue entered NPU_QUEUE_ERROR; see status and address */
	NPU_EVENT_JOB_FAULT = 2,	/* a packet ended with a status other than OK or ABORTED */
	NPU_EVENT_THERMAL = 3,		/* value: temperature in millidegrees */
	NPU_EVENT_RESET = 4,		/* value: NPU_RESET_KIND_* */
};

struct npu_event {
	uint64_t sequence;		/* event index + 1 */
	uint32_t type;
	uint32_t queue;
	uint32_t status;
	uint32_t command;
	uint64_t packet;		/* index in the queue */
	uint64_t address;
	uint64_t timebase_ns;
	uint64_t value;
	uint64_t reserved;
};

#ifndef __KERNEL__
#ifdef __cplusplus
#define NPU_ASSERT_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type)
#else
#define NPU_ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#endif
NPU_ASSERT_SIZE(struct npu_queue_context, 128);
NPU_ASSERT_SIZE(struct npu_save_header, 64);
NPU_ASSERT_SIZE(struct npu_packet, 64);
NPU_ASSERT_SIZE(struct npu_packet_job, 64);
NPU_ASSERT_SIZE(struct npu_packet_copy, 64);
NPU_ASSERT_SIZE(struct npu_packet_fill, 64);
NPU_ASSERT_SIZE(struct npu_packet_tlb_invalidate, 64);
NPU_ASSERT_SIZE(struct npu_completion, 128);
NPU_ASSERT_SIZE(struct npu_profile, 256);
NPU_ASSERT_SIZE(struct npu_profile_command, 32);
NPU_ASSERT_SIZE(struct npu_event, 64);
#undef NPU_ASSERT_SIZE
#endif

#endif
