/* SPDX-License-Identifier: MIT */
/*
 * libnpu: run compiled INT8 models on an NPU card, or on its in-process model.
 *
 *   npu_device *device;
 *   npu_network *network;
 *   npu_queue *queue;
 *   if (npu_device_open(NULL, NULL, &device) ||
 *       npu_network_load(device, &(npu_network_desc){sizeof(npu_network_desc), 0, data, size}, &network) ||
 *       npu_queue_create(device, NULL, &queue)) {
 *           npu_error error = {sizeof error};
 *           npu_last_error(&error);
 *           fprintf(stderr, "%s\n", error.text);
 *   }
 *
 * Results. Every call that can fail returns npu_result: NPU_OK or a code that
 * says what the caller should do. npu_last_error() then has the text of the
 * calling thread's last failure: cause and remedy.
 *
 * Structs. Each starts with struct_size, which the caller sets to sizeof the
 * struct: structs grow at their end, and libraries and programs of different
 * age understand each other. Bytes that a library does not know must be zero,
 * and so must padding and unused fields.
 *
 * Ownership. Objects belong to the caller, who ends each with its destructor.
 * Destructors accept NULL and never wait for the device: what running jobs
 * still use stays alive until they end, and a device stays open until its last
 * object is gone. Texts and pointers in results live as long as the object
 * they came from.
 *
 * Threads. Calls on different objects may run in parallel. A device, a network
 * and a queue may be used by several threads at once. A buffer's contents are
 * the caller's business. After fork() the child must not use objects of its
 * parent; calls on them fail with NPU_ERROR_INVALID.
 *
 * Time. Deadlines are absolute, CLOCK_MONOTONIC nanoseconds: 0 polls,
 * UINT64_MAX waits for ever. A wait that expires cancels nothing. Figures named
 * modelled_ or _cycles come from the card's model of time, not from a clock.
 */
#ifndef LIBNPU_NPU_H
#define LIBNPU_NPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define NPU_API __attribute__((visibility("default")))
#else
#define NPU_API
#endif

#define NPU_ABI_VERSION 1u

typedef struct npu_device npu_device;
typedef struct npu_buffer npu_buffer;
typedef struct npu_network npu_network;
typedef struct npu_queue npu_queue;

/* ---- Errors ------------------------------------------------------------ */

typedef enum npu_result {
	NPU_OK = 0,
	/* Fix the call, or what it was given. */
	NPU_ERROR_INVALID = 1,		/* an argument or an order of calls that can never work */
	NPU_ERROR_UNSUPPORTED = 2,	/* this device, driver or library cannot do it */
	NPU_ERROR_BAD_MODEL = 3,	/* not a compiled model, damaged, or breaks a rule */
	NPU_ERROR_WRONG_TARGET = 4,	/* a sound model for another card: compile it for this one */
	NPU_ERROR_PERMISSION = 5,	/* the text says which right is missing */
	NPU_ERROR_NO_DEVICE = 6,	/* nothing matches the selector */
	NPU_ERROR_VERSION = 7,		/* driver and library do not understand each other */
	/* Try again: later, or after freeing something. */
	NPU_ERROR_AGAIN = 16,		/* the queue is full: wait for one of its fences */
	NPU_ERROR_TIMEOUT = 17,		/* the deadline passed; nothing was cancelled */
	NPU_ERROR_NO_MEMORY = 18,	/* host or card memory, or another limited resource */
	/* A job failed; the device and other queues are well. The queue refuses more work. */
	NPU_ERROR_JOB_FAULT = 32,	/* the job did something wrong: see the fault record */
	NPU_ERROR_JOB_HUNG = 33,	/* it was stopped: no progress, or over its cycle limit */
	NPU_ERROR_QUEUE_POISONED = 34,	/* an earlier job of the queue failed: create a new queue */
	NPU_ERROR_JOB_ABORTED = 35,	/* stopped on request, or skipped after a failure before it */
	/* The job did nothing wrong but was lost in a reset: submit it again on a new queue. */
	NPU_ERROR_VICTIM = 48,
	/* This handle's memory is lost: close the device, open it and load again. */
	NPU_ERROR_DEVICE_RESET = 64,
	/* The device has been removed. */
	NPU_ERROR_DEVICE_GONE = 65,
	/* A fault of the library or the driver: please report it. */
	NPU_ERROR_INTERNAL = 127
} npu_result;

typedef struct npu_error {
	uint32_t struct_size;
	int32_t code;			/* npu_result of the failure, NPU_OK if there was none */
	int32_t os_errno;		/* errno behind it, 0 if none */
	uint32_t reserved;
	char text[496];			/* one line, UTF-8: cause, place and remedy */
} npu_error;

/* The ABI of the library in use: NPU_ABI_VERSION of its header. */
NPU_API uint32_t npu_abi_version(void);

/* The calling thread's last failure; successful calls do not change it. */
NPU_API npu_result npu_last_error(npu_error *error);

/* ---- Devices ----------------------------------------------------------- */

#define NPU_CARD_PARAMETERS 64

typedef struct npu_device_info {
	uint32_t struct_size;
	uint32_t index;			/* N of /dev/accel/accelN; UINT32_MAX for the simulator */
	char selector[32];		/* what npu_device_open takes: "0", "sim:card" */
	char node[64];			/* "/dev/accel/accel0", empty for the simulator */
	char bdf[16];			/* "0000:00:04.0", empty for the simulator */
	char driver[16];		/* "npu", "sim" */
	char driver_version[16];	/* "1.0.0" */
	int32_t open_status;		/* npu_result that opening it gives */
	uint32_t reserved;
	char open_text[128];		/* why it cannot be opened and what to do; empty if it can */
	/* The rest is valid if open_status is NPU_OK. */
	char name[16];			/* of the card's parameters: "card", "edge" */
	uint64_t serial;
	uint32_t interface_version;	/* of the card: major << 16 | minor */
	uint32_t reserved1;
	uint64_t features;		/* NPU_FEATURE_* of npu/registers.h */
	/* struct npu_target of npu/target.h, word by word. */
	uint32_t target[NPU_CARD_PARAMETERS];
} npu_device_info;

/*
 * Lists devices: kernel devices by index, then the simulator's presets. Stores
 * at most *count elements of `stride` bytes (each one's struct_size is set by
 * the call) and sets *count to the number of devices there are. Devices that
 * the caller may not open are listed, with the reason. infos may be NULL.
 */
NPU_API npu_result npu_enumerate(npu_device_info *infos, uint32_t stride, uint32_t *count);

/* Simulator only: compute without modelled time, or time without computing. */
#define NPU_OPEN_FUNCTION_ONLY	(1u << 0)
#define NPU_OPEN_TIMING_ONLY	(1u << 1)

typedef struct npu_open_desc {
	uint32_t struct_size;
	uint32_t flags;			/* NPU_OPEN_* */
	/* Simulator only: struct npu_target as words, instead of a preset; or NULL. */
	const uint32_t *sim_target;
} npu_open_desc;

/*
 * Opens a device. selector: NULL or "" takes $NPU_DEVICE, and without that the
 * first kernel device; "0" an index; "0000:00:04.0" (or "00:04.0") an address;
 * "/dev/accel/accel0" a node; "sim" the simulator of the configured card,
 * "sim:card" and "sim:edge" of a preset. desc may be NULL.
 */
NPU_API npu_result npu_device_open(const char *selector, const npu_open_desc *desc,
				   npu_device **device);
NPU_API void npu_device_close(npu_device *device);

typedef enum npu_query {
	NPU_QUERY_INFO = 0,		/* npu_device_info */
	NPU_QUERY_TELEMETRY = 1,	/* npu_telemetry */
	NPU_QUERY_COUNTERS = 2,		/* npu_counters */
	NPU_QUERY_CLOCK = 3,		/* npu_clock */
	NPU_QUERY_ENGINES = 4		/* npu_engines */
} npu_query;

typedef struct npu_telemetry {
	uint32_t struct_size;
	uint32_t power_mw;		/* modelled */
	uint32_t temperature_mc;	/* modelled, millidegrees Celsius */
	uint32_t clock_mhz;		/* after throttling */
	uint32_t throttles;		/* times the clock was lowered since power-on */
	uint32_t reserved;
	uint64_t energy_nj;		/* modelled, since power-on */
	uint64_t busy_ns;		/* device timebase during which some core executed */
	uint64_t cycles;		/* modelled, all cores, since power-on */
	uint64_t card_memory_used;	/* bytes */
	uint64_t card_memory_total;
	uint64_t host_memory_used;	/* bytes of host memory in buffers of all clients */
} npu_telemetry;

typedef struct npu_counters {
	uint32_t struct_size;
	uint32_t reserved;
	uint64_t jobs;			/* completed, whatever their status */
	uint64_t faults;		/* ended with a status other than OK */
	uint64_t core_resets;
	uint64_t card_resets;
	uint64_t device_mmio_reads;	/* counted by the card, modulo 2^32 */
	uint64_t device_mmio_writes;
	uint64_t device_doorbells;
	uint64_t device_interrupts;
	uint32_t buffers;		/* alive, of all clients */
	uint32_t address_spaces;
	uint32_t queues;
	uint32_t fences;		/* not yet signalled */
} npu_counters;

/*
 * What one engine did, since power-on; counted when a job ends well. Modelled:
 * 0 where time is not.
 */
typedef struct npu_engine_counters {
	uint64_t commands;		/* retired */
	uint64_t busy_cycles;		/* with a command between start and retirement */
	uint64_t stall_cycles;		/* commands waited for memory or SRAM ports */
	uint64_t wait_cycles;		/* the next command waited for others */
	uint64_t bytes;			/* LOAD, STORE: external memory; MAC, VEC: SRAM ports */
} npu_engine_counters;

typedef struct npu_engines {
	uint32_t struct_size;
	uint32_t cores;			/* of the card */
	npu_engine_counters engine[8][4];	/* core by core: LOAD, STORE, MAC, VEC */
} npu_engines;

typedef struct npu_clock {
	uint32_t struct_size;
	uint32_t reserved;
	uint64_t timebase_ns;		/* the card's clock ... */
	uint64_t monotonic_ns;		/* ... and CLOCK_MONOTONIC at one moment */
} npu_clock;

/* Reads one block of information into `out`, the struct that `what` names. */
NPU_API npu_result npu_device_query(npu_device *device, npu_query what, void *out);

/* ---- Buffers ----------------------------------------------------------- */

typedef enum npu_buffer_source {
	NPU_BUFFER_HOST = 0,		/* new, zeroed, host memory, coherent */
	NPU_BUFFER_CARD = 1,		/* new, zeroed, card memory */
	NPU_BUFFER_IMPORT = 2		/* of a dma-buf (simulator: of an exported buffer) */
} npu_buffer_source;

typedef struct npu_buffer_desc {
	uint32_t struct_size;
	uint32_t source;		/* npu_buffer_source */
	uint64_t size;			/* bytes, > 0; IMPORT: 0 takes all of it */
	int32_t fd;			/* IMPORT: stays the caller's; otherwise 0 */
	uint32_t flags;			/* zero */
} npu_buffer_desc;

/* Makes a buffer that jobs of the device can use. */
NPU_API npu_result npu_buffer_create(npu_device *device, const npu_buffer_desc *desc,
				     npu_buffer **buffer);
NPU_API void npu_buffer_destroy(npu_buffer *buffer);

/*
 * Address of the buffer in this process and its size; either pointer may be
 * NULL. The mapping lasts until the buffer is destroyed.
 */
NPU_API npu_result npu_buffer_map(npu_buffer *buffer, void **pointer, uint64_t *size);

typedef enum npu_sync {
	NPU_SYNC_TO_DEVICE = 0,		/* after the CPU wrote, before the submit */
	NPU_SYNC_FROM_DEVICE = 1	/* after the wait, before the CPU reads */
} npu_sync;

/* Makes [offset, +size) visible to the other side. Required, free where memory is coherent. */
NPU_API npu_result npu_buffer_sync(npu_buffer *buffer, npu_sync direction, uint64_t offset,
				   uint64_t size);

/* A file descriptor, the caller's, by which other devices and processes use the memory. */
NPU_API npu_result npu_buffer_export(npu_buffer *buffer, int *fd);

/* ---- Networks ----------------------------------------------------------- */

/*
 * Skip the library's own check of commands (not of the file). The card checks
 * everything again; only a test of those checks wants this.
 */
#define NPU_NETWORK_UNCHECKED	(1u << 0)

typedef struct npu_network_desc {
	uint32_t struct_size;
	uint32_t flags;			/* NPU_NETWORK_* */
	const void *data;		/* a compiled model; not needed after the call */
	uint64_t size;			/* bytes */
} npu_network_desc;

/*
 * Checks a compiled model completely (checksum, structure, every offset, every
 * command against this device) and loads it into card memory. BAD_MODEL or
 * WRONG_TARGET: the text says what is wrong and where.
 */
NPU_API npu_result npu_network_load(npu_device *device, const npu_network_desc *desc,
				    npu_network **network);
NPU_API void npu_network_unload(npu_network *network);

typedef struct npu_network_info {
	uint32_t struct_size;
	uint32_t inputs;		/* tensors 0 .. inputs - 1 */
	uint32_t outputs;		/* tensors inputs .. inputs + outputs - 1 */
	uint32_t operators;
	uint32_t jobs;			/* of one run */
	uint32_t sram_peak_bytes;	/* as compiled */
	const char *name;		/* may be empty */
	const char *producer;		/* program and version that compiled it */
	uint64_t macs;			/* multiply-accumulates of one run, from the shapes */
	uint64_t predicted_cycles;	/* by the compiler, of one run */
	uint64_t constant_bytes;	/* card memory of weights and tables */
	uint64_t command_bytes;
	uint64_t scratch_bytes;		/* card memory a queue needs to run it */
	uint64_t commands;		/* number of them, all streams */
	uint64_t profile_bytes;		/* of a buffer for NPU_RUN_PROFILE */
	uint64_t profile_command_bytes;	/* of a buffer for NPU_RUN_PROFILE_COMMANDS */
} npu_network_info;

NPU_API npu_result npu_network_query(npu_network *network, npu_network_info *info);

#define NPU_MAX_RANK 8

/* Element types; the numbers are those of npu/command.h. */
typedef enum npu_type {
	NPU_ELEMENT_NONE = 0,
	NPU_ELEMENT_INT4 = 1,
	NPU_ELEMENT_UINT4 = 2,
	NPU_ELEMENT_INT8 = 3,
	NPU_ELEMENT_UINT8 = 4,
	NPU_ELEMENT_INT16 = 5,
	NPU_ELEMENT_INT32 = 6,
	NPU_ELEMENT_FP16 = 7,
	NPU_ELEMENT_BF16 = 8,
	NPU_ELEMENT_FP32 = 9
} npu_type;

typedef struct npu_tensor_info {
	uint32_t struct_size;
	uint32_t type;			/* npu_type */
	const char *name;		/* in the ONNX model */
	uint32_t is_output;
	uint32_t rank;			/* 0 .. NPU_MAX_RANK */
	uint32_t shape[NPU_MAX_RANK];	/* row major, as in the ONNX model */
	uint64_t bytes;			/* packed */
	uint64_t alignment;		/* of a binding's offset, bytes */
	float scale;			/* real = (value - zero_point) * scale; 0 if not quantized */
	int32_t zero_point;
} npu_tensor_info;

/* Describes input or output `index`; INVALID if there is none. */
NPU_API npu_result npu_network_tensor(npu_network *network, uint32_t index,
				      npu_tensor_info *info);

typedef struct npu_operator_info {
	uint32_t struct_size;
	uint32_t reserved;
	const char *name;		/* of the node in the ONNX model */
	const char *type;		/* "Conv" */
	uint64_t macs;
} npu_operator_info;

/* Describes operator `index`, the numbers that faults and profiles carry. */
NPU_API npu_result npu_network_operator(npu_network *network, uint32_t index,
					npu_operator_info *info);

/* ---- Queues and runs ------------------------------------------------------ */

typedef enum npu_priority {
	NPU_PRIORITY_NORMAL = 0,
	NPU_PRIORITY_LOW = 1,
	NPU_PRIORITY_HIGH = 2		/* needs CAP_SYS_NICE on a kernel device */
} npu_priority;

typedef struct npu_queue_desc {
	uint32_t struct_size;
	uint32_t priority;		/* npu_priority */
	uint32_t depth;			/* runs in flight at most; 0 = 64, at most 1024 */
	uint32_t core_mask;		/* cores it may use; 0 = all */
	uint64_t cycle_limit;		/* modelled cycles of one job; 0 = the system's limit */
	/* Since 1.1 */
	uint64_t quantum;		/* modelled cycles without a yield point while a queue of a
					 * higher priority waits, and after which equals take turns;
					 * 0 = the system's, which is also the most */
	uint32_t coalesce_count;	/* one interrupt for so many submits; 0 = each; at most 128 */
	uint32_t coalesce_us;		/* and no later than this after the first; at most 10000 */
} npu_queue_desc;

/*
 * Makes a queue: its runs happen in order, queues among each other do not. A queue
 * of a higher priority takes the cores at the next yield point of what runs on
 * them, which goes on afterwards as if nothing had been. desc may be NULL.
 */
NPU_API npu_result npu_queue_create(npu_device *device, const npu_queue_desc *desc,
				    npu_queue **queue);

/* Aborts what has not finished; its fences still signal. */
NPU_API void npu_queue_destroy(npu_queue *queue);

/* How a job failed. */
typedef struct npu_fault {
	uint32_t status;		/* enum npu_status_code of npu/status.h; 0 = no fault */
	uint32_t command;		/* index in its stream; UINT32_MAX = none */
	uint32_t engine;		/* enum npu_engine */
	uint32_t core;			/* position in the gang */
	uint32_t access;		/* enum npu_access */
	uint32_t operator_index;	/* for npu_network_operator */
	uint64_t job;			/* number on the queue, from 0 */
	uint64_t address;		/* VA, bus or SRAM address concerned */
	uint64_t timebase_ns;
	char text[256];			/* one sentence that names the layer */
} npu_fault;

typedef struct npu_queue_info {
	uint32_t struct_size;
	uint32_t poisoned;		/* refuses more work: destroy it and create another */
	uint64_t submitted;		/* point of its latest fence */
	uint64_t completed;		/* all fences up to this point have signalled */
	npu_fault fault;		/* that poisoned it */
} npu_queue_info;

NPU_API npu_result npu_queue_query(npu_queue *queue, npu_queue_info *info);

/* A moment on a queue's timeline. A plain value: nothing to release. */
typedef struct npu_fence {
	uint64_t queue;			/* id of the queue, never 0 and never reused on a device */
	uint64_t point;			/* reached when that many submits have ended */
} npu_fence;

/* Memory of one input or output. */
typedef struct npu_binding {
	npu_buffer *buffer;
	uint64_t offset;		/* multiple of the tensor's alignment */
} npu_binding;

#define NPU_RUN_PROFILE		 (1u << 0)	/* totals of every job */
#define NPU_RUN_PROFILE_COMMANDS (1u << 1)	/* and a record of every command */

/* One execution of a network. */
typedef struct npu_run {
	uint32_t struct_size;
	uint32_t flags;			/* NPU_RUN_* */
	npu_network *network;
	const npu_binding *bindings;	/* one per tensor: inputs, then outputs */
	uint32_t binding_count;
	uint32_t reserved;
	npu_buffer *profile;		/* NPU_RUN_PROFILE*: where records go, offset 0; else NULL */
} npu_run;

/*
 * Starts `count` runs, one after the other, once all `waits` have signalled.
 * *done (may be NULL) signals when the last has ended. The first that fails
 * ends the rest. Does not block: AGAIN when the queue is full. Apart from the
 * first run of a network on a queue, which may add scratch memory, it takes no
 * device memory. A wait for a run that failed counts as signalled all the same.
 * The runs of one call have at most 128 jobs together.
 */
NPU_API npu_result npu_submit(npu_queue *queue, const npu_run *runs, uint32_t count,
			      const npu_fence *waits, uint32_t wait_count, npu_fence *done);

#define NPU_WAIT_ALL	0u
#define NPU_WAIT_ANY	1u

/*
 * Waits for fences of one device until the deadline. OK: they have signalled
 * and their jobs ended well (ANY: one of them has; *first, if not NULL, is its
 * index). A failed job gives its error here, once it is reached; submits that
 * were in flight on the same queue then give QUEUE_POISONED. Fences of a queue
 * that has been destroyed count as signalled.
 */
NPU_API npu_result npu_wait(npu_device *device, const npu_fence *fences, uint32_t count,
			    uint32_t flags, uint64_t deadline_ns, uint32_t *first);

/* A file descriptor, the caller's, that polls readable once the fence has signalled. */
NPU_API npu_result npu_fence_export(npu_device *device, npu_fence fence, int *fd);

/* ---- Profiles ------------------------------------------------------------- */

/* Sums over the jobs of one run, in modelled time. */
typedef struct npu_run_report {
	uint32_t struct_size;
	uint32_t status;		/* of the first job that failed, enum npu_status_code */
	uint32_t cycles_valid;		/* 0: the model did not keep time; cycles and energy are 0 */
	uint32_t jobs;			/* that completed */
	uint64_t cycles;		/* idle card, cold TLB, nominal clock: deterministic */
	uint64_t cycles_observed;	/* with contention and throttling */
	uint64_t modelled_ns;		/* cycles at the nominal clock */
	uint64_t device_ns;		/* card timebase from first start to last end */
	uint64_t macs;			/* executed; taps in the padding included */
	uint64_t card_bytes;		/* card memory traffic, reads and writes, commands included */
	uint64_t pcie_bytes;
	uint64_t energy_pj;		/* modelled */
	uint64_t mac_cycles;		/* busy, summed over cores */
	uint64_t vec_cycles;
	uint64_t dma_cycles;
	uint32_t sram_peak_bytes;
	uint32_t reserved;
	uint64_t command_records;	/* for npu_profile_record */
} npu_run_report;

/* Reads the totals of a finished run from its profile buffer. */
NPU_API npu_result npu_profile_report(npu_network *network, npu_buffer *profile,
				      npu_run_report *report);

typedef struct npu_command_report {
	uint32_t struct_size;
	uint32_t job;			/* index in the run */
	uint32_t core;			/* position in the gang */
	uint32_t command;		/* index in its stream */
	uint32_t engine;		/* enum npu_engine */
	uint32_t opcode;		/* enum npu_opcode */
	uint32_t operator_index;
	uint32_t reserved;
	uint64_t start_cycle;		/* from the start of its job */
	uint32_t execute_cycles;	/* start to retirement, stalls included */
	uint32_t stall_cycles;		/* of those: waiting for memory or SRAM ports */
	uint32_t wait_cycles;		/* before the start: waits not satisfied */
	uint32_t reserved1;
} npu_command_report;

/*
 * Reads record `index` of a run with NPU_RUN_PROFILE_COMMANDS. INVALID beyond
 * the last one.
 */
NPU_API npu_result npu_profile_record(npu_network *network, npu_buffer *profile, uint64_t index,
				      npu_command_report *report);

#ifdef __cplusplus
}
#endif

#endif
