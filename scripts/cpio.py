# SPDX-License-Identifier: MIT
"""Writes cpio archives (newc), the format of an initrd, as an ordinary user.

The kernel unpacks concatenated archives one after another; later files
replace earlier ones.
"""

import os
import stat


class Archive:
    def __init__(self, out):
        self.out = out
        self.inode = 1
        self.directories = set()

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        path = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(path), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields)
        self.inode += 1
        self._padded(header + path)
        self._padded(data)

    def _padded(self, data):
        self.out.write(data)
        self.out.write(b"\0" * (-len(data) % 4))

    def directory(self, name):
        name = name.strip("/")
        if not name or name in self.directories:
            return
        self.directory(os.path.dirname(name))
        self.directories.add(name)
        self._entry(name, stat.S_IFDIR | 0o755)

    def data(self, name, data, mode=0o644):
        name = name.strip("/")
        self.directory(os.path.dirname(name))
        if isinstance(data, str):
            data = data.encode()
        self._entry(name, stat.S_IFREG | mode, data)

    def symlink(self, name, target):
        name = name.strip("/")
        self.directory(os.path.dirname(name))
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def node(self, name, major, minor):
        self.directory(os.path.dirname(name.strip("/")))
        self._entry(name.strip("/"), stat.S_IFCHR | 0o600, rdev=(major, minor))

    def file(self, name, source):
        """A file or a folder of the host, symbolic links followed."""
        if os.path.isdir(source):
            self.directory(name)
            for entry in sorted(os.listdir(source)):
                self.file(name + "/" + entry, os.path.join(source, entry))
            return
        with open(source, "rb") as data:
            self.data(name, data.read(), 0o755 if os.access(source, os.X_OK) else 0o644)

    def close(self):
        self._entry("TRAILER!!!", 0)
        # Archives that follow start at a multiple of 4, which _padded keeps.
