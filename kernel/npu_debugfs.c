// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Files for root in /sys/kernel/debug/accel/<PCI address>/:
 *   inject    write "kind=hang queue=1 skip=0 count=1 arg=0" to arm a fault
 *   reset     write "card" or "function" for that reset, as the watchdog does it
 *   state     the driver's counts, and each queue's registers
 *   memory    card memory, as drm_buddy sees it
 */
#include <linux/debugfs.h>
#include <linux/parser.h>
#include <linux/seq_file.h>
#include <linux/string.h>

#include "npu_debugfs.h"
#include "npu_device.h"
#include "npu_hwq.h"
#include "npu_pm.h"
#include "npu_reset.h"
#include "npu_vm.h"
#include "npu_watchdog.h"

/* ---- inject ---- */

/* In the order of enum npu_inject_kind. */
static const char * const npu_inject_kinds[] = {
	[NPU_INJECT_CLEAR] = "clear",
	[NPU_INJECT_HANG] = "hang",
	[NPU_INJECT_LOST_INTERRUPT] = "lost_interrupt",
	[NPU_INJECT_LATE_INTERRUPT] = "late_interrupt",
	[NPU_INJECT_ECC] = "ecc",
	[NPU_INJECT_DMA_ERROR] = "dma_error",
	[NPU_INJECT_DROP_TLB_INVALIDATE] = "drop_tlb_invalidate",
	[NPU_INJECT_THERMAL_TRIP] = "thermal_trip",
	[NPU_INJECT_GONE] = "gone",
	[NPU_INJECT_AER] = "aer",
	[NPU_INJECT_DROP_RESET] = "drop_reset",
};

struct npu_inject {
	u32 kind;
	u32 queue;
	u32 skip;
	u32 count;
	u64 arg;
};

static int npu_inject_word(struct npu_inject *inject, char *word)
{
	char *value = strchr(word, '=');

	if (!value)
		return -EINVAL;
	*value++ = '\0';
	if (!strcmp(word, "kind")) {
		int kind = match_string(npu_inject_kinds, ARRAY_SIZE(npu_inject_kinds), value);

		if (kind < 0)
			return -EINVAL;
		inject->kind = kind;
		return 0;
	}
	if (!strcmp(word, "queue"))
		return kstrtou32(value, 0, &inject->queue);
	if (!strcmp(word, "skip"))
		return kstrtou32(value, 0, &inject->skip);
	if (!strcmp(word, "count"))
		return kstrtou32(value, 0, &inject->count);
	if (!strcmp(word, "arg"))
		return kstrtou64(value, 0, &inject->arg);
	return -EINVAL;
}

static ssize_t npu_inject_write(struct file *file, const char __user *data, size_t bytes,
				loff_t *offset)
{
	struct npu_device *npu = file->private_data;
	struct npu_inject inject = {
		.kind = NPU_INJECT_KINDS,
		.queue = NPU_INJECT_ANY_QUEUE,
		.count = 1,
	};
	char text[160];
	char *rest = text;
	char *word;
	bool cookie;
	int ret;
	int idx;

	BUILD_BUG_ON(ARRAY_SIZE(npu_inject_kinds) != NPU_INJECT_KINDS);
	if (bytes >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, data, bytes))
		return -EFAULT;
	text[bytes] = '\0';
	while ((word = strsep(&rest, "\t\n "))) {
		if (!*word)
			continue;
		ret = npu_inject_word(&inject, word);
		if (ret)
			return ret;
	}
	if (inject.kind == NPU_INJECT_KINDS)
		return -EINVAL;
	if (!(npu->features & NPU_FEATURE_INJECT))
		return -EOPNOTSUPP;

	ret = npu_use_begin(npu, &idx);
	if (ret)
		return ret;
	cookie = npu_watchdog_lock(npu);
	npu_write(npu, NPU_REG_INJECT_COUNT, inject.count);
	npu_write(npu, NPU_REG_INJECT_SKIP, inject.skip);
	npu_write(npu, NPU_REG_INJECT_QUEUE, inject.queue);
	npu_write64(npu, NPU_REG_INJECT_ARG, inject.arg);
	npu_write(npu, NPU_REG_INJECT_KIND, inject.kind);
	npu_watchdog_unlock(npu, cookie);
	npu_use_end(npu, idx);
	return bytes;
}

static const struct file_operations npu_inject_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = npu_inject_write,
	.llseek = noop_llseek,
};

/* ---- reset ---- */

static ssize_t npu_reset_write(struct file *file, const char __user *data, size_t bytes,
			       loff_t *offset)
{
	struct npu_device *npu = file->private_data;
	char text[16] = {};
	bool function;
	bool cookie;
	int ret;
	int idx;

	if (bytes >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, data, bytes))
		return -EFAULT;
	function = !strcmp(strim(text), "function");
	if (!function && strcmp(strim(text), "card"))
		return -EINVAL;
	ret = npu_use_begin(npu, &idx);
	if (ret)
		return ret;
	if (function) {
		cookie = npu_watchdog_lock(npu);
		npu_function_want_reset(npu);
		npu_watchdog_unlock(npu, cookie);
	} else {
		npu_watchdog_card_reset_now(npu);
	}
	npu_use_end(npu, idx);
	return bytes;
}

static const struct file_operations npu_reset_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = npu_reset_write,
	.llseek = noop_llseek,
};

/* ---- state ---- */

static void npu_state_queue(struct seq_file *seq, struct npu_hwq *hwq)
{
	u32 page = NPU_QUEUE_PAGE(hwq->id);
	struct npu_device *npu = hwq->npu;

	seq_printf(seq, "queue %u: state %u producer %llu consumer %llu closed %d, card: producer %llu consumer %llu cycles %llu interrupts %u preempted %u waited %llu\n",
		   hwq->id, npu_read(npu, page + NPU_QUEUE_STATE), hwq->producer,
		   hwq->consumer, hwq->closed, npu_read64(npu, page + NPU_QUEUE_PRODUCER),
		   npu_read64(npu, page + NPU_QUEUE_CONSUMER),
		   npu_read64(npu, page + NPU_QUEUE_CYCLES),
		   npu_read(npu, page + NPU_QUEUE_COUNT_IRQ),
		   npu_read(npu, page + NPU_QUEUE_PREEMPTIONS),
		   npu_read64(npu, page + NPU_QUEUE_WAITED));
}

static int npu_state_show(struct seq_file *seq, void *unused)
{
	struct npu_device *npu = seq->private;
	struct npu_vm *vm;
	unsigned int i;
	bool cookie;
	int idx;

	seq_printf(seq, "buffers %d vms %d queues %d fences %d inflight %d\n",
		   atomic_read(&npu->buffers), atomic_read(&npu->vm_count),
		   atomic_read(&npu->queue_count), atomic_read(&npu->fence_count),
		   atomic_read(&npu->inflight));
	seq_printf(seq, "jobs %llu faults %llu events %llu polled %llu core_resets %llu card_resets %llu lost %d job_aborts %llu function_resets %llu\n",
		   (u64)atomic64_read(&npu->jobs), (u64)atomic64_read(&npu->faults),
		   (u64)atomic64_read(&npu->event_count), (u64)atomic64_read(&npu->polled),
		   (u64)atomic64_read(&npu->core_resets),
		   (u64)atomic64_read(&npu->card_resets), npu->lost,
		   (u64)atomic64_read(&npu->job_aborts),
		   (u64)atomic64_read(&npu->function_resets));

	if (npu_use_begin(npu, &idx))
		return 0;
	cookie = npu_watchdog_lock(npu);
	for (i = 0; i < npu->target.cores; i++)
		seq_printf(seq, "core %u: state %#x heartbeat %u command %u\n", i,
			   npu_read(npu, NPU_REG_CORE(i, NPU_CORE_STATE)),
			   npu_read(npu, NPU_REG_CORE(i, NPU_CORE_HEARTBEAT)),
			   npu_read(npu, NPU_REG_CORE(i, NPU_CORE_COMMAND)));
	for (i = 0; i < npu->hwqs; i++)
		if (npu->slots[i])
			npu_state_queue(seq, npu->slots[i]);
	npu_watchdog_unlock(npu, cookie);

	mutex_lock(&npu->vms_lock);
	list_for_each_entry(vm, &npu->vms, node)
		seq_printf(seq, "space %u: tables %u\n", vm->mmu.asid,
			   READ_ONCE(vm->mmu.tables));
	mutex_unlock(&npu->vms_lock);
	npu_use_end(npu, idx);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(npu_state);

/* ---- memory ---- */

static int npu_memory_show(struct seq_file *seq, void *unused)
{
	struct npu_device *npu = seq->private;
	struct drm_printer printer = drm_seq_file_printer(seq);

	ttm_resource_manager_debug(&npu->vram.manager, &printer);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(npu_memory);

void npu_debugfs_init(struct npu_device *npu)
{
	struct dentry *root = npu->drm.debugfs_root;

	debugfs_create_file("inject", 0200, root, npu, &npu_inject_fops);
	debugfs_create_file("reset", 0200, root, npu, &npu_reset_fops);
	debugfs_create_file("state", 0400, root, npu, &npu_state_fops);
	debugfs_create_file("memory", 0400, root, npu, &npu_memory_fops);
}
