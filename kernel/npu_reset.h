/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Resets of the PCIe function and errors of its bus. */
#ifndef NPU_RESET_H
#define NPU_RESET_H

struct npu_device;
struct pci_error_handlers;

void npu_function_want_reset(struct npu_device *npu);
void npu_function_reset(struct npu_device *npu);
void npu_function_stop(struct npu_device *npu);
int npu_function_revive(struct npu_device *npu);
void npu_function_resume(struct npu_device *npu);

extern const struct pci_error_handlers npu_error_handlers;

#endif
