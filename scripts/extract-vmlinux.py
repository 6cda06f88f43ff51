#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Extracts the ELF vmlinux from a bzImage: extract-vmlinux.py BZIMAGE VMLINUX.

QEMU boots the ELF directly through PVH, which saves the guest the work of
decompressing itself (slow without KVM).
"""

import gzip
import lzma
import os
import struct
import subprocess
import sys


def payload(image):
    """The compressed kernel, located by the boot protocol's header (2.08 and later)."""
    if image[0x202:0x206] != b"HdrS":
        sys.exit("extract-vmlinux.py: not a bzImage")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    return image[start:start + length]


def decompress(data):
    if data[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(data)
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data[:-4])
    for magic, tool in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x02\x21\x4c\x18", "lz4")):
        if data[:4] == magic:
            # The kernel appends its size, which these tools report as garbage after the data.
            result = subprocess.run([tool, "-dcq"], input=data[:-4], stdout=subprocess.PIPE,
                                    check=False)
            return result.stdout
    sys.exit("extract-vmlinux.py: unknown compression, starts with " + data[:6].hex())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    kernel = decompress(payload(open(sys.argv[1], "rb").read()))
    if kernel[:4] != b"\x7fELF":
        sys.exit("extract-vmlinux.py: the payload is not an ELF file")
    with open(sys.argv[2] + ".new", "wb") as out:
        out.write(kernel)
    os.replace(sys.argv[2] + ".new", sys.argv[2])


if __name__ == "__main__":
    main()
