#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Builds vm/base.cpio, the part of the VM's initrd that never changes; in build/, or
in build/kernels/$NPU_KERNEL/ for another kernel than the default one.

It holds busybox, /init and the kernel's modules that npu.ko and the tests
stand on. vm-run appends programs, npu.ko and the command of one boot.
"""

import hashlib
import lzma
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cpio  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Where the results for the VM's kernel are, as in scripts/lib.sh.
PLACE = os.path.join(ROOT, "build", *(("kernels", os.environ["NPU_KERNEL"])
                                      if os.environ.get("NPU_KERNEL") else ()))
OUT = os.path.join(PLACE, "vm")

# What a DRM accel driver may need, and what tests or make vm use.
MODULES = ("drm", "gpu_sched", "drm_exec", "drm_gpuvm", "drm_buddy", "ttm", "drm_ttm_helper",
           "drm_shmem_helper", "vgem", "9p", "9pnet_virtio", "aer_inject")


def kernel():
    """kernel/kernel.env as a dictionary."""
    path = os.path.join(PLACE, "kernel/kernel.env")
    if not os.path.exists(path):
        sys.exit("mkinitrd.py: %s is missing; run make kernel" % path)
    with open(path) as lines:
        return dict(line.strip().replace("'", "").split("=", 1) for line in lines)


def patience():
    """By how much time limits are multiplied: a kernel that checks is slow."""
    return int(kernel().get("KERNEL_PATIENCE", 1))


def read_module(path):
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".xz"):
        return lzma.decompress(data)
    if path.endswith(".zst"):
        return subprocess.run(["zstd", "-dcq", path], check=True, stdout=subprocess.PIPE).stdout
    return data


def depends(data):
    """Names of the modules that this one needs, from its .modinfo."""
    start = data.find(b"\0depends=")
    if start < 0:
        return []
    text = data[start + 9:data.index(b"\0", start + 9)].decode()
    return [name.replace("-", "_") for name in text.split(",") if name]


class ModuleSet:
    """Modules of the kernel with all they depend on."""

    def __init__(self, folder):
        self.files = {}
        for path, _, names in os.walk(folder):
            for name in names:
                if ".ko" in name:
                    module = name.split(".ko")[0].replace("-", "_")
                    self.files[module] = os.path.join(path, name)
        self.chosen = {}

    def add(self, name):
        if name in self.chosen or name not in self.files:
            return      # built in, or not of this kernel
        data = read_module(self.files[name])
        self.chosen[name] = data
        for other in depends(data):
            self.add(other)


def dependency_list(modules):
    """modules.dep as modprobe reads it; modules: name -> (path, data).

    modprobe loads what is listed from right to left, so what a module needs
    stands to its right.
    """
    def needed(name, found):
        for other in depends(modules[name][1]):
            if other in modules and other not in found:
                needed(other, found)
                found.append(other)
        return found

    return "".join(path + ":" + "".join(" " + modules[other][0] for other in reversed(needed(name, [])))
                   + "\n" for name, (path, _) in sorted(modules.items()))


def find_busybox():
    for path in ("/bin/busybox", "/usr/bin/busybox"):
        if os.path.exists(path):
            return path
    sys.exit("mkinitrd.py: busybox is missing; install busybox-static")


def build():
    settings = kernel()
    busybox = find_busybox()
    init = os.path.join(ROOT, "scripts/vm-init.sh")
    key = hashlib.sha256()
    for path in (os.path.abspath(__file__), busybox, init):
        with open(path, "rb") as file:
            key.update(file.read())
    key.update(repr(sorted(settings.items())).encode())
    key = key.hexdigest()
    base, stamp = os.path.join(OUT, "base.cpio"), os.path.join(OUT, "base.stamp")
    if os.path.exists(base) and os.path.exists(stamp) and open(stamp).read() == key:
        return base

    os.makedirs(OUT, exist_ok=True)
    modules = ModuleSet(settings["KERNEL_MODULES"])
    for name in MODULES:
        modules.add(name)
    with open(base + ".new", "wb") as out:
        archive = cpio.Archive(out)
        for folder in ("dev", "proc", "sys", "tmp", "run", "out", "root", "sbin"):
            archive.directory(folder)
        archive.node("dev/console", 5, 1)
        archive.node("dev/null", 1, 3)
        archive.file("bin/busybox", busybox)
        archive.symlink("bin/sh", "busybox")
        archive.data("init", open(init).read(), 0o755)
        archive.data("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
                     "user:x:1000:1000:user:/tmp:/bin/sh\n")
        archive.data("etc/group", "root:x:0:\nuser:x:1000:\n")
        folder = "lib/modules/" + settings["KERNEL_RELEASE"]
        placed = {}
        for name, data in sorted(modules.chosen.items()):
            placed[name] = ("kernel/%s.ko" % name, data)
            archive.data("%s/kernel/%s.ko" % (folder, name), data)
        archive.data(folder + "/modules.dep", dependency_list(placed))
        archive.close()
    os.replace(base + ".new", base)
    with open(stamp, "w") as out:
        out.write(key)
    print("-- base initrd: %d modules, %.1f MB" % (len(placed), os.path.getsize(base) / 1e6),
          file=sys.stderr)
    return base


if __name__ == "__main__":
    build()
