/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Discovery, start, stop and reset of the card: the global registers. */
#ifndef NPU_HW_H
#define NPU_HW_H

#include <linux/bits.h>
#include <linux/types.h>

struct npu_device;

#define NPU_EVENT_RING_LOG2	8
#define NPU_EVENT_RING_SIZE	BIT(NPU_EVENT_RING_LOG2)

int npu_hw_discover(struct npu_device *npu);
int npu_hw_alloc_tables(struct npu_device *npu);
void npu_hw_free_tables(struct npu_device *npu);
int npu_hw_start(struct npu_device *npu);
void npu_hw_stop(struct npu_device *npu);
bool npu_hw_gone(struct npu_device *npu);
bool npu_hw_enabled(struct npu_device *npu);
int npu_hw_reset_card(struct npu_device *npu);
bool npu_hw_reset_cores_of(struct npu_device *npu, unsigned int hwq_id);
void *npu_hw_alloc(struct npu_device *npu, size_t *bytes, dma_addr_t *dma, gfp_t gfp);

#endif
