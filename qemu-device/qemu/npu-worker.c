/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread that runs the card model, and what the model asks of its host.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "hw/pci/msix.h"
#include "system/runstate.h"
#if __has_include("system/address-spaces.h")
#include "system/address-spaces.h"
#else
#include "exec/address-spaces.h"    /* before QEMU 10.1 */
#endif

#include "npu.h"
#include "trace.h"

/* --- What the model asks of its host -------------------------------------- */

static enum npu_model_bus npu_dma(NPUState *s, uint64_t address, void *data,
                                  size_t bytes, DMADirection direction)
{
    PCIDevice *pci = PCI_DEVICE(s);
    MemTxAttrs attrs = {
        .memory = 1,            /* RAM only: no peer registers, no APIC page */
        .requester_id = pci_requester_id(pci),
    };
    bool locked = bql_locked(); /* sync mode */
    enum npu_model_bus result;

    if (!locked) {
        bql_lock();
    }
    if (qatomic_read(&s->aborting) || qatomic_read(&s->gone) ||
        !(pci_get_word(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER)) {
        result = NPU_BUS_ABORTED;
    } else if (pci_dma_rw(pci, address, data, bytes, direction, attrs) ==
               MEMTX_OK) {
        result = NPU_BUS_OK;
    } else if (pci_device_iommu_address_space(pci) != &address_space_memory) {
        result = NPU_BUS_IOMMU_FAULT;
    } else {
        result = NPU_BUS_DECODE_ERROR;
    }
    if (!locked) {
        bql_unlock();
    }
    if (result != NPU_BUS_OK) {
        trace_npu_dma_error(npu_id(s), address, bytes,
                            direction == DMA_DIRECTION_FROM_DEVICE, result);
    }
    return result;
}

static enum npu_model_bus npu_host_read(void *opaque, uint64_t address,
                                        void *data, size_t bytes)
{
    return npu_dma(opaque, address, data, bytes, DMA_DIRECTION_TO_DEVICE);
}

static enum npu_model_bus npu_host_write(void *opaque, uint64_t address,
                                         const void *data, size_t bytes)
{
    return npu_dma(opaque, address, (void *)data, bytes,
                   DMA_DIRECTION_FROM_DEVICE);
}

static void npu_host_raise_irq(void *opaque, uint32_t vector)
{
    NPUState *s = opaque;
    bool locked = bql_locked();

    if (!locked) {
        bql_lock();
    }
    if (!qatomic_read(&s->aborting) && !qatomic_read(&s->gone) &&
        vector < s->target.vectors) {
        trace_npu_irq(npu_id(s), vector,
                      msix_is_masked(PCI_DEVICE(s), vector));
        msix_notify(PCI_DEVICE(s), vector);
    }
    if (!locked) {
        bql_unlock();
    }
}

void npu_kick(NPUState *s)
{
    qemu_mutex_lock(&s->lock);
    s->kicked = true;
    qemu_cond_signal(&s->wake);
    qemu_mutex_unlock(&s->lock);
}

static void npu_host_kick(void *opaque)
{
    npu_kick(opaque);
}

static uint64_t npu_host_now_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}

static bool npu_host_cancelled(void *opaque)
{
    NPUState *s = opaque;

    return qatomic_read(&s->hold) != 0;
}

static void npu_host_log(void *opaque, const char *line)
{
    NPUState *s = opaque;

    info_report("%s: %s", npu_id(s), line);
}

static void npu_host_trace(void *opaque, enum npu_model_trace what,
                           uint32_t queue, uint64_t packet, uint64_t value)
{
    NPUState *s = opaque;

    if (what == NPU_MODEL_TRACE_JOB_START) {
        trace_npu_job_start(npu_id(s), queue, packet, value);
    } else {
        trace_npu_packet_end(npu_id(s), queue, packet, value);
    }
}

/* For everything but `opaque`. */
const struct npu_model_host npu_host = {
    .struct_size = sizeof(npu_host),
    .read = npu_host_read,
    .write = npu_host_write,
    .raise_irq = npu_host_raise_irq,
    .kick = npu_host_kick,
    .now_ns = npu_host_now_ns,
    .cancelled = npu_host_cancelled,
    .log = npu_host_log,
    .function_event = npu_function_event,
    .trace = npu_host_trace,
};

/* --- Running the model ---------------------------------------------------- */

/* Nothing else uses the model; true: call again at once. */
static bool npu_run_once(NPUState *s)
{
    uint64_t deadline;

    if (npu_model_run(s->model, 0) == NPU_MODEL_MORE) {
        return true;
    }
    deadline = npu_model_deadline(s->model);
    if (deadline) {
        timer_mod(s->deadline, deadline);
    }
    return false;
}

static void *npu_worker(void *opaque)
{
    NPUState *s = opaque;

    rcu_register_thread();
    qemu_mutex_lock(&s->lock);
    while (!s->quit) {
        if (s->hold || !s->kicked) {
            s->working = false;
            qemu_cond_broadcast(&s->idle);
            qemu_cond_wait(&s->wake, &s->lock);
            continue;
        }
        s->kicked = false;
        s->working = true;
        qemu_mutex_unlock(&s->lock);
        bool more = npu_run_once(s);
        qemu_mutex_lock(&s->lock);
        s->kicked |= more;
    }
    s->working = false;
    qemu_mutex_unlock(&s->lock);
    rcu_unregister_thread();
    return NULL;
}

/* In sync mode the caller is the worker; BQL held. */
void npu_run_sync(NPUState *s)
{
    if (!s->sync || s->working) {
        return;
    }
    s->working = true;
    while (s->kicked && !s->hold) {
        s->kicked = false;
        s->kicked |= npu_run_once(s);
    }
    s->working = false;
}

static void npu_deadline(void *opaque)
{
    NPUState *s = opaque;

    npu_kick(s);
    npu_run_sync(s);
}

/* BQL held; dropped while waiting. On return the worker is idle. */
void npu_hold(NPUState *s, bool abort)
{
    qemu_mutex_lock(&s->lock);
    qatomic_set(&s->hold, s->hold + 1);
    if (abort) {
        qatomic_set(&s->aborting, s->aborting + 1);
    }
    if (s->threaded && s->working) {
        qemu_mutex_unlock(&s->lock);
        bql_unlock();
        qemu_mutex_lock(&s->lock);
        /* Held no more: somebody woke it up from D3hot meanwhile. */
        while (s->working && s->hold) {
            qemu_cond_wait(&s->idle, &s->lock);
        }
        qemu_mutex_unlock(&s->lock);
        bql_lock();
        return;
    }
    qemu_mutex_unlock(&s->lock);
}

void npu_release(NPUState *s, bool abort)
{
    qemu_mutex_lock(&s->lock);
    if (abort) {
        qatomic_set(&s->aborting, s->aborting - 1);
    }
    qatomic_set(&s->hold, s->hold - 1);
    s->kicked = true;           /* a run may have been cut short */
    qemu_cond_signal(&s->wake);
    qemu_mutex_unlock(&s->lock);
    npu_run_sync(s);
}

void npu_worker_init(NPUState *s)
{
    qemu_mutex_init(&s->lock);
    qemu_cond_init(&s->wake);
    qemu_cond_init(&s->idle);
    s->paused = !runstate_is_running();
    s->hold = s->paused;
    s->deadline = timer_new_ns(QEMU_CLOCK_VIRTUAL, npu_deadline, s);
}

void npu_worker_start(NPUState *s)
{
    if (!s->sync) {
        qemu_thread_create(&s->worker, TYPE_NPU, npu_worker, s,
                           QEMU_THREAD_JOINABLE);
        s->threaded = true;
    }
}

void npu_worker_stop(NPUState *s)
{
    if (s->threaded) {
        qemu_mutex_lock(&s->lock);
        s->quit = true;
        qemu_cond_signal(&s->wake);
        qemu_mutex_unlock(&s->lock);
        bql_unlock();
        qemu_thread_join(&s->worker);
        bql_lock();
    }
    timer_free(s->deadline);
    qemu_cond_destroy(&s->idle);
    qemu_cond_destroy(&s->wake);
    qemu_mutex_destroy(&s->lock);
}
