/* SPDX-License-Identifier: MIT */
/*
 * How a packet or a job ends. The values appear in completions, events, the
 * kernel uAPI and libnpu's fault records; they never change meaning.
 */
#ifndef NPU_STATUS_H
#define NPU_STATUS_H

enum npu_status_code {
	NPU_STATUS_OK = 0,
	/* A packet or command with an unknown opcode, a reserved bit set, or operands out of range. */
	NPU_STATUS_BAD_COMMAND = 1,
	/* A virtual address that is not mapped, or not mapped for this kind of access. */
	NPU_STATUS_MMU_FAULT = 2,
	/* An SRAM operand that reaches beyond the core's SRAM. */
	NPU_STATUS_SRAM_RANGE = 3,
	/*
	 * Two accesses to the same SRAM bytes, one of them a write, that no wait orders;
	 * or a read of bytes that a YIELD before it did not list as live.
	 */
	NPU_STATUS_HAZARD = 4,
	/* A wait that can never be met. */
	NPU_STATUS_DEADLOCK = 5,
	/*
	 * The job ran longer than its queue's cycle limit; or, while something more
	 * urgent waited, longer than the quantum without a YIELD.
	 */
	NPU_STATUS_BUDGET = 6,
	/* An engine stopped making progress; the core was reset. */
	NPU_STATUS_HANG = 7,
	/* An uncorrectable memory error. */
	NPU_STATUS_ECC = 8,
	/* A bus transaction was refused: decode error, IOMMU fault, bus mastering off. */
	NPU_STATUS_DMA_ERROR = 9,
	/* Aborted by software, or skipped because an earlier packet of its chain failed. */
	NPU_STATUS_ABORTED = 10,
	/* Lost its work in a reset that something else caused. */
	NPU_STATUS_VICTIM = 11,
	NPU_STATUS_COUNT
};

/* Engines of a core. The numbers are those of the wait and header fields. */
enum npu_engine {
	NPU_ENGINE_LOAD = 0,	/* external memory to SRAM, SRAM to SRAM, fill */
	NPU_ENGINE_STORE = 1,	/* SRAM to external memory */
	NPU_ENGINE_MAC = 2,	/* MAC array, accumulators, output stage */
	NPU_ENGINE_VEC = 3,	/* vector unit */
	NPU_ENGINE_COUNT = 4,	/* engines that execute and count retirements */
	NPU_ENGINE_DISPATCH = 4,/* the sequencer itself: NOP, YIELD; has no retirement count */
	NPU_ENGINE_PACKET = 5,	/* in fault records only: the queue's packet, not a command */
};

/* What a faulting access wanted. */
enum npu_access {
	NPU_ACCESS_READ = 0,
	NPU_ACCESS_WRITE = 1,
	NPU_ACCESS_FETCH = 2,	/* command stream, region table or packet */
};

/* The command index of a fault that belongs to no command. */
#define NPU_NO_COMMAND 0xffffffffu

#endif
