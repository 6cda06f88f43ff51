/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* One open file of the device node. */
#ifndef NPU_FILE_H
#define NPU_FILE_H

#include <linux/kref.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include <uapi/drm/npu_accel.h>

struct drm_file;
struct npu_device;

/* Queues hold a reference: their last jobs may outlive the file. */
struct npu_file {
	struct kref kref;
	/* Handles. The xarrays' own locks order lookup against removal. */
	struct xarray vms;
	struct xarray queues;
	/* Protects all below; taken inside npu_hwq.lock, in interrupts. */
	spinlock_t lock;
	struct drm_npu_fault fault;
	/* Of completed jobs, for fdinfo. */
	u64 busy_ns;
	u64 cycles;
};

struct npu_file *npu_file_get(struct npu_file *nfile);
void npu_file_put(struct npu_file *nfile);

#endif
