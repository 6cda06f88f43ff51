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
 * and raises no interrupt.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pcie.h"
#include "hw/pci/pcie_aer.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "hw/resettable.h"
#include "migration/vmstate.h"
#include "system/runstate.h"
#include "qom/object.h"
#if __has_include("system/address-spaces.h")
#include "system/address-spaces.h"
#else
#include "exec/address-spaces.h"    /* before QEMU 10.1 */
#endif

#include "npu/registers.h"
#include "npu_model.h"
#include "npu_targets_generated.h"

#define TYPE_NPU "npu"
OBJECT_DECLARE_SIMPLE_TYPE(NPUState, NPU)

#define NPU_EXP_CAP 0x80
#define NPU_PM_CAP  0x60
#define NPU_AER_CAP 0x100

struct NPUState {
    PCIDevice parent_obj;

    MemoryRegion registers;
    MemoryRegion aperture;      /* BAR2: a window on card_memory */
    MemoryRegion window;        /* alias inside aperture */
    MemoryRegion absent;        /* covers it when the card is gone */
    MemoryRegion card_memory;

    /* Properties. */
    char *preset;
    char *name;
    struct npu_target target;
    uint64_t explicit_words;    /* words of target set by the user */
    uint64_t serial;
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
    bool gone;                  /* surprise removal; BQL for writing */
    bool touched;               /* since the last reset; BQL */

    uint8_t *state;             /* of the model, while saving or loading */
    uint32_t state_bytes;
};

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
        msix_notify(PCI_DEVICE(s), vector);
    }
    if (!locked) {
        bql_unlock();
    }
}

static void npu_host_kick(void *opaque)
{
    NPUState *s = opaque;

    qemu_mutex_lock(&s->lock);
    s->kicked = true;
    qemu_cond_signal(&s->wake);
    qemu_mutex_unlock(&s->lock);
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

    info_report("%s: %s", DEVICE(s)->id ?: TYPE_NPU, line);
}

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
static void npu_run_sync(NPUState *s)
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

    npu_host_kick(s);
    npu_run_sync(s);
}

/* BQL held; dropped while waiting. On return the worker is idle. */
static void npu_hold(NPUState *s, bool abort)
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
        while (s->working) {
            qemu_cond_wait(&s->idle, &s->lock);
        }
        qemu_mutex_unlock(&s->lock);
        bql_lock();
        return;
    }
    qemu_mutex_unlock(&s->lock);
}

static void npu_release(NPUState *s, bool abort)
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

/* --- Registers and aperture ----------------------------------------------- */

static uint64_t npu_registers_read(void *opaque, hwaddr offset, unsigned size)
{
    NPUState *s = opaque;

    if (s->aborting) {
        return UINT64_MAX;
    }
    s->touched = true;
    return npu_model_read(s->model, offset, size);
}

static void npu_registers_write(void *opaque, hwaddr offset, uint64_t value,
                                unsigned size)
{
    NPUState *s = opaque;

    if (s->aborting) {
        return;
    }
    s->touched = true;
    npu_model_write(s->model, offset, value, size);
    npu_run_sync(s);
}

/* The model answers for a register access of any width and alignment. */
static const MemoryRegionOps npu_registers_ops = {
    .read = npu_registers_read,
    .write = npu_registers_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
    .impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};

static uint64_t npu_absent_read(void *opaque, hwaddr offset, unsigned size)
{
    return UINT64_MAX;
}

static void npu_absent_write(void *opaque, hwaddr offset, uint64_t value,
                             unsigned size)
{
}

static const MemoryRegionOps npu_absent_ops = {
    .read = npu_absent_read,
    .write = npu_absent_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
    .impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};

/* --- Configuration space -------------------------------------------------- */

/* The model is told to leave the bus by injection, here or by the guest. */
static void npu_check_gone(NPUState *s)
{
    bool gone;

    if (s->aborting || !s->model) {
        return;
    }
    gone = npu_model_read(s->model, NPU_REG_MAGIC, 4) != NPU_MAGIC;
    if (gone != s->gone) {
        qatomic_set(&s->gone, gone);
        memory_region_set_enabled(&s->absent, gone);
    }
}

static uint32_t npu_config_read(PCIDevice *pci, uint32_t address, int len)
{
    NPUState *s = NPU(pci);

    npu_check_gone(s);
    return s->gone ? UINT32_MAX : pci_default_read_config(pci, address, len);
}

static void npu_config_write(PCIDevice *pci, uint32_t address, uint32_t value,
                             int len)
{
    NPUState *s = NPU(pci);
    bool mastering;

    if (s->gone) {
        return;
    }
    mastering = pci_get_word(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
    object_ref(OBJECT(s));      /* a reset lets others run, who may unplug */
    s->touched = true;
    pci_default_write_config(pci, address, value, len);
    pcie_cap_flr_write_config(pci, address, value, len);
    pcie_aer_write_config(pci, address, value, len);
    if (!mastering &&
        (pci_get_word(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER)) {
        npu_host_kick(s);
    }
    object_unref(OBJECT(s));
}

/* --- Reset, stop and resume ----------------------------------------------- */

static void npu_reset_hold(Object *obj, ResetType type)
{
    NPUState *s = NPU(obj);
    PCIDevice *pci = PCI_DEVICE(obj);
    bool flr = pci_get_word(pci->config + pci->exp.exp_cap + PCI_EXP_DEVCTL) &
        PCI_EXP_DEVCTL_BCR_FLR;

    if (!s->model || !s->touched) {
        return;                 /* as new; wiping card memory takes time */
    }
    npu_hold(s, true);
    timer_del(s->deadline);
    npu_model_reset(s->model, flr ? NPU_MODEL_RESET_FLR : NPU_MODEL_RESET_POWER);
    s->touched = false;
    qatomic_set(&s->gone, false);
    memory_region_set_enabled(&s->absent, false);
    npu_release(s, true);
}

static void npu_vm_state_change(void *opaque, bool running, RunState state)
{
    NPUState *s = opaque;

    if (running == !s->paused) {
        return;
    }
    s->paused = !running;
    if (running) {
        npu_release(s, false);
    } else {
        npu_hold(s, false);
        /* The model writes card memory behind QEMU's dirty tracking. */
        memory_region_set_dirty(&s->card_memory, 0,
                                memory_region_size(&s->card_memory));
    }
}

static int npu_pre_save(void *opaque)
{
    NPUState *s = opaque;

    s->state_bytes = npu_model_save(s->model, NULL, 0);
    s->state = g_realloc(s->state, s->state_bytes);
    if (npu_model_save(s->model, s->state, s->state_bytes) == 0) {
        error_report("npu: the state of the card could not be saved");
        return -EIO;
    }
    return 0;
}

static int npu_post_load(void *opaque, int version)
{
    NPUState *s = opaque;
    bool loaded = npu_model_load(s->model, s->state, s->state_bytes);

    g_clear_pointer(&s->state, g_free);
    if (!loaded) {
        error_report("npu: the saved state is not that of this card");
        return -EINVAL;
    }
    s->touched = true;
    npu_check_gone(s);
    return 0;
}

static int npu_post_save(void *opaque)
{
    NPUState *s = opaque;

    g_clear_pointer(&s->state, g_free);
    return 0;
}

static const VMStateDescription npu_vmstate = {
    .name = TYPE_NPU,
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = npu_pre_save,
    .post_save = npu_post_save,
    .post_load = npu_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, NPUState),
        VMSTATE_MSIX(parent_obj, NPUState),
        VMSTATE_UINT32(state_bytes, NPUState),
        VMSTATE_VBUFFER_ALLOC_UINT32(state, NPUState, 1, NULL, state_bytes),
        VMSTATE_END_OF_LIST()
    },
};

/* --- Life ----------------------------------------------------------------- */

static const struct npu_target *npu_find_preset(const char *name)
{
    if (!name) {
        return &npu_target_configured;
    }
    for (int i = 0; i < NPU_TARGET_PRESETS; i++) {
        if (!strcmp(name, npu_target_presets[i].name)) {
            return &npu_target_presets[i];
        }
    }
    return NULL;
}

static bool npu_complete_target(NPUState *s, Error **errp)
{
    const struct npu_target *preset = npu_find_preset(s->preset);
    const char *name = s->name;
    uint32_t *words = (uint32_t *)&s->target;

    if (!preset) {
        error_setg(errp, "npu: no preset '%s'; there are card and edge",
                   s->preset);
        return false;
    }
    name = name ?: preset->name;
    if (!*name || strlen(name) >= sizeof(s->target.name)) {
        error_setg(errp, "npu: name must have 1 to %zu characters",
                   sizeof(s->target.name) - 1);
        return false;
    }
    for (int i = 0; i < NPU_TARGET_WORDS; i++) {
        if (!(s->explicit_words & BIT_ULL(i))) {
            words[i] = ((const uint32_t *)preset)[i];
        }
    }
    strpadcpy(s->target.name, sizeof(s->target.name), name, 0);
    return true;
}

static bool npu_create_model(NPUState *s, Error **errp)
{
    struct npu_model_config config = {
        .struct_size = sizeof(config),
        .abi = NPU_MODEL_ABI,
        .target = s->target,
        .card_memory = memory_region_get_ram_ptr(&s->card_memory),
        .serial = s->serial,
    };
    struct npu_model_host host = {
        .struct_size = sizeof(host),
        .opaque = s,
        .read = npu_host_read,
        .write = npu_host_write,
        .raise_irq = npu_host_raise_irq,
        .kick = npu_host_kick,
        .now_ns = npu_host_now_ns,
        .cancelled = npu_host_cancelled,
        .log = npu_host_log,
    };
    const char *error = NULL;

    if (!s->mode || !strcmp(s->mode, "full")) {
        config.mode = NPU_MODEL_FULL;
    } else if (!strcmp(s->mode, "function")) {
        config.mode = NPU_MODEL_FUNCTION_ONLY;
    } else if (!strcmp(s->mode, "timing")) {
        config.mode = NPU_MODEL_TIMING_ONLY;
    } else {
        error_setg(errp, "npu: mode must be full, function or timing");
        return false;
    }
    s->model = npu_model_create(&config, &host, &error);
    if (!s->model) {
        error_setg(errp, "npu: %s", error ?: "the model could not be created");
    }
    return s->model != NULL;
}

static bool npu_add_capabilities(NPUState *s, Error **errp)
{
    PCIDevice *pci = PCI_DEVICE(s);

    if (msix_init_exclusive_bar(pci, s->target.vectors, NPU_BAR_MSIX, errp)) {
        return false;
    }
    for (int i = 0; i < s->target.vectors; i++) {
        msix_vector_use(pci, i);
    }
    if (pci_pm_init(pci, NPU_PM_CAP, errp) < 0) {
        return false;
    }
    pci_set_word(pci->config + NPU_PM_CAP + PCI_PM_PMC, PCI_PM_CAP_VER_1_2);
    /* Nothing is lost in D3hot. */
    pci_set_word(pci->config + NPU_PM_CAP + PCI_PM_CTRL,
                 PCI_PM_CTRL_NO_SOFT_RESET);
    pci_set_word(pci->wmask + NPU_PM_CAP + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
    if (pcie_endpoint_cap_init(pci, NPU_EXP_CAP) < 0) {
        error_setg(errp, "npu: no PCI Express capability on this bus");
        return false;
    }
    pcie_cap_flr_init(pci);
    pcie_cap_deverr_init(pci);
    return pcie_aer_init(pci, PCI_ERR_VER, NPU_AER_CAP, PCI_ERR_SIZEOF,
                         errp) >= 0;
}

static void npu_exit(PCIDevice *pci)
{
    NPUState *s = NPU(pci);

    g_clear_pointer(&s->vm_state, qemu_del_vm_change_state_handler);
    npu_hold(s, true);
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
    g_clear_pointer(&s->model, npu_model_destroy);
    if (pci->exp.aer_cap) {
        pcie_aer_exit(pci);
    }
    if (pci->exp.exp_cap) {
        pcie_cap_exit(pci);
    }
    msix_uninit_exclusive_bar(pci);
    qemu_cond_destroy(&s->idle);
    qemu_cond_destroy(&s->wake);
    qemu_mutex_destroy(&s->lock);
    g_free(s->state);
}

static void npu_realize(PCIDevice *pci, Error **errp)
{
    NPUState *s = NPU(pci);
    uint64_t memory, aperture;

    if (!npu_complete_target(s, errp)) {
        return;
    }
    if (s->target.vectors < 1 || s->target.vectors > 64 ||
        s->target.card_memory_mib < 1 || s->target.card_memory_mib > 65536) {
        error_setg(errp, "npu: vectors must be 1 to 64 and card-memory-mib "
                   "1 to 65536");
        return;
    }
    memory = (uint64_t)s->target.card_memory_mib << 20;
    aperture = (uint64_t)s->aperture_mib << 20 ?: pow2ceil(memory);
    if (!is_power_of_2(aperture) || aperture > pow2ceil(memory)) {
        error_setg(errp, "npu: aperture-mib must be a power of two, at most "
                   "card memory");
        return;
    }
    if (!memory_region_init_ram(&s->card_memory, OBJECT(s), "npu-card-memory",
                                memory, errp)) {
        return;
    }
    qemu_mutex_init(&s->lock);
    qemu_cond_init(&s->wake);
    qemu_cond_init(&s->idle);
    s->paused = !runstate_is_running();
    s->hold = s->paused;
    s->deadline = timer_new_ns(QEMU_CLOCK_VIRTUAL, npu_deadline, s);

    memory_region_init_io(&s->registers, OBJECT(s), &npu_registers_ops, s,
                          "npu-registers", NPU_BAR_REGISTERS_SIZE);
    pci_register_bar(pci, NPU_BAR_REGISTERS, PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_TYPE_64, &s->registers);
    memory_region_init(&s->aperture, OBJECT(s), "npu-aperture", aperture);
    memory_region_init_alias(&s->window, OBJECT(s), "npu-window",
                             &s->card_memory, 0, MIN(aperture, memory));
    memory_region_add_subregion(&s->aperture, 0, &s->window);
    memory_region_init_io(&s->absent, OBJECT(s), &npu_absent_ops, s,
                          "npu-absent", aperture);
    memory_region_set_enabled(&s->absent, false);
    memory_region_add_subregion_overlap(&s->aperture, 0, &s->absent, 1);
    pci_register_bar(pci, NPU_BAR_APERTURE, PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_TYPE_64 |
                     PCI_BASE_ADDRESS_MEM_PREFETCH, &s->aperture);

    if (!npu_create_model(s, errp) || !npu_add_capabilities(s, errp)) {
        npu_exit(pci);
        return;
    }
    s->vm_state = qemu_add_vm_change_state_handler(npu_vm_state_change, s);
    if (!s->sync) {
        qemu_thread_create(&s->worker, TYPE_NPU, npu_worker, s,
                           QEMU_THREAD_JOINABLE);
        s->threaded = true;
    }
}

/* --- Properties ----------------------------------------------------------- */

/* A word of struct npu_target; remembers that it was set explicitly. */
static void npu_param_get(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    visit_type_uint32(v, name, object_field_prop_ptr(obj, opaque), errp);
}

static void npu_param_set(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    NPUState *s = NPU(obj);
    uint32_t *word = object_field_prop_ptr(obj, opaque);

    if (visit_type_uint32(v, name, word, errp)) {
        s->explicit_words |= BIT_ULL(word - (uint32_t *)&s->target);
    }
}

static void npu_param_default(ObjectProperty *op, const Property *prop)
{
    object_property_set_default_uint(op, prop->defval.u);
}

static const PropertyInfo npu_param = {
    .type = "uint32",
    .get = npu_param_get,
    .set = npu_param_set,
    .set_default_value = npu_param_default,
};

#define NPU_PARAM(name, field, value) \
    DEFINE_PROP_UNSIGNED(name, NPUState, target.field, value, npu_param, \
                         uint32_t),

static const Property npu_properties[] = {
    DEFINE_PROP_STRING("preset", NPUState, preset),
    DEFINE_PROP_STRING("name", NPUState, name),
    NPU_TARGET_PARAMETERS(NPU_PARAM)
    DEFINE_PROP_UINT64("serial", NPUState, serial, 1),
    DEFINE_PROP_UINT32("aperture-mib", NPUState, aperture_mib, 0),
    DEFINE_PROP_STRING("mode", NPUState, mode),
    DEFINE_PROP_BOOL("sync", NPUState, sync, false),
};

/*
 * Fault injection: qom-set PATH inject "KIND[,queue=N][,skip=N][,count=N][,arg=N]"
 */
static void npu_set_inject(Object *obj, const char *value, Error **errp)
{
    static const char *const kinds[NPU_INJECT_KINDS] = {
        [NPU_INJECT_CLEAR] = "clear",
        [NPU_INJECT_HANG] = "hang",
        [NPU_INJECT_LOST_INTERRUPT] = "lost-interrupt",
        [NPU_INJECT_LATE_INTERRUPT] = "late-interrupt",
        [NPU_INJECT_ECC] = "ecc",
        [NPU_INJECT_DMA_ERROR] = "dma-error",
        [NPU_INJECT_DROP_TLB_INVALIDATE] = "drop-tlb-invalidate",
        [NPU_INJECT_THERMAL_TRIP] = "thermal-trip",
        [NPU_INJECT_GONE] = "gone",
    };
    NPUState *s = NPU(obj);
    g_auto(GStrv) words = g_strsplit(value, ",", -1);
    uint64_t queue = NPU_INJECT_ANY_QUEUE, skip = 0, count = 1, arg = 0;
    int kind = 0;

    if (!s->model) {
        error_setg(errp, "npu: faults can be injected once the card is there");
        return;
    }
    while (kind < NPU_INJECT_KINDS && g_strcmp0(words[0], kinds[kind])) {
        kind++;
    }
    for (int i = 1; kind < NPU_INJECT_KINDS && words[i]; i++) {
        char *equals = strchr(words[i], '=');
        uint64_t *field;

        field = g_str_has_prefix(words[i], "queue=") ? &queue :
                g_str_has_prefix(words[i], "skip=") ? &skip :
                g_str_has_prefix(words[i], "count=") ? &count :
                g_str_has_prefix(words[i], "arg=") ? &arg : NULL;
        if (!field || qemu_strtou64(equals + 1, NULL, 0, field)) {
            error_setg(errp, "npu: '%s' is not queue=, skip=, count= or arg= "
                       "and a number", words[i]);
            return;
        }
    }
    if (kind == NPU_INJECT_KINDS || queue > UINT32_MAX || skip > UINT32_MAX ||
        count > UINT32_MAX ||
        !npu_model_inject(s->model, kind, queue, skip, count, arg)) {
        error_setg(errp, "npu: cannot inject '%s'", value);
        return;
    }
    npu_check_gone(s);
    npu_run_sync(s);
}

static bool npu_get_gone(Object *obj, Error **errp)
{
    NPUState *s = NPU(obj);

    npu_check_gone(s);
    return s->gone;
}

static void npu_instance_init(Object *obj)
{
    /* Defaults have been set through the same setters. */
    NPU(obj)->explicit_words = 0;
}

static void npu_class_init(ObjectClass *class, void *data)
{
    DeviceClass *device = DEVICE_CLASS(class);
    PCIDeviceClass *pci = PCI_DEVICE_CLASS(class);
    ResettableClass *reset = RESETTABLE_CLASS(class);

    device->desc = "PCIe INT8 neural processing card";
    device->vmsd = &npu_vmstate;
    device_class_set_props(device, npu_properties);
    set_bit(DEVICE_CATEGORY_MISC, device->categories);
    reset->phases.hold = npu_reset_hold;
    pci->realize = npu_realize;
    pci->exit = npu_exit;
    pci->config_read = npu_config_read;
    pci->config_write = npu_config_write;
    pci->vendor_id = NPU_PCI_VENDOR_ID;
    pci->device_id = NPU_PCI_DEVICE_ID;
    pci->class_id = NPU_PCI_CLASS;
    pci->revision = NPU_VERSION_MAJOR;
    object_class_property_add_str(class, "inject", NULL, npu_set_inject);
    object_class_property_set_description(class, "inject",
        "arm a fault: KIND[,queue=N][,skip=N][,count=N][,arg=N]");
    object_class_property_add_bool(class, "gone", npu_get_gone, NULL);
}

static const TypeInfo npu_info = {
    .name = TYPE_NPU,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(NPUState),
    .instance_init = npu_instance_init,
    .class_init = npu_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_PCIE_DEVICE },
        { }
    },
};

static void npu_register_types(void)
{
    type_register_static(&npu_info);
}

type_init(npu_register_types)
