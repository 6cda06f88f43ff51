# SPDX-License-Identifier: MIT
#
# The front door. It wraps CMake (user space), Kbuild (the module) and the
# scripts that build QEMU and run VMs, and holds no logic of its own.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

BUILD   := build
SCRIPTS := scripts
JOBS    ?= $(shell nproc)
# kconfiglib belongs to the distribution's python.
PYTHON  ?= /usr/bin/python3

export JOBS

.PHONY: help
help: ## list the targets
	@echo "Usage: make TARGET"
	@echo
	@sed -n 's/^\([a-z_-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r name text; do printf '  %-18s %s\n' "$$name" "$$text"; done
	@echo
	@echo "A fresh clone: 'make demo' installs what is missing, builds and shows everything."
	@echo "See docs/building.md for the variables (NPU_KERNEL, KDIR, KERNEL_IMAGE, QEMU, NPU_CACHE, JOBS, ...)."

# --- try it ---------------------------------------------------------------
.PHONY: demo vm test
demo: ## install what is missing, build all, classify digits on the NPU in a VM
	@$(SCRIPTS)/demo.sh
vm: ## interactive shell in the VM, module loaded, tools in PATH
	@$(SCRIPTS)/demo.sh --shell
test: ## run all tests, on the host and in VMs
	@$(SCRIPTS)/run-tests.sh

# --- the driver on other kernels ------------------------------------------
.PHONY: kernel-matrix test-kernels debug-kernel test-debug
kernel-matrix: ## build npu.ko, W=1, against every kernel that Debian serves
	@$(SCRIPTS)/kernel-matrix.sh
test-kernels: ## run the VM tests on the stock 6.12 and on Debian's newest 7.x
	@$(SCRIPTS)/run-tests.sh --vm
	@NPU_KERNEL=7 $(SCRIPTS)/run-tests.sh --vm
debug-kernel: ## build the kernel that checks (KASAN, lockdep, kmemleak, failing allocations)
	@NPU_KERNEL=debug $(SCRIPTS)/fetch-kernel.sh
test-debug: ## run the VM tests on the debug kernel
	@NPU_KERNEL=debug $(SCRIPTS)/run-tests.sh --vm

.PHONY: install-driver
install-driver: ## install the driver on this machine: DKMS, udev rule (root)
	@$(SCRIPTS)/install-driver.sh

# --- build ----------------------------------------------------------------
.PHONY: all user module qemu qemu-fuzz kernel initrd deps
all: user module qemu initrd ## build everything (dependencies installed: see deps)
user: $(BUILD)/build.ninja ## libraries, compiler, tools and host tests (CMake)
	@cmake --build $(BUILD) -j $(JOBS)
$(BUILD)/build.ninja: CMakeLists.txt CMakePresets.json
	@cmake --preset release
module: kernel ## npu.ko (Kbuild)
	@$(SCRIPTS)/build-module.sh
kernel: ## fetch the VM's kernel and its headers
	@$(SCRIPTS)/fetch-kernel.sh
qemu: ## QEMU with the card
	@cmake --preset release >/dev/null && cmake --build $(BUILD) -j $(JOBS) --target npu-model
	@$(SCRIPTS)/build-qemu.sh
qemu-fuzz: ## QEMU's generic fuzzer with the card, for tests (clang)
	@$(SCRIPTS)/build-qemu.sh --fuzz
initrd: kernel ## the VM's base initrd
	@$(SCRIPTS)/mkinitrd.py
deps: ## install the packages that are missing (apt, sudo when not root)
	@$(SCRIPTS)/install-deps.sh build vm test

# --- configure ------------------------------------------------------------
.PHONY: config menuconfig card_defconfig edge_defconfig debug_defconfig
config: ## create or complete .config
	@$(PYTHON) -m olddefconfig
menuconfig: ## choose card parameters and build options
	@$(PYTHON) -m menuconfig
card_defconfig: ## configure the default card: 2 cores of 64x64 MAC
edge_defconfig: ## configure the small card: 1 core of 16x32 MAC
debug_defconfig: ## default card, debug build, warnings are errors
card_defconfig edge_defconfig debug_defconfig:
	@$(PYTHON) -m defconfig configs/$@

# --- clean ----------------------------------------------------------------
.PHONY: clean distclean
clean: ## remove what was compiled; keep downloads, kernel and QEMU
	@$(SCRIPTS)/clean.sh
distclean: ## remove build/ and .config
	@rm -rf $(BUILD) .config .config.old
