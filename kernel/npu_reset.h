/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Resets of the PCIe function and errors of its bus. */
#ifndef NPU_RESET_H
#define NPU_RESET_H

struct pci_error_handlers;

extern const struct pci_error_handlers npu_error_handlers;

#endif
