/* SPDX-License-Identifier: MIT */
/*
 * PCI identity, BARs and registers of the card.
 *
 * Registers are little-endian, 32 bits wide and accessed as aligned 32-bit
 * words; a register pair NAME / NAME + 4 may also be read or written as one
 * aligned 64-bit access. Any other width or alignment reads 0 and writes
 * nothing. Unknown registers read 0 and ignore writes.
 *
 * Access: RO read only, RW read/write, WO write only (reads 0).
 */
#ifndef NPU_REGISTERS_H
#define NPU_REGISTERS_H

/*
 * Vendor and device id. NOT registered with the PCI-SIG: they exist only in
 * this model and must not be used for hardware.
 */
#define NPU_PCI_VENDOR_ID	0x4e55
#define NPU_PCI_DEVICE_ID	0x0001
#define NPU_PCI_CLASS		0x1200	/* processing accelerator */

#define NPU_BAR_REGISTERS	0
#define NPU_BAR_APERTURE	2	/* window on card memory from address 0; may be smaller than it */
#define NPU_BAR_MSIX		4

#define NPU_PAGE_SIZE		0x1000
#define NPU_BAR_REGISTERS_SIZE	0x100000

/* ---- Page 0: discovery, all RO -------------------------------------- */
#define NPU_REG_MAGIC		0x0000	/* NPU_MAGIC; all ones when the card is gone */
#define NPU_REG_VERSION		0x0004	/* major << 16 | minor; a driver refuses another major */
#define NPU_REG_FEATURES	0x0008	/* 64 bits, NPU_FEATURE_* */
#define NPU_REG_SERIAL		0x0010	/* 64 bits */
#define NPU_REG_DMA_BITS	0x0018	/* address bits that the card has on the bus, 32 to 64; beyond
					 * them it accesses nothing. 0, of an older card: 64 */
#define NPU_REG_CAPS		0x0100	/* struct npu_target, NPU_TARGET_WORDS words */

#define NPU_MAGIC		0x3155504e	/* "NPU1" read as bytes */
#define NPU_VERSION_MAJOR	1
#define NPU_VERSION_MINOR	1	/* 1: REDUCE, SOFTMAX, LAYER_NORM, RESIZE, PEER_LOAD, multicast,
					 * batches, ACTIVATION_STATIONARY */

#define NPU_FEATURE_TIMING	(1u << 0)	/* cycles are modelled; without it they are not valid */
#define NPU_FEATURE_HAZARDS	(1u << 1)	/* SRAM hazards are detected */
#define NPU_FEATURE_INJECT	(1u << 2)	/* page 2 injects faults */
#define NPU_FEATURE_PREEMPT	(1u << 3)	/* jobs are preempted at YIELD */
#define NPU_FEATURE_COALESCE	(1u << 4)	/* interrupts are coalesced per queue */

/* ---- Page 1: function-global control -------------------------------- */
#define NPU_REG_CONTROL		0x1000	/* RW: NPU_CONTROL_* */
#define NPU_REG_STATUS		0x1004	/* RO: NPU_DEVICE_* */
#define NPU_REG_RESET		0x1008	/* WO: NPU_RESET_KIND_*; done, completions of what it ended
					 * included, once NPU_REG_RESETS changes: within 10 ms */
#define NPU_REG_RESETS		0x100c	/* RO: core and card resets performed since power-on */
#define NPU_REG_CONTEXT_TABLE	0x1010	/* RW, 64 bits: bus address of struct npu_context[] */
#define NPU_REG_CONTEXT_COUNT	0x1018	/* RW: entries, at most target.asids */
#define NPU_REG_QUEUE_TABLE	0x1020	/* RW, 64 bits: bus address of struct npu_queue_context[] */
#define NPU_REG_QUEUE_COUNT	0x1028	/* RW: entries, at most target.queues */
#define NPU_REG_EVENT_RING	0x1030	/* RW, 64 bits: bus address of struct npu_event[] */
#define NPU_REG_EVENT_LOG2	0x1038	/* RW: log2 of its entries, 0 = no ring, at most 16 */
#define NPU_REG_EVENT_HEAD	0x103c	/* RW: low 32 bits of the index software reads next */
#define NPU_REG_EVENT_TAIL	0x1040	/* RO: low 32 bits of the index the device writes next */
#define NPU_REG_EVENT_LOST	0x1044	/* RO: events dropped because the ring was full or faulted */
#define NPU_REG_TIMEBASE	0x1048	/* RO, 64 bits: ns of the machine's virtual clock */

#define NPU_CONTROL_ENABLE	(1u << 0)	/* cleared: no queue runs; clearing stops at a command
						 * boundary and cuts DMA */

#define NPU_DEVICE_READY	(1u << 0)
#define NPU_DEVICE_BUSY		(1u << 1)	/* some core executes */
#define NPU_DEVICE_THROTTLED	(1u << 2)
#define NPU_DEVICE_HUNG		(1u << 3)	/* some core makes no progress */

#define NPU_RESET_KIND_CORE	1u	/* value: kind | core << 8. Its job ends: HANG if it hung, else
					 * ABORTED; SRAM and counters are cleared */
#define NPU_RESET_KIND_CARD	2u	/* running jobs end with VICTIM (HANG if hung), queues stop,
					 * TLB is emptied; card memory and tables stay */

/* Telemetry, RO. Power, energy and heat are modelled. */
#define NPU_REG_POWER_MW	0x1100
#define NPU_REG_TEMPERATURE_MC	0x1104
#define NPU_REG_CLOCK_MHZ	0x1108	/* after throttling */
#define NPU_REG_THROTTLES	0x110c	/* times the clock was lowered */
#define NPU_REG_ENERGY_NJ	0x1110	/* 64 bits, since power-on */
#define NPU_REG_BUSY_NS		0x1118	/* 64 bits, timebase during which some core executed */
#define NPU_REG_CYCLES		0x1120	/* 64 bits, modelled cycles executed by all cores */

/* Counters of the bus interface since power-on, RO. Reading one counts too. */
#define NPU_REG_COUNT_MMIO_READ	 0x1180
#define NPU_REG_COUNT_MMIO_WRITE 0x1184
#define NPU_REG_COUNT_DOORBELL	 0x1188
#define NPU_REG_COUNT_INTERRUPT	 0x118c
#define NPU_REG_COUNT_PACKET	 0x1190
#define NPU_REG_COUNT_JOB	 0x1194
#define NPU_REG_COUNT_FAULT	 0x1198	/* packets that did not end with OK */

/* Per core, RO: NPU_REG_CORE(core, field). */
#define NPU_REG_CORE(core, field) (0x1200 + (core) * 0x20 + (field))
#define NPU_CORE_STATE		0x00	/* 0 idle, 1 running, 2 hung; running queue << 8 */
#define NPU_CORE_HEARTBEAT	0x04	/* advances at least every 10 ms of host time while running */
#define NPU_CORE_COMMAND	0x08	/* index of the command in execution */

/*
 * Per core and engine (enum npu_engine), RO, 64 bits, since power-on:
 * NPU_REG_ENGINE(core, engine, field). What jobs that ended with OK did on it,
 * added when they end. Modelled; 0 where time is not.
 */
#define NPU_REG_ENGINE(core, engine, field) (0x1400 + (core) * 0x100 + (engine) * 0x40 + (field))
#define NPU_ENGINE_REG_COMMANDS	0x00	/* retired */
#define NPU_ENGINE_REG_BUSY	0x08	/* cycles with a command between start and retirement */
#define NPU_ENGINE_REG_STALL	0x10	/* cycles that commands waited for memory or SRAM ports */
#define NPU_ENGINE_REG_WAIT	0x18	/* cycles that commands at the head of the FIFO waited to start */
#define NPU_ENGINE_REG_BYTES	0x20	/* LOAD, STORE: of external memory; MAC, VEC: through SRAM ports */

/* ---- Page 2: fault injection ---------------------------------------- */
#define NPU_REG_INJECT_KIND	0x2000	/* WO: NPU_INJECT_*; arms the fault described by the others */
#define NPU_REG_INJECT_COUNT	0x2004	/* RW: how many times it strikes, default 1 */
#define NPU_REG_INJECT_SKIP	0x2008	/* RW: opportunities to pass before the first strike */
#define NPU_REG_INJECT_QUEUE	0x200c	/* RW: only this queue, or NPU_INJECT_ANY_QUEUE (default) */
#define NPU_REG_INJECT_ARG	0x2010	/* RW, 64 bits: see the kind */
#define NPU_REG_INJECT_ARMED	0x2018	/* RO: strikes still to come, all kinds */

#define NPU_INJECT_ANY_QUEUE	0xffffffffu

enum npu_inject_kind {
	NPU_INJECT_CLEAR = 0,		/* disarm everything */
	NPU_INJECT_HANG = 1,		/* the job's core stops making progress; arg: command index */
	NPU_INJECT_LOST_INTERRUPT = 2,	/* a queue's interrupt is not raised */
	NPU_INJECT_LATE_INTERRUPT = 3,	/* it is raised arg nanoseconds late */
	NPU_INJECT_ECC = 4,		/* a job's read of card memory or SRAM fails */
	NPU_INJECT_DMA_ERROR = 5,	/* a bus transaction fails */
	NPU_INJECT_DROP_TLB_INVALIDATE = 6, /* TLB_INVALIDATE completes without effect */
	NPU_INJECT_THERMAL_TRIP = 7,	/* temperature is set to arg millidegrees */
	NPU_INJECT_GONE = 8,		/* the card leaves the bus */
	NPU_INJECT_AER = 9,		/* the function reports a PCIe error; arg: its bit in the AER
					 * status register, uncorrectable 0-31, correctable 32-63 */
	NPU_INJECT_DROP_RESET = 10,	/* a core or card reset has no effect: NPU_REG_RESETS stands still */
	NPU_INJECT_KINDS
};

/* ---- One page per queue --------------------------------------------- */
#define NPU_QUEUE_PAGE(queue)	(0x10000 + (queue) * NPU_PAGE_SIZE)
#define NPU_QUEUE_DOORBELL	0x00	/* WO: low 32 bits of the new producer index */
#define NPU_QUEUE_CONTROL	0x04	/* WO: NPU_QUEUE_CMD_* */
#define NPU_QUEUE_STATE		0x08	/* RO: enum npu_queue_state */
#define NPU_QUEUE_HEARTBEAT	0x0c	/* RO: changes whenever the running job makes progress; still
					 * while the queue waits or is preempted */
#define NPU_QUEUE_PRODUCER	0x10	/* RO, 64 bits: packets announced */
#define NPU_QUEUE_CONSUMER	0x18	/* RO, 64 bits: packets retired */
#define NPU_QUEUE_CYCLES	0x20	/* RO, 64 bits: modelled cycles of the running job so far */
#define NPU_QUEUE_COUNT_IRQ	0x28	/* RO: interrupts raised for this queue */
#define NPU_QUEUE_PREEMPTIONS	0x2c	/* RO: times that a job of this queue was put aside */
#define NPU_QUEUE_SAVED_BYTES	0x30	/* RO, 64 bits: written to the save area for it */
#define NPU_QUEUE_WAITED	0x38	/* RO, 64 bits: modelled cycles that the last job to start had
					 * waited for cores, once it was its turn in the queue */

#define NPU_QUEUE_CMD_START	1u	/* read the queue's context and indices, then run; of a queue
					 * that runs already: read the producer index */
#define NPU_QUEUE_CMD_STOP	2u	/* abort what runs (ABORTED), forget the context; done once the
					 * state is DISABLED, for a hung job after its core's reset */
#define NPU_QUEUE_CMD_ABORT_JOB	3u	/* the oldest unretired packet, and its chain, end with ABORTED;
					 * a hung job does not react: that takes a core reset */

enum npu_queue_state {
	NPU_QUEUE_DISABLED = 0,
	NPU_QUEUE_IDLE = 1,
	NPU_QUEUE_WAITING = 2,		/* has packets, no core yet */
	NPU_QUEUE_RUNNING = 3,
	NPU_QUEUE_PREEMPTED = 4,	/* its job was put aside at a YIELD; goes on by itself */
	NPU_QUEUE_ERROR = 5,		/* bad context, ring fault or doorbell overrun; START leaves it */
};

/* MSI-X vector 0 is for events; queues use the vector of their context. */
#define NPU_VECTOR_EVENTS	0

#endif
