/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Properties of the card: its parameters, and faults on demand.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/qdev-properties.h"

#include "npu_targets_generated.h"
#include "npu.h"

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

bool npu_complete_target(NPUState *s, Error **errp)
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
    DEFINE_PROP_UINT32("dma-bits", NPUState, dma_bits, 64),
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
        [NPU_INJECT_AER] = "aer",
        [NPU_INJECT_DROP_RESET] = "drop-reset",
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
    npu_run_sync(s);
}

static bool npu_get_gone(Object *obj, Error **errp)
{
    return NPU(obj)->gone;
}

void npu_properties_init(ObjectClass *class)
{
    device_class_set_props(DEVICE_CLASS(class), npu_properties);
    object_class_property_add_str(class, "inject", NULL, npu_set_inject);
    object_class_property_set_description(class, "inject",
        "arm a fault: KIND[,queue=N][,skip=N][,count=N][,arg=N]");
    object_class_property_add_bool(class, "gone", npu_get_gone, NULL);
}
