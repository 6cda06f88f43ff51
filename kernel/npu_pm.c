// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Sleep: of an idle card, and of the whole machine.
 *
 * Idle is a card for which no job and no bind exists and that nobody is about to
 * use. Each of them keeps it awake from where sleeping is allowed, an ioctl, until
 * it is freed: on the way to a fence nobody ever has to wake it. In D3hot the card
 * keeps everything, its memory included, but answers no access: the CPU's mappings
 * of the aperture are removed, and a page fault wakes it.
 *
 * The machine's sleep takes the card's power away. Everything that the card was
 * given ends first; what still waits for fences is kept by stopped schedulers.
 * Card memory in use is copied to host memory, and back to the same addresses:
 * moving buffers would mean to wait for the fences of those jobs, whose owners do
 * not run.
 */
#include <linux/delay.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>

#include "npu_device.h"
#include "npu_hw.h"
#include "npu_pm.h"
#include "npu_queue.h"
#include "npu_query.h"
#include "npu_reset.h"
#include "npu_vm.h"
#include "npu_watchdog.h"

/* Waking takes 10 ms: D3hot's recovery time in the PCI core. */
static int autosuspend_ms = 1000;
module_param(autosuspend_ms, int, 0444);
MODULE_PARM_DESC(autosuspend_ms,
		 "Milliseconds after its last use that a card goes to sleep, -1: never (default 1000)");

static unsigned int suspend_timeout_ms = 20000;
module_param(suspend_timeout_ms, uint, 0644);
MODULE_PARM_DESC(suspend_timeout_ms,
		 "Milliseconds that the machine's sleep waits for running jobs before it is refused (default 20000)");

/**
 * npu_wake - keep the card in D0
 * @npu: device, inside drm_dev_enter()
 *
 * May sleep until the card is awake, holding any lock but watchdog.lock and
 * vram.lock. Returns 0, and then npu_rest() is due, or an error.
 */
int npu_wake(struct npu_device *npu)
{
	return pm_runtime_resume_and_get(npu->drm.dev);
}

/* Any context. */
void npu_rest(struct npu_device *npu)
{
	pm_runtime_mark_last_busy(npu->drm.dev);
	pm_runtime_put_autosuspend(npu->drm.dev);
}

/* How long the CPU has a page of the aperture before the card may sleep again. */
#define NPU_FAULT_AWAKE_MS	50

/*
 * npu_rest() of a page fault. Who faulted has not got to the page yet: were the
 * delay of autosuspend short or 0, it might be taken away first, every time.
 */
void npu_rest_after_fault(struct npu_device *npu)
{
	/* If it was pending, it has a reference already. */
	if (mod_delayed_work(npu_release_wq, &npu->fault_rest,
			     msecs_to_jiffies(NPU_FAULT_AWAKE_MS)))
		npu_rest(npu);
}

static void npu_fault_rest_work(struct work_struct *work)
{
	npu_rest(container_of(to_delayed_work(work), struct npu_device, fault_rest));
}

/* drm_dev_enter() and npu_wake(). -ENODEV: the device is gone. */
int npu_use_begin(struct npu_device *npu, int *idx)
{
	int ret;

	if (!drm_dev_enter(&npu->drm, idx))
		return -ENODEV;
	ret = npu_wake(npu);
	if (ret)
		drm_dev_exit(*idx);
	return ret;
}

void npu_use_end(struct npu_device *npu, int idx)
{
	npu_rest(npu);
	drm_dev_exit(idx);
}

/* ---- Of an idle card ---- */

static int npu_runtime_suspend(struct device *dev)
{
	struct npu_device *npu = dev_get_drvdata(dev);

	npu_telemetry_keep(npu);
	npu_vram_unmap_cpu(npu);
	return 0;
}

static int npu_runtime_resume(struct device *dev)
{
	struct npu_device *npu = dev_get_drvdata(dev);

	if (npu_hw_gone(npu))
		npu_watchdog_card_lost_now(npu);
	/* Somebody may have reset the function behind the driver's back. */
	if (!npu->offline && !npu_hw_enabled(npu))
		npu_function_revive(npu);
	/* Used up by the way to D0; a reset of the slot needs it. */
	pci_save_state(to_pci_dev(dev));
	/* It did not touch registers while the card was on its way to sleep. */
	queue_work(npu->sched_wq, &npu->event_work);
	return 0;
}

/* ---- Of the machine: processes, and works that release things, are frozen ---- */

static void npu_scheduler_let(struct drm_gpu_scheduler *sched, bool run)
{
	if (run)
		drm_sched_wqueue_start(sched);
	else
		drm_sched_wqueue_stop(sched);
}

/* Without locks: what would change the lists is frozen, or needs the device's lock. */
static void npu_schedulers_let(struct npu_device *npu, bool run)
{
	struct npu_vm *vm;
	unsigned int id;

	list_for_each_entry(vm, &npu->vms, node)
		npu_scheduler_let(vm->sched, run);
	for (id = 1; id < npu->hwqs; id++)
		if (npu->slots[id])
			npu_scheduler_let(container_of(npu->slots[id], struct npu_queue,
						       hwq)->sched, run);
}

/* Until the card has ended all that it was given; the watchdog sees to hangs. */
static int npu_drain(struct npu_device *npu)
{
	unsigned long limit = jiffies + msecs_to_jiffies(READ_ONCE(suspend_timeout_ms));

	while (atomic_read(&npu->inflight) || READ_ONCE(npu->offline)) {
		if (time_after(jiffies, limit)) {
			drm_notice(&npu->drm, "jobs do not end: the system cannot sleep\n");
			return -EBUSY;
		}
		usleep_range(1000, 5000);
	}
	return 0;
}

static int npu_suspend(struct device *dev)
{
	struct npu_device *npu = dev_get_drvdata(dev);
	int ret;

	npu_schedulers_let(npu, false);
	ret = npu_drain(npu);
	if (!ret && !npu->lost)
		ret = npu_vram_save(npu);
	if (ret) {
		npu_schedulers_let(npu, true);
		/* The PCI core has forgotten what a reset of the slot needs. */
		pci_save_state(to_pci_dev(dev));
		return ret;
	}
	npu_watchdog_fini(npu);
	npu_function_stop(npu);
	return 0;
}

static int npu_resume(struct device *dev)
{
	struct npu_device *npu = dev_get_drvdata(dev);

	npu_watchdog_resume(npu);
	npu_function_resume(npu);
	npu_schedulers_let(npu, true);
	pci_save_state(to_pci_dev(dev));
	return 0;
}

const struct dev_pm_ops npu_pm_ops = {
	SYSTEM_SLEEP_PM_OPS(npu_suspend, npu_resume)
	RUNTIME_PM_OPS(npu_runtime_suspend, npu_runtime_resume, NULL)
};

/* ---- Life ---- */

/* Else it would lose its memory in D3hot, too, and stays in D0. */
static bool npu_can_sleep(struct pci_dev *pdev)
{
	u16 control = 0;

	if (pdev->pm_cap)
		pci_read_config_word(pdev, pdev->pm_cap + PCI_PM_CTRL, &control);
	return control & PCI_PM_CTRL_NO_SOFT_RESET;
}

void npu_pm_init(struct npu_device *npu)
{
	INIT_DELAYED_WORK(&npu->fault_rest, npu_fault_rest_work);
}

/* Last step of probe(), for which the PCI core keeps the card awake. */
void npu_pm_start(struct npu_device *npu)
{
	struct pci_dev *pdev = npu_pdev(npu);
	struct device *dev = &pdev->dev;

	/* Without power its memory is lost: never unannounced. */
	dev_pm_set_driver_flags(dev, DPM_FLAG_NO_DIRECT_COMPLETE);
	pci_d3cold_disable(pdev);
	npu->sleeps = npu_can_sleep(pdev);
	if (!npu->sleeps)
		return;
	pm_runtime_set_autosuspend_delay(dev, autosuspend_ms);
	pm_runtime_use_autosuspend(dev);
	pm_runtime_allow(dev);
	npu_rest(npu);
}

/*
 * In remove(), for which the PCI core keeps the card awake, once nobody faults
 * any more.
 */
void npu_pm_fini(struct npu_device *npu)
{
	struct device *dev = npu->drm.dev;

	if (cancel_delayed_work_sync(&npu->fault_rest))
		npu_rest(npu);
	if (!npu->sleeps)
		return;
	pm_runtime_get_noresume(dev);
	pm_runtime_forbid(dev);
	pm_runtime_dont_use_autosuspend(dev);
}
