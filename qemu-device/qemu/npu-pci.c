/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCIe function: BARs, configuration space, reset, migration. See npu.h for
 * threads and locks.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "hw/pci/msix.h"
#include "hw/pci/pcie.h"
#include "hw/pci/pcie_aer.h"
#include "hw/resettable.h"
#include "migration/vmstate.h"
#include "system/runstate.h"

#include "npu.h"
#include "trace.h"

#define NPU_EXP_CAP 0x80
#define NPU_PM_CAP  0x60
#define NPU_AER_CAP 0x100

/* --- Registers and aperture ----------------------------------------------- */

static uint64_t npu_registers_read(void *opaque, hwaddr offset, unsigned size)
{
    NPUState *s = opaque;
    uint64_t value = UINT64_MAX;

    if (!s->aborting) {
        s->touched = true;
        value = npu_model_read(s->model, offset, size);
    }
    trace_npu_register_read(npu_id(s), offset, size, value);
    return value;
}

static void npu_registers_write(void *opaque, hwaddr offset, uint64_t value,
                                unsigned size)
{
    NPUState *s = opaque;

    trace_npu_register_write(npu_id(s), offset, size, value);
    if (s->aborting) {
        return;
    }
    if (offset >= NPU_QUEUE_PAGE(0) &&
        offset % NPU_PAGE_SIZE == NPU_QUEUE_DOORBELL) {
        trace_npu_doorbell(npu_id(s), (offset - NPU_QUEUE_PAGE(0)) / NPU_PAGE_SIZE,
                           value);
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

/* Surprise removal and bus errors are injected, from here or by the guest. */
bool npu_function_event(void *opaque, enum npu_model_function_event event,
                        uint64_t argument)
{
    NPUState *s = opaque;
    PCIEAERErr error = {
        .status = BIT(argument % 32),
        .source_id = pci_requester_id(PCI_DEVICE(s)),
        .flags = argument < 32 ? 0 : PCIE_AER_ERR_IS_CORRECTABLE,
    };

    trace_npu_function_event(npu_id(s), event, argument);
    s->touched = true;
    switch (event) {
    case NPU_MODEL_FUNCTION_GONE:
        qatomic_set(&s->gone, argument != 0);
        memory_region_set_enabled(&s->absent, s->gone);
        memory_region_set_enabled(&s->absent_msix, s->gone);
        return true;
    case NPU_MODEL_FUNCTION_AER:
        return pcie_aer_inject_error(PCI_DEVICE(s), &error) == 0;
    }
    return false;
}

/*
 * QEMU unmaps the BARs of a function that is not in D0; that it initiates
 * nothing, and goes on where it was in D0, is up to the device.
 */
static void npu_update_power(NPUState *s)
{
    PCIDevice *pci = PCI_DEVICE(s);
    bool asleep = pci_get_word(pci->config + NPU_PM_CAP + PCI_PM_CTRL) &
        PCI_PM_CTRL_STATE_MASK;
    bool master = pci_get_word(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
    bool was_asleep = s->asleep;

    s->asleep = asleep;
    if (asleep && !was_asleep) {
        npu_hold(s, false);
    }
    /* Unmasking a vector in D3hot would send what is pending. */
    memory_region_set_enabled(&pci->bus_master_enable_region,
                              master && !s->asleep);
    if (was_asleep && !asleep) {
        npu_release(s, false);
    }
}

static uint32_t npu_config_read(PCIDevice *pci, uint32_t address, int len)
{
    NPUState *s = NPU(pci);

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
    npu_update_power(s);
    pcie_cap_flr_write_config(pci, address, value, len);
    pcie_aer_write_config(pci, address, value, len);
    if (!mastering &&
        (pci_get_word(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER)) {
        npu_kick(s);
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
    trace_npu_reset(npu_id(s), flr ? "FLR" : "power-on");
    npu_hold(s, true);
    timer_del(s->deadline);
    npu_model_reset(s->model, flr ? NPU_MODEL_RESET_FLR : NPU_MODEL_RESET_POWER);
    s->touched = false;
    pcie_cap_deverr_reset(pci);
    if (s->asleep) {            /* PCI's own reset follows, to D0 */
        s->asleep = false;
        npu_release(s, false);
    }
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
    npu_update_power(s);
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

static bool npu_create_model(NPUState *s, Error **errp)
{
    struct npu_model_config config = {
        .struct_size = sizeof(config),
        .abi = NPU_MODEL_ABI,
        .target = s->target,
        .card_memory = memory_region_get_ram_ptr(&s->card_memory),
        .serial = s->serial,
        .dma_bits = s->dma_bits,
    };
    struct npu_model_host host = npu_host;
    const char *error = NULL;

    host.opaque = s;
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
    memory_region_init_io(&s->absent_msix, OBJECT(s), &npu_absent_ops, s,
                          "npu-absent-msix",
                          memory_region_size(&pci->msix_exclusive_bar));
    memory_region_set_enabled(&s->absent_msix, false);
    memory_region_add_subregion_overlap(&pci->msix_exclusive_bar, 0,
                                        &s->absent_msix, 1);
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
    npu_worker_stop(s);
    g_clear_pointer(&s->model, npu_model_destroy);
    if (pci->exp.aer_cap) {
        pcie_aer_exit(pci);
    }
    if (pci->exp.exp_cap) {
        pcie_cap_exit(pci);
    }
    /* The memory goes when readers are done with it, its name at once. */
    vmstate_unregister_ram(&s->card_memory, DEVICE(s));
    /* A subregion holds a reference to its owner: this very device. */
    memory_region_del_subregion(&s->aperture, &s->window);
    memory_region_del_subregion(&s->aperture, &s->absent);
    if (msix_present(pci)) {
        memory_region_del_subregion(&pci->msix_exclusive_bar, &s->absent_msix);
        msix_uninit_exclusive_bar(pci);
    }
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
    npu_worker_init(s);

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
    npu_worker_start(s);
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
    npu_properties_init(class);
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
