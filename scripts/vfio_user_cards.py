# SPDX-License-Identifier: MIT
"""Cards for vm-run that are processes of their own: npu-vfio-user, which an
unpatched QEMU (scripts/fetch-stock-qemu.sh) uses over a socket.

A device "vfio-user[,OPTION=VALUE]..." is one; the options are the program's.
"""

import json
import os
import subprocess
import time


def is_card(device):
    return device.split(",")[0] == "vfio-user"


def socket_path(work, index):
    return os.path.join(work, "card%d" % index)


def qemu_memory(size):
    """QEMU's arguments for memory of the guest that the cards can map."""
    return ["-object", "memory-backend-memfd,id=ram,size=%s,share=on" % size]


def qemu_device(work, index):
    """The value of -device."""
    return json.dumps({"driver": "vfio-user-pci", "id": "npu%d" % index, "bus": "rp%d" % index,
                       "socket": {"type": "unix", "path": socket_path(work, index)}})


class Cards:
    def __init__(self, program, devices, work):
        """Starts those of the devices that are cards of this kind."""
        self.processes = []
        for index, device in enumerate(devices):
            if is_card(device):
                options = ["--" + option for option in device.split(",")[1:]]
                self._start([program, "--once"] + options, socket_path(work, index))

    def _start(self, command, path):
        process = subprocess.Popen(command + [path], stdin=subprocess.DEVNULL)
        self.processes.append(process)
        limit = time.monotonic() + 30
        while not os.path.exists(path):
            if process.poll() is not None or time.monotonic() > limit:
                self.end()
                raise RuntimeError("%s did not start" % command[0])
            time.sleep(0.02)

    def end(self):
        """QEMU has gone; what is wrong with the cards, or None."""
        problem = None
        for process in self.processes:
            try:
                status = process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
            if status != 0:
                problem = "npu-vfio-user ended with status %d" % status
        return problem
