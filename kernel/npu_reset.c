// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Resets of the PCIe function and errors of its bus: the last rung of the
 * watchdog's ladder, or by root through sysfs, or in the recovery that AER starts.
 *
 * A function reset wipes card memory: every queue reports that, its jobs end as
 * VICTIM, and its owner loads anew on a new queue. Address spaces, page tables
 * and buffers are there as before, the buffers' contents in card memory are
 * zero. Between npu_function_stop() and npu_function_revive() nobody takes what
 * registers return for an answer of the card.
 */
#include <linux/pci.h>
#include <linux/string.h>

#include "npu_device.h"
#include "npu_hw.h"
#include "npu_hwq.h"
#include "npu_irq.h"
#include "npu_pm.h"
#include "npu_queue.h"
#include "npu_reset.h"
#include "npu_trace.h"
#include "npu_watchdog.h"

static void npu_function_stop_locked(struct npu_device *npu)
{
	lockdep_assert_held(&npu->watchdog.lock);
	npu->offline = true;
	npu->offline_since = jiffies;
	npu_hw_stop(npu);
}

void npu_function_stop(struct npu_device *npu)
{
	bool cookie = npu_watchdog_lock(npu);

	npu_function_stop_locked(npu);
	npu_watchdog_unlock(npu, cookie);
}

/* Whatever was in flight is lost, and so is what lies in card memory. */
static void npu_queue_memory_lost(struct npu_hwq *hwq)
{
	struct npu_queue *queue = container_of(hwq, struct npu_queue, hwq);
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	if (queue->health != DRM_NPU_QUEUE_BANNED)
		queue->health = DRM_NPU_QUEUE_MEMORY_LOST;
	spin_unlock_irqrestore(&queue->lock, flags);
	npu_hwq_give_up(hwq, NPU_STATUS_VICTIM, -ECANCELED);
}

static void npu_all_memory_lost(struct npu_device *npu)
{
	unsigned int id;

	lockdep_assert_held(&npu->watchdog.lock);
	for (id = 1; id < npu->hwqs; id++)
		if (npu->slots[id])
			npu_queue_memory_lost(npu->slots[id]);
}

/* Undoes npu_function_stop(), without the queues. */
static int npu_function_start(struct npu_device *npu)
{
	int ret;

	lockdep_assert_held(&npu->watchdog.lock);
	npu->offline = false;
	if (npu->lost)
		return -ENODEV;
	/* Event numbers begin anew: what is there would look like the next ones. */
	memset(npu->events, 0, sizeof(*npu->events) * NPU_EVENT_RING_SIZE);
	ret = npu_hw_start(npu);
	if (ret)
		npu_watchdog_card_lost(npu);
	return ret;
}

/* After its reset. */
int npu_function_revive(struct npu_device *npu)
{
	bool cookie = npu_watchdog_lock(npu);
	int ret;

	npu->watchdog.function_reset_wanted = false;
	atomic64_inc(&npu->function_resets);
	ret = npu_function_start(npu);
	if (ret)
		goto out;
	drm_notice(&npu->drm, "the function was reset: card memory is lost\n");
	npu_all_memory_lost(npu);
	/* The kernel's own packets are repeated by those who wait for them. */
	npu_hwq_restart(&npu->kqueue.hwq, NPU_STATUS_VICTIM);
	npu_kqueue_unpark(&npu->kqueue);
	npu_wedged_send(npu, "none");
	/* Each restore uses up what was saved: for the next one. */
	pci_save_state(npu_pdev(npu));
out:
	npu_watchdog_unlock(npu, cookie);
	return ret;
}

/* After the machine's sleep: nothing was in flight, and card memory has been saved. */
void npu_function_resume(struct npu_device *npu)
{
	bool cookie = npu_watchdog_lock(npu);
	unsigned int id;
	int ret;

	/* After hibernation: ends what another kernel has started meanwhile. */
	if (!npu->lost && npu_hw_reset_card(npu))
		npu_watchdog_card_lost(npu);
	ret = npu_function_start(npu);
	for (id = 0; id < npu->hwqs && !ret; id++)
		if (npu->slots[id])
			npu_hwq_end_reset(npu->slots[id]);
	/* Whatever the card may have kept in its TLB: no power, no TLB. */
	npu_kqueue_unpark(&npu->kqueue);
	npu_watchdog_unlock(npu, cookie);

	ret = npu_vram_restore(npu);
	if (!ret)
		return;
	cookie = npu_watchdog_lock(npu);
	if (!npu->lost) {
		drm_notice(&npu->drm, "card memory is not restored: %d\n", ret);
		npu_all_memory_lost(npu);
	}
	npu_watchdog_unlock(npu, cookie);
}

/* ---- The watchdog's last rung ---- */

/* Stops the card now; the watchdog resets it once it has left its lock. */
void npu_function_want_reset(struct npu_device *npu)
{
	trace_npu_reset(npu, "function", -1);
	npu_function_stop_locked(npu);
	WRITE_ONCE(npu->watchdog.function_reset_wanted, true);
	npu_watchdog_kick(npu);
}

/*
 * Comes back as reset_prepare and reset_done below. The device's lock is only
 * tried: remove() has it while it waits for those whose fences wait for this
 * reset. Others who have it (a reset by root, a recovery, bind) end soon, and the
 * watchdog tries again until it gives the card up.
 */
void npu_function_reset(struct npu_device *npu)
{
	bool cookie;
	int ret;

	/* Asleep it has nothing in flight: then root wants the reset. */
	pm_runtime_get_sync(npu->drm.dev);
	ret = pci_try_reset_function(npu_pdev(npu));
	npu_rest(npu);
	if (!ret || (ret == -EAGAIN && !drm_dev_is_unplugged(&npu->drm)))
		return;
	drm_notice(&npu->drm, "the function cannot be reset: %d\n", ret);
	cookie = npu_watchdog_lock(npu);
	npu->offline = false;
	npu->watchdog.function_reset_wanted = false;
	npu_watchdog_card_lost(npu);
	npu_watchdog_unlock(npu, cookie);
}

/* ---- What the PCI core calls; it holds the device's lock ---- */

static void npu_reset_prepare(struct pci_dev *pdev)
{
	npu_function_stop(pci_get_drvdata(pdev));
}

static void npu_reset_done(struct pci_dev *pdev)
{
	npu_function_revive(pci_get_drvdata(pdev));
}

static pci_ers_result_t npu_error_detected(struct pci_dev *pdev, pci_channel_state_t state)
{
	struct npu_device *npu = pci_get_drvdata(pdev);

	switch (state) {
	case pci_channel_io_normal:
		/* A transaction failed; the job it belonged to says so itself. */
		return PCI_ERS_RESULT_CAN_RECOVER;
	case pci_channel_io_frozen:
		npu_function_stop(npu);
		return PCI_ERS_RESULT_NEED_RESET;
	default:
		npu_watchdog_card_lost_now(npu);
		return PCI_ERS_RESULT_DISCONNECT;
	}
}

static pci_ers_result_t npu_mmio_enabled(struct pci_dev *pdev)
{
	return npu_hw_gone(pci_get_drvdata(pdev)) ? PCI_ERS_RESULT_NEED_RESET :
						    PCI_ERS_RESULT_RECOVERED;
}

static pci_ers_result_t npu_slot_reset(struct pci_dev *pdev)
{
	/* As it was last, with interrupts. */
	pci_restore_state(pdev);
	return npu_function_revive(pci_get_drvdata(pdev)) ? PCI_ERS_RESULT_DISCONNECT :
							    PCI_ERS_RESULT_RECOVERED;
}

const struct pci_error_handlers npu_error_handlers = {
	.error_detected = npu_error_detected,
	.mmio_enabled = npu_mmio_enabled,
	.slot_reset = npu_slot_reset,
	.reset_prepare = npu_reset_prepare,
	.reset_done = npu_reset_done,
};
