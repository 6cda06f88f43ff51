/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Interrupt vectors and the event ring. */
#ifndef NPU_IRQ_H
#define NPU_IRQ_H

struct npu_device;

int npu_irq_init(struct npu_device *npu);
void npu_irq_fini(struct npu_device *npu);

#endif
