# SPDX-License-Identifier: GPL-2.0-or-later
# Devices of the QEMU that this project builds: the card, what carries it,
# and what the tests need to get files and the exit status out.
CONFIG_Q35=y
CONFIG_PCIE_PORT=y
CONFIG_NPU_PCI=y
CONFIG_ISA_DEBUG=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_9P=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_RNG=y
CONFIG_VTD=y
CONFIG_SERIAL_ISA=y
