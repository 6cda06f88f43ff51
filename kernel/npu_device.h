/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The device object: everything that exists once per card, and the helpers
 * that touch its registers.
 */
#ifndef NPU_DEVICE_H
#define NPU_DEVICE_H

#include <linux/idr.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/workqueue.h>

#include <drm/drm_device.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_print.h>
#include <drm/ttm/ttm_device.h>
#include <uapi/drm/npu_accel.h>

#include "npu/mmu.h"
#include "npu/queue.h"
#include "npu/registers.h"
#include "npu/status.h"
#include "npu/target.h"

#include "npu_compat.h"
#include "npu_coredump.h"
#include "npu_kqueue.h"
#include "npu_report.h"
#include "npu_vram.h"

#ifdef __BIG_ENDIAN
#error "the card's structures are little-endian and are used in place"
#endif

/* Limits of this driver; the card may have fewer. */
#define NPU_MAX_HWQ		128
#define NPU_MAX_VECTORS		64
#define NPU_MAX_ASIDS		4096

/* Limits of one open file. */
#define NPU_FILE_MAX_VMS	16
#define NPU_FILE_MAX_QUEUES	16

/* Lowest address that VM_BIND accepts: null pointers with offsets fault. */
#define NPU_VA_START		0x10000ull

struct npu_device;

struct npu_vector {
	struct npu_device *npu;
	unsigned int index;
	/* Kept: to ask for it takes a mutex under which others allocate. */
	unsigned int irq;
};

struct npu_watchdog {
	struct delayed_work work;
	/* One recovery at a time; also held while a hardware queue comes or goes. */
	struct mutex lock;
	/* A TLB invalidation failed: only a card reset makes pages safe to reuse. */
	bool card_reset_wanted;
	/* A card reset did not help. Set together with npu_device.offline. */
	bool function_reset_wanted;
};

struct npu_device {
	struct drm_device drm;
	void __iomem *regs;
	resource_size_t aperture_base;
	resource_size_t aperture_bytes;

	/* Read once at probe. */
	struct npu_target target;
	u32 version;
	u64 features;
	u64 serial;
	/* It keeps its memory in D3hot. */
	bool sleeps;
	unsigned int vectors;
	unsigned int hwqs;
	unsigned int asids;

	struct npu_vector vector[NPU_MAX_VECTORS];

	/*
	 * Tables that the card reads. remove() frees them after it stopped the
	 * card; whoever touches them stands inside drm_dev_enter().
	 */
	struct npu_context *contexts;
	dma_addr_t contexts_dma;
	struct npu_queue_context *queue_table;
	dma_addr_t queue_table_dma;
	struct npu_event *events;
	dma_addr_t events_dma;
	u64 event_next;
	struct work_struct event_work;

	struct ida asid_ida;
	struct ida queue_ida;

	/*
	 * Hardware queues by number. Written under watchdog.lock; the
	 * interrupt handlers read without a lock, npu_hwq_fini() waits for them.
	 */
	struct npu_hwq *slots[NPU_MAX_HWQ];
	/* Entries pushed and not yet completed; the watchdog runs while > 0. */
	atomic_t inflight;

	struct ttm_device ttm;
	struct npu_vram vram;
	struct npu_kqueue kqueue;
	struct npu_watchdog watchdog;
	struct npu_dump dump;
	struct npu_wedged wedged;
	/* Ends what npu_rest_after_fault() keeps. */
	struct delayed_work fault_rest;
	/* As it was when the card last went to sleep. */
	struct drm_npu_telemetry asleep;
	/* Runs schedulers, watchdog and events: part of fence signalling. */
	struct workqueue_struct *sched_wq;

	/* Buffers of other drivers, while their attachments are mapped. */
	struct list_head imports;
	/* Protects imports. Nothing is taken inside. */
	spinlock_t imports_lock;

	/* Address spaces that own page tables. */
	struct list_head vms;
	/* Protects vms, and tables against being freed twice. */
	struct mutex vms_lock;

	/* The card left the bus, or no reset revived it: nothing will complete. */
	bool lost;
	/* Its function is being reset: registers tell nothing. Protected by watchdog.lock. */
	bool offline;
	unsigned long offline_since;

	/* Counts since probe, and of what is alive: DEV_QUERY and debugfs. */
	atomic64_t jobs;
	atomic64_t faults;
	/* The rungs of recovery. */
	atomic64_t job_aborts;
	atomic64_t core_resets;
	atomic64_t card_resets;
	atomic64_t function_resets;
	atomic64_t polled;		/* entries whose completion the watchdog saw first */
	atomic64_t event_count;
	atomic_t buffers;
	/* Sum of the buffers' sizes, but for imports; at most buffer_limit. */
	atomic64_t buffer_bytes;
	u64 buffer_limit;
	atomic_t vm_count;
	atomic_t queue_count;
	atomic_t fence_count;
};

static inline struct npu_device *to_npu(struct drm_device *drm)
{
	return container_of(drm, struct npu_device, drm);
}

static inline struct pci_dev *npu_pdev(struct npu_device *npu)
{
	return to_pci_dev(npu->drm.dev);
}

static inline u32 npu_read(struct npu_device *npu, u32 reg)
{
	return readl(npu->regs + reg);
}

static inline u64 npu_read64(struct npu_device *npu, u32 reg)
{
	return readq(npu->regs + reg);
}

static inline void npu_write(struct npu_device *npu, u32 reg, u32 value)
{
	writel(value, npu->regs + reg);
}

static inline void npu_write64(struct npu_device *npu, u32 reg, u64 value)
{
	writeq(value, npu->regs + reg);
}

/* Releases objects in a context that may sleep and signals no fence. */
extern struct workqueue_struct *npu_release_wq;

/* Something that a release work will free was made or is gone. */
void npu_deferred_get(void);
void npu_deferred_put(void);

/*
 * dma_fence_ops.release of the driver's fences. Each holds a reference to the
 * module, taken by npu_fence_hold(): its ops are needed for that long.
 */
void npu_fence_hold(void);
void npu_fence_release(struct dma_fence *fence);

/* The fence error that stands for a status; 0 for OK. */
int npu_status_to_errno(u32 status);

#endif
