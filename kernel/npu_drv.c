// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The module: PCI probe and remove, open files, the list of ioctls. */
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include <drm/drm_accel.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>

#include "npu_bo.h"
#include "npu_debugfs.h"
#include "npu_device.h"
#include "npu_fdinfo.h"
#include "npu_file.h"
#include "npu_hw.h"
#include "npu_hwmon.h"
#include "npu_irq.h"
#include "npu_job.h"
#include "npu_pm.h"
#include "npu_query.h"
#include "npu_queue.h"
#include "npu_reset.h"
#include "npu_sched.h"
#include "npu_sysfs.h"
#include "npu_vm.h"
#include "npu_watchdog.h"

struct workqueue_struct *npu_release_wq;

/* Queues and spaces that npu_release_wq will free; the module waits for them. */
static atomic_t npu_deferred;

void npu_deferred_get(void)
{
	atomic_inc(&npu_deferred);
}

void npu_deferred_put(void)
{
	if (atomic_dec_and_test(&npu_deferred))
		wake_up_var(&npu_deferred);
}

/* ---- Fences ---- */

void npu_fence_hold(void)
{
	__module_get(THIS_MODULE);
}

void npu_fence_release(struct dma_fence *fence)
{
	/* Unloading waits for readers: it cannot overtake the return from here. */
	rcu_read_lock();
	dma_fence_free(fence);
	module_put(THIS_MODULE);
	rcu_read_unlock();
}

/* ---- Open files ---- */

struct npu_file *npu_file_get(struct npu_file *nfile)
{
	kref_get(&nfile->kref);
	return nfile;
}

static void npu_file_release(struct kref *kref)
{
	kfree(container_of(kref, struct npu_file, kref));
}

void npu_file_put(struct npu_file *nfile)
{
	kref_put(&nfile->kref, npu_file_release);
}

static int npu_open(struct drm_device *drm, struct drm_file *file)
{
	struct npu_file *nfile = kzalloc(sizeof(*nfile), GFP_KERNEL_ACCOUNT);

	if (!nfile)
		return -ENOMEM;
	kref_init(&nfile->kref);
	spin_lock_init(&nfile->lock);
	xa_init_flags(&nfile->vms, XA_FLAGS_ALLOC);
	xa_init_flags(&nfile->queues, XA_FLAGS_ALLOC);
	file->driver_priv = nfile;
	return 0;
}

static void npu_postclose(struct drm_device *drm, struct drm_file *file)
{
	struct npu_file *nfile = file->driver_priv;

	npu_queue_close_file(nfile);
	npu_vm_close_file(nfile);
	npu_file_put(nfile);
}

/* ---- The driver ---- */

#define NPU_IOCTL(n, f) DRM_IOCTL_DEF_DRV(NPU_##n, npu_##f##_ioctl, 0)

static const struct drm_ioctl_desc npu_ioctls[] = {
	NPU_IOCTL(DEV_QUERY, dev_query),
	NPU_IOCTL(BO_CREATE, bo_create),
	NPU_IOCTL(BO_MMAP_OFFSET, bo_mmap_offset),
	NPU_IOCTL(VM_CREATE, vm_create),
	NPU_IOCTL(VM_DESTROY, vm_destroy),
	NPU_IOCTL(VM_BIND, vm_bind),
	NPU_IOCTL(QUEUE_CREATE, queue_create),
	NPU_IOCTL(QUEUE_DESTROY, queue_destroy),
	NPU_IOCTL(QUEUE_STATE, queue_state),
	NPU_IOCTL(SUBMIT, submit),
};

/*
 * What a longer struct of a later version says must be zero: it asks for
 * something that is not known here. DRM's core would drop it silently.
 */
static int npu_check_tail(unsigned int cmd, unsigned long arg)
{
	unsigned int nr = _IOC_NR(cmd) - DRM_COMMAND_BASE;
	size_t known;
	int ret;

	if (_IOC_TYPE(cmd) != DRM_IOCTL_BASE || nr >= ARRAY_SIZE(npu_ioctls))
		return 0;
	known = _IOC_SIZE(npu_ioctls[array_index_nospec(nr, ARRAY_SIZE(npu_ioctls))].cmd);
	if (_IOC_SIZE(cmd) <= known || !(_IOC_DIR(cmd) & _IOC_WRITE))
		return 0;
	ret = check_zeroed_user((void __user *)arg + known, _IOC_SIZE(cmd) - known);
	if (ret < 0)
		return ret;
	return ret ? 0 : -EINVAL;
}

static long npu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return npu_check_tail(cmd, arg) ?: drm_ioctl(file, cmd, arg);
}

#ifdef CONFIG_COMPAT
/* Layouts are the same; the core's own calls differ. */
static long npu_compat_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return npu_check_tail(cmd, arg) ?: drm_compat_ioctl(file, cmd, arg);
}
#else
#define npu_compat_ioctl NULL
#endif

/* DRM_ACCEL_FOPS spelled out, for the ioctls and show_fdinfo. */
static const struct file_operations npu_fops = {
	.owner = THIS_MODULE,
	.open = accel_open,
	.release = drm_release,
	.unlocked_ioctl = npu_ioctl,
	.compat_ioctl = npu_compat_ioctl,
	.poll = drm_poll,
	.read = drm_read,
	.llseek = noop_llseek,
	.mmap = drm_gem_mmap,
	.fop_flags = FOP_UNSIGNED_OFFSET,
	.show_fdinfo = drm_show_fdinfo,
};

static const struct drm_driver npu_driver = {
	.driver_features = DRIVER_COMPUTE_ACCEL | DRIVER_GEM | DRIVER_SYNCOBJ |
			   DRIVER_SYNCOBJ_TIMELINE | NPU_DRIVER_GEM_GPUVA,
	.open = npu_open,
	.postclose = npu_postclose,
	.show_fdinfo = npu_show_fdinfo,
	.gem_prime_import_sg_table = npu_prime_import,
	.ioctls = npu_ioctls,
	.num_ioctls = ARRAY_SIZE(npu_ioctls),
	.fops = &npu_fops,
	.name = "npu",
	.desc = "NPU card",
	.major = 1,
	.minor = 0,
};

/* ---- PCI ---- */

static int npu_map(struct npu_device *npu, struct pci_dev *pdev)
{
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	if (pci_resource_len(pdev, NPU_BAR_REGISTERS) < NPU_BAR_REGISTERS_SIZE)
		return -ENODEV;
	npu->regs = pcim_iomap_region(pdev, NPU_BAR_REGISTERS, "npu");
	if (IS_ERR(npu->regs))
		return PTR_ERR(npu->regs);
	ret = pcim_request_region(pdev, NPU_BAR_APERTURE, "npu");
	if (ret)
		return ret;
	npu->aperture_base = pci_resource_start(pdev, NPU_BAR_APERTURE);
	npu->aperture_bytes = pci_resource_len(pdev, NPU_BAR_APERTURE);
	return 0;
}

static int npu_init_software(struct npu_device *npu)
{
	int ret;

	ida_init(&npu->asid_ida);
	ida_init(&npu->queue_ida);
	INIT_LIST_HEAD(&npu->vms);
	INIT_LIST_HEAD(&npu->imports);
	spin_lock_init(&npu->imports_lock);
	ret = drmm_mutex_init(&npu->drm, &npu->vms_lock);
	if (ret)
		return ret;
	npu->sched_wq = npu_drmm_alloc_workqueue(&npu->drm, "npu-sched");
	if (IS_ERR(npu->sched_wq))
		return PTR_ERR(npu->sched_wq);
	npu_pm_init(npu);
	npu_wedged_init(npu);
	ret = npu_dump_init(npu);
	if (ret)
		return ret;
	return npu_watchdog_init(npu);
}

static int npu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct npu_device *npu;
	int ret;

	npu = devm_drm_dev_alloc(&pdev->dev, &npu_driver, struct npu_device, drm);
	if (IS_ERR(npu))
		return PTR_ERR(npu);
	pci_set_drvdata(pdev, npu);

	ret = npu_map(npu, pdev);
	if (ret)
		return ret;
	ret = npu_hw_discover(npu);
	if (ret)
		return ret;
	ret = npu_init_software(npu);
	if (ret)
		return ret;
	/* Whatever an earlier owner left running has stopped before we may be written to. */
	npu_hw_stop(npu);
	npu_write(npu, NPU_REG_RESET, NPU_RESET_KIND_CARD);
	ret = npu_irq_init(npu);
	if (ret)
		return ret;
	ret = npu_ttm_init(npu);
	if (ret)
		return ret;

	ret = npu_hw_alloc_tables(npu);
	if (ret)
		return ret;
	ret = npu_hw_start(npu);
	if (ret)
		goto err_stop;
	ret = npu_kqueue_init(npu);
	if (ret)
		goto err_stop;
	ret = drm_dev_register(&npu->drm, 0);
	if (ret)
		goto err_kqueue;
	npu_debugfs_init(npu);
	npu_hwmon_init(npu);
	/* What a reset of the slot has to bring back. */
	pci_save_state(pdev);
	npu_pm_start(npu);
	return 0;

err_kqueue:
	npu_watchdog_fini(npu);
	npu_hw_stop(npu);
	npu_hwq_fini_all(npu);
err_stop:
	npu_hw_stop(npu);
	npu_irq_fini(npu);
	npu_dump_fini(npu);
	npu_wedged_fini(npu);
	npu_hw_free_tables(npu);
	return ret;
}

/*
 * Files may still be open. After drm_dev_unplug() nobody is or gets inside
 * drm_dev_enter(); what is left is to stop the card, signal what it will not
 * complete any more, and free the memory that it could access.
 */
static void npu_remove(struct pci_dev *pdev)
{
	struct npu_device *npu = pci_get_drvdata(pdev);

	drm_dev_unplug(&npu->drm);
	npu_pm_fini(npu);
	npu_watchdog_fini(npu);
	npu_irq_fini(npu);
	npu_hw_stop(npu);
	npu_hwq_fini_all(npu);
	npu_dump_fini(npu);
	npu_wedged_fini(npu);
	npu_vm_free_tables(npu);
	npu_prime_unmap_all(npu);
	ttm_device_clear_dma_mappings(&npu->ttm);
	npu_hw_free_tables(npu);
}

/* The machine goes down or starts another kernel: no DMA from now on. */
static void npu_shutdown(struct pci_dev *pdev)
{
	struct npu_device *npu = pci_get_drvdata(pdev);

	/* It would start the card again. */
	npu_watchdog_fini(npu);
	npu_hw_stop(npu);
}

static const struct pci_device_id npu_pci_ids[] = {
	{ PCI_DEVICE(NPU_PCI_VENDOR_ID, NPU_PCI_DEVICE_ID) },
	{}
};
MODULE_DEVICE_TABLE(pci, npu_pci_ids);

static struct pci_driver npu_pci_driver = {
	.name = "npu",
	.id_table = npu_pci_ids,
	.probe = npu_probe,
	.remove = npu_remove,
	.shutdown = npu_shutdown,
	.err_handler = &npu_error_handlers,
	.driver.pm = pm_ptr(&npu_pm_ops),
	.dev_groups = npu_dev_groups,
};

static int __init npu_init(void)
{
	int ret;

	/* Freezable: nothing of it uses a card while the machine sleeps. */
	npu_release_wq = alloc_workqueue("npu-release", WQ_UNBOUND | WQ_FREEZABLE, 0);
	if (!npu_release_wq)
		return -ENOMEM;
	ret = pci_register_driver(&npu_pci_driver);
	if (ret)
		destroy_workqueue(npu_release_wq);
	return ret;
}

static void __exit npu_exit(void)
{
	pci_unregister_driver(&npu_pci_driver);
	/*
	 * No file is open, but a job may still wait for another driver's fence
	 * before run_job refuses it.
	 */
	wait_var_event(&npu_deferred, !atomic_read(&npu_deferred));
	destroy_workqueue(npu_release_wq);
	/* Fences and sched jobs are freed after a grace period. */
	rcu_barrier();
	npu_sched_free_all();
}

module_init(npu_init);
module_exit(npu_exit);

MODULE_DESCRIPTION("DRM accel driver for the NPU card");
MODULE_LICENSE("Dual MIT/GPL");
