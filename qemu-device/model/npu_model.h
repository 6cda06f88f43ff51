/* SPDX-License-Identifier: MIT */
/*
 * The card as a library. QEMU, the in-process simulator, fuzzers and tests are
 * front ends of this ABI.
 *
 * Threads: the library has none and never blocks. npu_model_run may run in one
 * thread while npu_model_read, npu_model_write and npu_model_inject are called
 * from others; they take an internal lock only briefly, never across a host
 * operation or compute. Every other call needs the model to itself: no run
 * may be under way (make host->cancelled return true and wait for it).
 *
 * Nothing a guest writes makes a call fail, abort or exit: bad input becomes
 * an architected status, event or state.
 */
#ifndef NPU_MODEL_H
#define NPU_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "npu/target.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NPU_MODEL_ABI 1
#define NPU_MODEL_API __attribute__((visibility("default")))

struct npu_model;

enum npu_model_mode {
	NPU_MODEL_FULL = 0,		/* function and time */
	NPU_MODEL_FUNCTION_ONLY = 1,	/* cycles are reported as not valid */
	NPU_MODEL_TIMING_ONLY = 2,	/* streams are timed; no data is moved, stored or computed */
};

struct npu_model_config {
	uint32_t struct_size;		/* sizeof(struct npu_model_config) */
	uint32_t abi;			/* NPU_MODEL_ABI */
	struct npu_target target;
	void *card_memory;		/* target.card_memory_mib MiB, kept by the caller; NULL: the
					 * model allocates it */
	uint32_t mode;			/* enum npu_model_mode */
	uint32_t dma_bits;		/* NPU_REG_DMA_BITS, 32 to 64; 0: 64 */
	uint64_t serial;
};

/* Result of a bus access. */
enum npu_model_bus {
	NPU_BUS_OK = 0,
	NPU_BUS_DECODE_ERROR = 1,	/* nothing answers at that address */
	NPU_BUS_IOMMU_FAULT = 2,
	NPU_BUS_ABORTED = 3,		/* bus mastering off, reset or removal under way */
};

/* What happens to the function itself, not to a job. */
enum npu_model_function_event {
	NPU_MODEL_FUNCTION_GONE = 0,	/* argument 1: it leaves the bus, 0: it is there again */
	NPU_MODEL_FUNCTION_AER = 1,	/* it reports a PCIe error; argument as NPU_INJECT_AER's */
};

/* What a person who watches the card may want to see. */
enum npu_model_trace {
	NPU_MODEL_TRACE_JOB_START = 0,	/* value: mask of its cores */
	NPU_MODEL_TRACE_PACKET_END = 1,	/* value: enum npu_status_code */
};

/* Called from npu_model_run and, for kick and raise_irq, from any model call. */
struct npu_model_host {
	uint32_t struct_size;
	uint32_t reserved;
	void *opaque;
	/* Bus memory. bytes is at most 256 KiB. */
	enum npu_model_bus (*read)(void *opaque, uint64_t address, void *data, size_t bytes);
	enum npu_model_bus (*write)(void *opaque, uint64_t address, const void *data, size_t bytes);
	/* Edge on an MSI-X vector. */
	void (*raise_irq)(void *opaque, uint32_t vector);
	/* There is work for npu_model_run. Must only wake its thread. */
	void (*kick)(void *opaque);
	/* The machine's virtual clock, ns. */
	uint64_t (*now_ns)(void *opaque);
	/* True: npu_model_run returns as soon as it can (within about 10 ms). */
	bool (*cancelled)(void *opaque);
	/* Optional: one line of text for the person who runs the card. */
	void (*log)(void *opaque, const char *line);
	/*
	 * Optional. Called from npu_model_write, _inject, _reset and _load, never from
	 * _run. False: this bus cannot do it.
	 */
	bool (*function_event)(void *opaque, enum npu_model_function_event event,
			       uint64_t argument);
	/* Optional. `packet` is the index in the queue. */
	void (*trace)(void *opaque, enum npu_model_trace what, uint32_t queue, uint64_t packet,
		      uint64_t value);
	/*
	 * Optional. Like `count` writes of `bytes` to addresses `stride` apart, from data
	 * `data_stride` apart; at most 256 KiB of addresses from the first to the last.
	 */
	enum npu_model_bus (*write_rows)(void *opaque, uint64_t address, uint64_t stride,
					 const void *data, size_t data_stride, size_t count,
					 size_t bytes);
};

/*
 * Returns NULL when the configuration is invalid or memory is short; error, if
 * not NULL, then points to a static text that says which field.
 */
NPU_MODEL_API struct npu_model *npu_model_create(const struct npu_model_config *config,
						 const struct npu_model_host *host,
						 const char **error);
NPU_MODEL_API void npu_model_destroy(struct npu_model *model);

/* Register access in BAR0. size is 4 or 8; anything else reads 0 and writes nothing. */
NPU_MODEL_API uint64_t npu_model_read(struct npu_model *model, uint64_t offset, unsigned size);
NPU_MODEL_API void npu_model_write(struct npu_model *model, uint64_t offset, uint64_t value,
				   unsigned size);

/* Card memory, target.card_memory_mib MiB: what BAR2 is a window on. */
NPU_MODEL_API void *npu_model_card_memory(struct npu_model *model);

enum npu_model_run_result {
	NPU_MODEL_IDLE = 0,		/* nothing to do until a kick or the deadline */
	NPU_MODEL_MORE = 1,		/* budget used up or cancelled; call again */
};

/*
 * Works on queues until nothing is runnable or `budget` commands and packets
 * have been executed (0: no limit). Call again after a kick, and once now_ns
 * reaches npu_model_deadline (0: none, never later than in an hour), when a delayed
 * interrupt may be due.
 */
NPU_MODEL_API enum npu_model_run_result npu_model_run(struct npu_model *model, uint64_t budget);
NPU_MODEL_API uint64_t npu_model_deadline(struct npu_model *model);

enum npu_model_reset_kind {
	NPU_MODEL_RESET_POWER = 0,	/* everything, card memory wiped */
	NPU_MODEL_RESET_FLR = 1,	/* the same, but counters since power-on stay */
};
NPU_MODEL_API void npu_model_reset(struct npu_model *model, enum npu_model_reset_kind kind);

/*
 * As the registers of page 2; kind is enum npu_inject_kind. False: unknown kind, or
 * nothing that this host's bus can do.
 */
NPU_MODEL_API bool npu_model_inject(struct npu_model *model, uint32_t kind, uint32_t queue,
				    uint32_t skip, uint32_t count, uint64_t argument);

/*
 * State without card memory, which the caller saves itself. save with data =
 * NULL returns the size. Returns 0 when the buffer is too small. load returns
 * false, and leaves the model reset, if the data is not a valid state.
 */
NPU_MODEL_API size_t npu_model_save(struct npu_model *model, void *data, size_t bytes);
NPU_MODEL_API bool npu_model_load(struct npu_model *model, const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
