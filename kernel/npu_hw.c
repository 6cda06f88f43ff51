// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Discovery, start, stop and reset of the card: the global registers. */
#include <linux/dma-mapping.h>
#include <linux/iopoll.h>

#include "npu_device.h"
#include "npu_hw.h"

#define NPU_READY_TIMEOUT_US	1000000

/* All reads of a function that left the bus return ones. */
bool npu_hw_gone(struct npu_device *npu)
{
	return npu_read(npu, NPU_REG_MAGIC) == ~0u;
}

/* It still is as npu_hw_start() left it, or it is gone. */
bool npu_hw_enabled(struct npu_device *npu)
{
	return npu_read(npu, NPU_REG_CONTROL) & NPU_CONTROL_ENABLE;
}

/**
 * npu_hw_discover - read who the card is, and which memory it reaches
 * @npu: device with mapped registers
 *
 * Returns 0, or an error after one line that says why the card is refused.
 */
int npu_hw_discover(struct npu_device *npu)
{
	struct device *dev = npu->drm.dev;
	u32 *words = (u32 *)&npu->target;
	u32 magic = npu_read(npu, NPU_REG_MAGIC);
	unsigned int i;
	u32 dma_bits;
	int ret;

	if (magic != NPU_MAGIC) {
		dev_err(dev, "not an NPU: register 0 reads %#010x, not %#010x\n",
			magic, NPU_MAGIC);
		return -ENODEV;
	}

	npu->version = npu_read(npu, NPU_REG_VERSION);
	if (npu->version >> 16 != NPU_VERSION_MAJOR) {
		dev_err(dev, "card has interface %u.%u, this driver knows %u.x: update the driver\n",
			npu->version >> 16, npu->version & 0xffff, NPU_VERSION_MAJOR);
		return -ENODEV;
	}

	npu->features = npu_read64(npu, NPU_REG_FEATURES);
	npu->serial = npu_read64(npu, NPU_REG_SERIAL);
	for (i = 0; i < NPU_TARGET_WORDS; i++)
		words[i] = npu_read(npu, NPU_REG_CAPS + 4 * i);
	npu->target.name[sizeof(npu->target.name) - 1] = '\0';

	npu->hwqs = min_t(u32, npu->target.queues, NPU_MAX_HWQ);
	npu->asids = min_t(u32, npu->target.asids, NPU_MAX_ASIDS);
	if (npu->hwqs < 2 || npu->asids < 2 || !npu->target.vectors ||
	    !npu->target.cores || npu->target.cores > NPU_MAX_CORES ||
	    !npu->target.card_memory_mib || npu->target.va_bits != NPU_VA_BITS) {
		dev_err(dev, "card reports impossible capabilities: %u queues, %u asids, %u vectors, %u cores, %u MiB, %u address bits\n",
			npu->target.queues, npu->target.asids, npu->target.vectors,
			npu->target.cores, npu->target.card_memory_mib, npu->target.va_bits);
		return -ENODEV;
	}

	dma_bits = npu_read(npu, NPU_REG_DMA_BITS) ?: 64;
	ret = dma_bits < 32 || dma_bits > 64 ? -ENODEV :
	      dma_set_mask_and_coherent(dev, DMA_BIT_MASK(dma_bits));
	if (ret)
		dev_err(dev, "card cannot be given memory: it has %u address bits\n", dma_bits);
	return ret;
}

/**
 * npu_hw_alloc - allocate one run of bus addresses, as long as there is one
 * @npu: device
 * @bytes: how long it should be at most; how long it is
 * @dma: its bus address
 * @gfp: GFP_KERNEL, or GFP_KERNEL_ACCOUNT for a client
 *
 * A machine that has been up for long may have no long ones. NULL if there is not
 * even a page.
 */
void *npu_hw_alloc(struct npu_device *npu, size_t *bytes, dma_addr_t *dma, gfp_t gfp)
{
	for (; *bytes >= PAGE_SIZE; *bytes = ALIGN_DOWN(*bytes / 2, PAGE_SIZE)) {
		gfp_t last = *bytes < 2 * PAGE_SIZE ? 0 : __GFP_NORETRY;
		void *memory = dma_alloc_coherent(npu->drm.dev, *bytes, dma,
						  gfp | __GFP_NOWARN | last);

		if (memory)
			return memory;
	}
	return NULL;
}

/* Tables that the card reads by bus address. npu_hw_free_tables() undoes a part, too. */
int npu_hw_alloc_tables(struct npu_device *npu)
{
	struct device *dev = npu->drm.dev;

	npu->contexts = dma_alloc_coherent(dev, npu->asids * sizeof(*npu->contexts),
					   &npu->contexts_dma, GFP_KERNEL);
	npu->queue_table = dma_alloc_coherent(dev, npu->hwqs * sizeof(*npu->queue_table),
					      &npu->queue_table_dma, GFP_KERNEL);
	npu->events = dma_alloc_coherent(dev, sizeof(*npu->events) * NPU_EVENT_RING_SIZE,
					 &npu->events_dma, GFP_KERNEL);
	if (!npu->contexts || !npu->queue_table || !npu->events) {
		npu_hw_free_tables(npu);
		return -ENOMEM;
	}
	return 0;
}

void npu_hw_free_tables(struct npu_device *npu)
{
	struct device *dev = npu->drm.dev;

	if (npu->events)
		dma_free_coherent(dev, sizeof(*npu->events) * NPU_EVENT_RING_SIZE,
				  npu->events, npu->events_dma);
	if (npu->queue_table)
		dma_free_coherent(dev, npu->hwqs * sizeof(*npu->queue_table),
				  npu->queue_table, npu->queue_table_dma);
	if (npu->contexts)
		dma_free_coherent(dev, npu->asids * sizeof(*npu->contexts),
				  npu->contexts, npu->contexts_dma);
	npu->events = NULL;
	npu->queue_table = NULL;
	npu->contexts = NULL;
}

/* Points the card at the tables and enables it. Queues are started one by one. */
int npu_hw_start(struct npu_device *npu)
{
	u32 status;
	int ret;

	pci_set_master(npu_pdev(npu));
	npu_write64(npu, NPU_REG_CONTEXT_TABLE, npu->contexts_dma);
	npu_write(npu, NPU_REG_CONTEXT_COUNT, npu->asids);
	npu_write64(npu, NPU_REG_QUEUE_TABLE, npu->queue_table_dma);
	npu_write(npu, NPU_REG_QUEUE_COUNT, npu->hwqs);
	npu_write64(npu, NPU_REG_EVENT_RING, npu->events_dma);
	npu_write(npu, NPU_REG_EVENT_LOG2, NPU_EVENT_RING_LOG2);
	npu->event_next = npu_read(npu, NPU_REG_EVENT_TAIL);
	npu_write(npu, NPU_REG_EVENT_HEAD, lower_32_bits(npu->event_next));
	npu_write(npu, NPU_REG_CONTROL, NPU_CONTROL_ENABLE);

	ret = readl_poll_timeout(npu->regs + NPU_REG_STATUS, status,
				 status & NPU_DEVICE_READY, 100, NPU_READY_TIMEOUT_US);
	if (ret || npu_hw_gone(npu)) {
		drm_err(&npu->drm, "card does not become ready, status %#x\n", status);
		return -EIO;
	}
	return 0;
}

/* After this the card neither runs nor accesses memory, even if it ignores its registers. */
void npu_hw_stop(struct npu_device *npu)
{
	npu_write(npu, NPU_REG_CONTROL, 0);
	/* The read completes after the write took effect. */
	npu_read(npu, NPU_REG_CONTROL);
	pci_clear_master(npu_pdev(npu));
}

/*
 * Card reset: running jobs end, queues stop, the TLB is empty. Fence-critical:
 * allocates nothing.
 */
int npu_hw_reset_card(struct npu_device *npu)
{
	u32 resets = npu_read(npu, NPU_REG_RESETS);
	u32 value;
	int ret;

	npu_write(npu, NPU_REG_RESET, NPU_RESET_KIND_CARD);
	ret = readl_poll_timeout(npu->regs + NPU_REG_RESETS, value, value != resets,
				 100, NPU_READY_TIMEOUT_US);
	return ret || npu_hw_gone(npu) ? -EIO : 0;
}

/*
 * Resets the cores that execute a job of the queue. Returns whether there was
 * one. Fence-critical.
 */
bool npu_hw_reset_cores_of(struct npu_device *npu, unsigned int hwq_id)
{
	bool any = false;
	unsigned int core;

	for (core = 0; core < npu->target.cores; core++) {
		u32 state = npu_read(npu, NPU_REG_CORE(core, NPU_CORE_STATE));

		if (!(state & 0xff) || state >> 8 != hwq_id)
			continue;
		/* Counted first: the job's fence signals in the middle of this. */
		atomic64_inc(&npu->core_resets);
		npu_write(npu, NPU_REG_RESET, NPU_RESET_KIND_CORE | core << 8);
		npu_read(npu, NPU_REG_RESETS);
		any = true;
	}
	return any;
}
