/* SPDX-License-Identifier: MIT */
/*
 * The parameters of one card. This struct IS the capability block of the
 * discovery page (NPU_REG_CAPS): word i of the block is word i of the struct.
 * Driver, library and compiler read it; none of them assumes a value.
 * Later interface minors append in `reserved`; a word that a card does not
 * know reads 0.
 */
#ifndef NPU_TARGET_H
#define NPU_TARGET_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

#define NPU_TARGET_WORDS 64
#define NPU_MAX_CORES 8

struct npu_target {
	char name[16];			/* NUL-terminated, e.g. "card", "edge" */

	/* Compute. */
	uint32_t cores;			/* 1..NPU_MAX_CORES */
	uint32_t mac_outputs;		/* NO: output channels of one array pass, = VEC lanes */
	uint32_t mac_inputs;		/* NK: products summed into each output per cycle */
	uint32_t accumulator_rows;	/* A: pixels of one accumulator bank; there are two banks */
	uint32_t sram_bytes;		/* per core */
	uint32_t sram_word_bytes;	/* W: bytes one SRAM port moves per cycle */
	uint32_t clock_mhz;		/* nominal */

	/* Memory. Latencies in cycles from request to first byte. */
	uint32_t card_memory_mib;
	uint32_t card_bytes_per_cycle;	/* shared by all cores */
	uint32_t card_latency_cycles;
	uint32_t pcie_bytes_per_cycle;
	uint32_t pcie_latency_cycles;
	uint32_t dma_granule_bytes;	/* external traffic is counted in aligned granules */
	uint32_t dma_burst_bytes;	/* unit of arbitration */
	uint32_t dma_outstanding;	/* bursts in flight per engine */
	uint32_t tlb_entries;

	/* Sequencing costs in cycles. */
	uint32_t fifo_depth;		/* commands queued per engine */
	uint32_t dispatch_cycles;	/* per command */
	uint32_t decode_cycles;		/* per MAC command */
	uint32_t pipeline_cycles;	/* per MAC command, from last product to first output */
	uint32_t wait_cycles_same;	/* a satisfied wait on the own engine */
	uint32_t wait_cycles_engine;	/* on another engine of the core */
	uint32_t wait_cycles_core;	/* on another core */

	/* Energy in femtojoules; static power per nominal cycle of the whole card. */
	uint32_t energy_mac_fj;
	uint32_t energy_sram_byte_fj;
	uint32_t energy_card_byte_fj;
	uint32_t energy_pcie_byte_fj;
	uint32_t energy_static_cycle_fj;

	/* Heat: first-order model, temperatures in millidegrees Celsius. */
	uint32_t ambient_mc;
	uint32_t throttle_mc;		/* the clock halves above this */
	uint32_t thermal_resistance_mk_per_w;
	uint32_t thermal_time_constant_ms;

	/* Function-wide resources. */
	uint32_t queues;		/* queue contexts, queue 0 included */
	uint32_t vectors;		/* MSI-X vectors, vector 0 included */
	uint32_t asids;
	uint32_t va_bits;
	uint32_t max_stream_bytes;	/* of one job on one core */

	uint32_t reserved[23];
};

#ifndef __KERNEL__
#ifdef __cplusplus
static_assert(sizeof(struct npu_target) == 4 * NPU_TARGET_WORDS, "capability block");
#else
_Static_assert(sizeof(struct npu_target) == 4 * NPU_TARGET_WORDS, "capability block");
#endif
#endif

#endif
