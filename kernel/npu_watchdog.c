// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The watchdog, and recovery.
 *
 * The schedulers' own timeouts are off: they count the time in which a job
 * waits for its turn or is preempted. The watchdog runs only while packets are
 * in flight, looks at memory first, and reads registers only of queues whose
 * oldest packet has been the same for a whole period. Guilty is a queue that
 * RUNS and whose heartbeat stands still for hang_timeout_ms of its looking.
 *
 * Recovery climbs: abort the job, reset its core, reset the card, reset the
 * function, give the card up. All of it is on the path of fence signalling: no
 * allocation, no dma_resv lock, no wait for a fence.
 */
#include <linux/delay.h>
#include <linux/dma-fence.h>
#include <linux/jiffies.h>
#include <linux/moduleparam.h>

#include "npu_device.h"
#include "npu_hw.h"
#include "npu_hwq.h"
#include "npu_reset.h"
#include "npu_trace.h"
#include "npu_watchdog.h"

#define NPU_WATCHDOG_PERIOD_MS	200
/* Longer than any reset of a slot takes. */
#define NPU_OFFLINE_LIMIT	(30 * HZ)
/* How long each rung has to show an effect. */
#define NPU_RUNG_MS		100

static unsigned int hang_timeout_ms = 2000;
module_param(hang_timeout_ms, uint, 0644);
MODULE_PARM_DESC(hang_timeout_ms,
		 "Milliseconds without heartbeat after which a running job counts as hung (default 2000)");

bool npu_watchdog_lock(struct npu_device *npu)
{
	bool cookie = dma_fence_begin_signalling();

	mutex_lock(&npu->watchdog.lock);
	return cookie;
}

void npu_watchdog_unlock(struct npu_device *npu, bool cookie)
{
	mutex_unlock(&npu->watchdog.lock);
	dma_fence_end_signalling(cookie);
}

static u32 npu_hwq_read(struct npu_hwq *hwq, u32 reg)
{
	return npu_read(hwq->npu, NPU_QUEUE_PAGE(hwq->id) + reg);
}

static void npu_hwq_command(struct npu_hwq *hwq, u32 command)
{
	npu_write(hwq->npu, NPU_QUEUE_PAGE(hwq->id) + NPU_QUEUE_CONTROL, command);
}

static u64 npu_hwq_consumer(struct npu_hwq *hwq)
{
	unsigned long flags;
	u64 consumer;

	spin_lock_irqsave(&hwq->lock, flags);
	consumer = hwq->consumer;
	spin_unlock_irqrestore(&hwq->lock, flags);
	return consumer;
}

static bool npu_hwq_idle(struct npu_hwq *hwq)
{
	unsigned long flags;
	bool idle;

	spin_lock_irqsave(&hwq->lock, flags);
	idle = hwq->consumer == hwq->producer;
	spin_unlock_irqrestore(&hwq->lock, flags);
	return idle;
}

/* Waits up to a rung's time for the packet @index to complete. */
static bool npu_wait_retired(struct npu_hwq *hwq, u64 index)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(NPU_RUNG_MS);

	for (;;) {
		npu_hwq_process(hwq);
		if (npu_hwq_consumer(hwq) > index)
			return true;
		if (time_after(jiffies, deadline))
			return false;
		usleep_range(500, 1000);
	}
}

static bool npu_wait_disabled(struct npu_hwq *hwq)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(NPU_RUNG_MS);

	for (;;) {
		u32 state = npu_hwq_read(hwq, NPU_QUEUE_STATE);

		if (state == NPU_QUEUE_DISABLED || state == ~0u)
			return true;
		if (time_after(jiffies, deadline))
			return false;
		usleep_range(500, 1000);
	}
}

/* The card will not complete anything any more: everything pending ends now. */
void npu_watchdog_card_lost(struct npu_device *npu)
{
	unsigned int id;

	lockdep_assert_held(&npu->watchdog.lock);
	if (!npu->lost) {
		drm_notice(&npu->drm, "card is gone or does not recover; jobs end with ENODEV\n");
		trace_npu_reset(npu, "give up", -1);
		npu_wedged_send(npu, "rebind");
	}
	WRITE_ONCE(npu->lost, true);
	npu_hw_stop(npu);
	for (id = 0; id < npu->hwqs; id++)
		if (npu->slots[id])
			npu_hwq_give_up(npu->slots[id], NPU_STATUS_VICTIM, -ENODEV);
	npu_kqueue_unpark(&npu->kqueue);
}

void npu_watchdog_card_lost_now(struct npu_device *npu)
{
	bool cookie = npu_watchdog_lock(npu);

	npu_watchdog_card_lost(npu);
	npu_watchdog_unlock(npu, cookie);
}

/* The rung that nobody survives with a running job, but every queue does. */
static void npu_card_reset(struct npu_device *npu)
{
	unsigned int id;

	lockdep_assert_held(&npu->watchdog.lock);
	/* Offline: the greater reset does this one's work. */
	if (npu->lost || npu->offline)
		return;
	WRITE_ONCE(npu->watchdog.card_reset_wanted, false);

	drm_notice(&npu->drm, "resetting the card\n");
	trace_npu_reset(npu, "card", -1);
	npu_dump_begin(npu, NULL);
	for (id = 0; id < npu->hwqs; id++)
		if (npu->slots[id])
			npu_hwq_begin_reset(npu->slots[id]);
	atomic64_inc(&npu->card_resets);
	if (npu_hw_reset_card(npu) || npu_hw_start(npu)) {
		npu_function_want_reset(npu);
		return;
	}
	for (id = 0; id < npu->hwqs; id++) {
		struct npu_hwq *hwq = npu->slots[id];

		if (!hwq)
			continue;
		hwq->watch.valid = false;
		npu_hwq_end_reset(hwq);
	}
	npu_kqueue_unpark(&npu->kqueue);
	npu_wedged_send(npu, "none");
}

/* Up the ladder until the oldest packet, @index, ends. */
static void npu_climb(struct npu_hwq *hwq, u64 index)
{
	struct npu_device *npu = hwq->npu;

	atomic64_inc(&npu->job_aborts);
	trace_npu_reset(npu, "abort", hwq->id);
	npu_hwq_command(hwq, NPU_QUEUE_CMD_ABORT_JOB);
	if (npu_wait_retired(hwq, index))
		return;

	trace_npu_reset(npu, "core", hwq->id);
	if (npu_hw_reset_cores_of(npu, hwq->id)) {
		drm_notice(&npu->drm, "queue %u: core reset\n", hwq->id);
		if (npu_wait_retired(hwq, index))
			return;
	}

	npu_card_reset(npu);
	if (!npu->lost && !npu->offline && !npu_wait_retired(hwq, index))
		npu_function_want_reset(npu);
}

/* A running queue makes no progress. */
static void npu_recover(struct npu_hwq *hwq)
{
	struct npu_device *npu = hwq->npu;
	u64 index = npu_hwq_consumer(hwq);

	drm_notice(&npu->drm, "queue %u: packet %llu makes no progress for %u ms\n",
		   hwq->id, index, READ_ONCE(hang_timeout_ms));
	npu_dump_begin(npu, hwq);
	npu_hwq_blame(hwq, NPU_STATUS_HANG);
	npu_climb(hwq, index);
	npu_dump_end(npu, hwq);
}

/*
 * The card found a context, ring or doorbell unusable. What it left behind
 * cannot be trusted: pending packets end with DMA_ERROR, the ring begins anew.
 */
static void npu_recover_ring(struct npu_hwq *hwq)
{
	drm_notice(&hwq->npu->drm, "queue %u: ring error, restarting it\n", hwq->id);
	npu_hwq_command(hwq, NPU_QUEUE_CMD_STOP);
	if (!npu_wait_disabled(hwq)) {
		npu_card_reset(hwq->npu);
		return;
	}
	npu_hwq_process(hwq);
	npu_hwq_restart(hwq, NPU_STATUS_DMA_ERROR);
}

/* One look at one queue. */
static void npu_watch_queue(struct npu_hwq *hwq)
{
	struct npu_device *npu = hwq->npu;
	unsigned long now = jiffies;
	unsigned long passed;
	u64 consumer;

	if (npu_hwq_process(hwq))
		atomic64_inc(&npu->polled);
	if (npu_hwq_idle(hwq)) {
		hwq->watch.valid = false;
		return;
	}

	consumer = npu_hwq_consumer(hwq);
	if (!hwq->watch.valid || hwq->watch.consumer != consumer) {
		hwq->watch.valid = true;
		hwq->watch.heartbeat_valid = false;
		hwq->watch.consumer = consumer;
		hwq->watch.looked = now;
		return;
	}

	/*
	 * A look stands for one period, however long ago the last one was: when card
	 * and processor stood still together, as in a VM that was paused, nothing hung.
	 */
	passed = min(now - hwq->watch.looked, msecs_to_jiffies(NPU_WATCHDOG_PERIOD_MS));
	hwq->watch.looked = now;

	switch (npu_hwq_read(hwq, NPU_QUEUE_STATE)) {
	case NPU_QUEUE_RUNNING: {
		u32 heartbeat = npu_hwq_read(hwq, NPU_QUEUE_HEARTBEAT);

		if (!hwq->watch.heartbeat_valid || heartbeat != hwq->watch.heartbeat) {
			hwq->watch.heartbeat_valid = true;
			hwq->watch.heartbeat = heartbeat;
			hwq->watch.still = 0;
			break;
		}
		hwq->watch.still += passed;
		if (hwq->watch.still > msecs_to_jiffies(READ_ONCE(hang_timeout_ms))) {
			hwq->watch.valid = false;
			npu_recover(hwq);
		}
		break;
	}
	case NPU_QUEUE_ERROR:
		hwq->watch.valid = false;
		npu_recover_ring(hwq);
		break;
	case NPU_QUEUE_IDLE:
	case NPU_QUEUE_DISABLED:
		/* Completed since npu_hwq_process(), or it lost a doorbell or a start. */
		npu_hwq_start(hwq);
		hwq->watch.valid = false;
		break;
	default:
		if (npu_hw_gone(npu)) {
			npu_watchdog_card_lost(npu);
			break;
		}
		/* Waiting and preempted time never counts against a job. */
		hwq->watch.heartbeat_valid = false;
		break;
	}
}

static void npu_watchdog_work(struct work_struct *work)
{
	struct npu_device *npu =
		container_of(to_delayed_work(work), struct npu_device, watchdog.work);
	unsigned int id;
	bool cookie;

	/*
	 * Not inside drm_dev_enter(): drm_dev_unplug() waits for those who wait for
	 * queue 0, which may need this. npu_watchdog_fini() ends it.
	 */
	cookie = npu_watchdog_lock(npu);
	/* The PCI core does not say when it gives up a recovery. */
	if (npu->offline && time_after(jiffies, npu->offline_since + NPU_OFFLINE_LIMIT)) {
		npu->offline = false;
		npu_watchdog_card_lost(npu);
	}
	if (READ_ONCE(npu->watchdog.card_reset_wanted))
		npu_card_reset(npu);
	for (id = 0; id < npu->hwqs && !npu->lost && !npu->offline; id++)
		if (npu->slots[id])
			npu_watch_queue(npu->slots[id]);
	npu_watchdog_unlock(npu, cookie);

	if (READ_ONCE(npu->watchdog.function_reset_wanted))
		npu_function_reset(npu);
	if (atomic_read(&npu->inflight) || READ_ONCE(npu->offline))
		npu_watchdog_arm(npu);
}

/* Looks in a period, unless that is already planned. Any context. */
void npu_watchdog_arm(struct npu_device *npu)
{
	if (!delayed_work_pending(&npu->watchdog.work))
		queue_delayed_work(npu->sched_wq, &npu->watchdog.work,
				   msecs_to_jiffies(NPU_WATCHDOG_PERIOD_MS));
}

/* Looks now. */
void npu_watchdog_kick(struct npu_device *npu)
{
	mod_delayed_work(npu->sched_wq, &npu->watchdog.work, 0);
}

/* Any context. */
void npu_watchdog_want_card_reset(struct npu_device *npu)
{
	WRITE_ONCE(npu->watchdog.card_reset_wanted, true);
	npu_watchdog_kick(npu);
}

void npu_watchdog_card_reset_now(struct npu_device *npu)
{
	bool cookie = npu_watchdog_lock(npu);

	npu_card_reset(npu);
	npu_watchdog_unlock(npu, cookie);
}

/**
 * npu_watchdog_stop_queue - stop a queue for good
 * @hwq: queue; if the device is still there, inside drm_dev_enter() and awake
 * @status: with which pending packets end that did not yet
 * @error: with which it refuses packets from now on
 *
 * Returns when the card no longer touches anything of the queue.
 */
void npu_watchdog_stop_queue(struct npu_hwq *hwq, u32 status, int error)
{
	struct npu_device *npu = hwq->npu;
	bool cookie = npu_watchdog_lock(npu);

	if (!npu->lost && !npu->offline) {
		npu_hwq_command(hwq, NPU_QUEUE_CMD_STOP);
		if (!npu_wait_disabled(hwq)) {
			npu_hw_reset_cores_of(npu, hwq->id);
			npu_hwq_command(hwq, NPU_QUEUE_CMD_STOP);
			if (!npu_wait_disabled(hwq)) {
				WRITE_ONCE(hwq->closed, error);
				npu_card_reset(npu);
			}
		}
		npu_hwq_process(hwq);
	}
	npu_hwq_give_up(hwq, status, error);
	npu_watchdog_unlock(npu, cookie);
}

int npu_watchdog_init(struct npu_device *npu)
{
	INIT_DELAYED_WORK(&npu->watchdog.work, npu_watchdog_work);
	return drmm_mutex_init(&npu->drm, &npu->watchdog.lock);
}

void npu_watchdog_fini(struct npu_device *npu)
{
	disable_delayed_work_sync(&npu->watchdog.work);
}

/* Undoes npu_watchdog_fini(). */
void npu_watchdog_resume(struct npu_device *npu)
{
	enable_delayed_work(&npu->watchdog.work);
}
