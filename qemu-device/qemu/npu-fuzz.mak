# SPDX-License-Identifier: GPL-2.0-or-later
# Devices of the QEMU in which the card is fuzzed: the card and what carries it.
CONFIG_Q35=y
CONFIG_NPU_PCI=y
