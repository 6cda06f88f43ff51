/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCIe function around the card model (npu_model.h).
 *
 * Threads. Registers are accessed under the big QEMU lock (BQL) and reach the
 * model at once; a worker thread runs the model. The worker computes with no
 * lock and takes the BQL for each DMA chunk, because a translation fault of a
 * vIOMMU raises an interrupt, and for each MSI-X message. Lock order: BQL,
 * then NPUState.lock; the BQL is never taken under NPUState.lock.
 *
 * Reset, unplug and stop come with the BQL held while the worker may be waiting
 * for it. They raise `hold`, drop the BQL until the worker is idle, and take it
 * again; meanwhile a card in reset answers no register access, moves no data
 * and raises no interrupt. D3hot holds the worker in the same way, without
 * ending anything: what runs goes on in D0.
 */
#ifndef HW_NPU_H
#define HW_NPU_H

#include "hw/pci/pci_device.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qom/object.h"

#include "npu/registers.h"
#include "npu_model.h"

#define TYPE_NPU "npu"
OBJECT_DECLARE_SIMPLE_TYPE(NPUState, NPU)

struct NPUState {
    PCIDevice parent_obj;

    MemoryRegion registers;
    MemoryRegion aperture;      /* BAR2: a window on card_memory */
    MemoryRegion window;        /* alias inside aperture */
    MemoryRegion absent;        /* covers it when the card is gone */
    MemoryRegion absent_msix;   /* the same for BAR4 */
    MemoryRegion card_memory;

    /* Properties. */
    char *preset;
    char *name;
    struct npu_target target;
    uint64_t explicit_words;    /* words of target set by the user */
    uint64_t serial;
    uint32_t dma_bits;
    uint32_t aperture_mib;      /* 0: all of card memory */
    char *mode;
    bool sync;

    struct npu_model *model;
    VMChangeStateEntry *vm_state;
    QEMUTimer *deadline;
    QemuThread worker;
    bool threaded;              /* worker exists */

    /* Under lock; hold, aborting and gone are also read without it. */
    QemuMutex lock;
    QemuCond wake;              /* for the worker */
    QemuCond idle;              /* for those who wait for it */
    bool kicked;
    bool working;
    bool quit;
    uint32_t hold;              /* reasons for the worker not to run */
    uint32_t aborting;          /* of those: in reset or leaving */

    bool paused;                /* the machine does not run; BQL */
    bool asleep;                /* not in D0; BQL */
    bool gone;                  /* surprise removal; BQL for writing */
    bool touched;               /* since the last reset; BQL */

    uint8_t *state;             /* of the model, while saving or loading */
    uint32_t state_bytes;
};

/* npu-worker.c: the model's host, and the thread that runs it. */
extern const struct npu_model_host npu_host;
void npu_worker_init(NPUState *s);
void npu_worker_start(NPUState *s);
void npu_worker_stop(NPUState *s);          /* joins it; held by the caller */
void npu_kick(NPUState *s);
void npu_run_sync(NPUState *s);
void npu_hold(NPUState *s, bool abort);
void npu_release(NPUState *s, bool abort);

/* npu-properties.c: parameters of the card, fault injection. */
void npu_properties_init(ObjectClass *class);
bool npu_complete_target(NPUState *s, Error **errp);

/* npu-pci.c */
bool npu_function_event(void *opaque, enum npu_model_function_event event,
                        uint64_t argument);

/* For messages and trace events. */
static inline const char *npu_id(NPUState *s)
{
    return DEVICE(s)->id ?: TYPE_NPU;
}

#endif
