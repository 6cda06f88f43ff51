// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Interrupt vectors and the event ring.
 *
 * A queue's vector is served from its completion ring in memory, without a
 * register access. Vector 0 carries events: faults, ring errors, heat; they
 * are read in a work, which also tells the card how far it got.
 */
#include <linux/interrupt.h>

#include "npu_device.h"
#include "npu_hw.h"
#include "npu_hwq.h"
#include "npu_irq.h"
#include "npu_pm.h"
#include "npu_watchdog.h"

static irqreturn_t npu_irq_handler(int irq, void *data)
{
	struct npu_vector *vector = data;
	struct npu_device *npu = vector->npu;
	unsigned int id;

	for (id = 0; id < npu->hwqs; id++) {
		struct npu_hwq *hwq;

		/* Not in hwq: npu_hwq_fini() waits for the queue's own vector only. */
		if (npu_hwq_vector(npu, id) != vector->index)
			continue;
		hwq = READ_ONCE(npu->slots[id]);
		if (hwq)
			npu_hwq_process(hwq);
	}
	if (vector->index == NPU_VECTOR_EVENTS)
		queue_work(npu->sched_wq, &npu->event_work);
	return IRQ_HANDLED;
}

static void npu_handle_event(struct npu_device *npu, const struct npu_event *event)
{
	atomic64_inc(&npu->event_count);
	switch (event->type) {
	case NPU_EVENT_QUEUE_ERROR:
		drm_notice(&npu->drm, "queue %u: error, status %u at %#llx\n",
			   event->queue, event->status, event->address);
		npu_watchdog_kick(npu);
		break;
	case NPU_EVENT_JOB_FAULT:
		/* A user's doing; QUEUE_STATE tells it. */
		drm_dbg_driver(&npu->drm, "queue %u: packet %llu status %u command %u at %#llx\n",
			       event->queue, event->packet, event->status,
			       event->command, event->address);
		break;
	case NPU_EVENT_THERMAL:
		drm_notice(&npu->drm, "hot: %llu millidegrees, the clock is lowered\n",
			   event->value);
		break;
	case NPU_EVENT_RESET:
		drm_dbg_driver(&npu->drm, "reset of kind %llu\n", event->value);
		break;
	default:
		/* A later minor version's. */
		drm_dbg_driver(&npu->drm, "event of type %u\n", event->type);
		break;
	}
}

static void npu_event_work(struct work_struct *work)
{
	struct npu_device *npu = container_of(work, struct npu_device, event_work);
	bool any = false;
	bool cookie;
	int idx;

	if (!drm_dev_enter(&npu->drm, &idx))
		return;
	/* Asleep: once more when it wakes. */
	if (!npu_glance(npu))
		goto out;
	/* The watchdog's lock: a card reset starts the ring anew. */
	cookie = npu_watchdog_lock(npu);
	while (!npu->lost && !npu->offline) {
		const struct npu_event *slot = &npu->events[npu->event_next % NPU_EVENT_RING_SIZE];
		struct npu_event event;

		if (lower_32_bits(READ_ONCE(slot->sequence)) !=
		    lower_32_bits(npu->event_next + 1))
			break;
		/* The sequence was written last. */
		dma_rmb();
		event = *slot;
		npu->event_next++;
		any = true;
		npu_handle_event(npu, &event);
	}
	if (any)
		npu_write(npu, NPU_REG_EVENT_HEAD, lower_32_bits(npu->event_next));
	npu_watchdog_unlock(npu, cookie);
	npu_glance_end(npu);
out:
	drm_dev_exit(idx);
}

static void npu_free_vectors(void *pdev)
{
	pci_free_irq_vectors(pdev);
}

/* Vectors and handlers are the device's; they go with it. */
int npu_irq_init(struct npu_device *npu)
{
	struct pci_dev *pdev = npu_pdev(npu);
	unsigned int want = min_t(u32, npu->target.vectors, NPU_MAX_VECTORS);
	unsigned int i;
	int ret;

	INIT_WORK(&npu->event_work, npu_event_work);
	ret = pci_alloc_irq_vectors(pdev, 1, want, PCI_IRQ_MSIX | PCI_IRQ_MSI);
	if (ret < 0)
		return ret;
	npu->vectors = ret;
	ret = devm_add_action_or_reset(&pdev->dev, npu_free_vectors, pdev);
	if (ret)
		return ret;

	for (i = 0; i < npu->vectors; i++) {
		npu->vector[i].npu = npu;
		npu->vector[i].index = i;
		npu->vector[i].irq = pci_irq_vector(pdev, i);
		ret = devm_request_irq(&pdev->dev, npu->vector[i].irq, npu_irq_handler,
				       0, "npu", &npu->vector[i]);
		if (ret)
			return ret;
	}
	return 0;
}

void npu_irq_fini(struct npu_device *npu)
{
	disable_work_sync(&npu->event_work);
}
