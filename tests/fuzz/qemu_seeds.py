# SPDX-License-Identifier: MIT
"""What QEMU's generic fuzzer starts from: a driver's accesses as its scripts.

A script is a sequence of operations of tests/qtest/fuzz/generic_fuzz.c, separated
by "FUZZ". Guest memory cannot be written; the card reads patterns instead, one for
each of its reads, in turn and from the first one after the last.
"""

import os
import re
import struct

import fuzz

SEPARATOR = b"FUZZ"
# enum cmds
(IN, OUT, READ, WRITE, PCI_READ, PCI_WRITE, DISABLE_PCI, ADD_DMA_PATTERN, CLEAR_DMA_PATTERNS,
 CLOCK_STEP) = range(10)
# The n-th region of the card that is mapped; one that is absent covers the aperture as the 2nd.
REGISTERS, MSIX_TABLE = 0, 1
SIZES = {1: 0, 2: 1, 4: 2, 8: 3}


def defines(path):
    """{name: value} of the plain numbers that a C file defines."""
    with open(os.path.join(fuzz.ROOT, path)) as file:
        return {name: int(value, 0) for name, value in re.findall(
            r"^#define (NPU_\w+)\s+(0x[0-9a-f]+|\d+)u?l*\b", file.read(), re.M)}


REG = defines("include/npu/registers.h")
QUEUE = defines("include/npu/queue.h")
CONFIG = defines("qemu-device/qemu/npu-pci.c")
PACKET = fuzz.enumerators("npu_packet_opcode", "queue.h")
OPCODE = fuzz.enumerators("npu_opcode", "command.h")
INJECT = fuzz.enumerators("npu_inject_kind", "registers.h")

# Of PCI and of QEMU.
COMMAND, COMMAND_MEMORY, COMMAND_MASTER = 0x04, 2, 4
MSIX_CAP = 0x40
POWER_CONTROL = CONFIG["NPU_PM_CAP"] + 4
DEVICE_CONTROL, FLR = CONFIG["NPU_EXP_CAP"] + 8, 1 << 15

CONTEXT_TABLE, QUEUE_TABLE, EVENT_RING, TABLES = 0x100000, 0x101000, 0x102000, 0x103000
RING, COMPLETIONS, INDICES, DATA = 0x110000, 0x111000, 0x112000, 0x113000
# NPU_PACKET_* and NPU_PTE_* of include/npu
IRQ, PROFILE = 1, 8
PTE_VALID, PTE_READ, PTE_WRITE, PTE_LEAF = 1, 2, 4, 16


class Script:
    def __init__(self):
        self.operations = []

    def bytes(self):
        return SEPARATOR.join(self.operations)

    def operation(self, kind, payload=b""):
        assert SEPARATOR not in payload
        self.operations.append(bytes([kind]) + payload)

    def write(self, offset, value, size=4, region=REGISTERS):
        self.operation(WRITE, struct.pack("<BBxxIQ", SIZES[size], region, offset, value))

    def read(self, offset, size=4, region=REGISTERS):
        self.operation(READ, struct.pack("<BBxxI", SIZES[size], region, offset))

    def config_write(self, offset, value, size=2):
        self.operation(PCI_WRITE, struct.pack("<BBBxI", SIZES[size], 0, offset, value))

    def config_read(self, offset, size=4):
        self.operation(PCI_READ, struct.pack("<BBB", SIZES[size], 0, offset))

    def step_clock(self):
        self.operation(CLOCK_STEP)

    def memory_is(self, *patterns):
        self.operation(CLEAR_DMA_PATTERNS)
        for pattern in patterns:
            self.operation(ADD_DMA_PATTERN, b"\0\0" + pattern)

    # A driver.

    def register(self, name, value, size=4):
        self.write(REG["NPU_REG_" + name], value, size)

    def queue_register(self, queue, name, value):
        self.write(0x10000 + queue * REG["NPU_PAGE_SIZE"] + REG["NPU_QUEUE_" + name], value)

    def program(self):
        self.register("CONTEXT_TABLE", CONTEXT_TABLE, 8)
        self.register("CONTEXT_COUNT", 4)
        self.register("QUEUE_TABLE", QUEUE_TABLE, 8)
        self.register("QUEUE_COUNT", 8)
        self.register("EVENT_RING", EVENT_RING, 8)
        self.register("EVENT_LOG2", 4)
        self.register("CONTROL", 1)

    def start(self, queue, priority=1, cycle_limit=0, save_bytes=0, coalesce=(0, 0)):
        context = struct.pack("<QQQIIIIIIQQIIQQ40x", RING, COMPLETIONS, INDICES,
                              QUEUE["NPU_RING_LOG2_MIN"], 0, priority, 1, 3, 0, cycle_limit, 1000,
                              *coalesce, 0x200000 if save_bytes else 0, save_bytes)
        self.memory_is(context, bytes(16))
        self.queue_register(queue, "CONTROL", REG["NPU_QUEUE_CMD_START"])

    def submit(self, queue, producer, packet, *reads):
        self.memory_is(packet, *reads)
        self.queue_register(queue, "DOORBELL", producer)

    def enable_interrupts(self):
        for vector in range(2):
            self.write(16 * vector, 0xfee00000, 8, MSIX_TABLE)
            self.write(16 * vector + 8, 0x30 + vector, 8, MSIX_TABLE)
        self.config_write(MSIX_CAP + 2, 0x8000)

    def inject(self, kind, argument=0):
        self.register("INJECT_ARG", argument, 8)
        self.register("INJECT_KIND", INJECT["NPU_INJECT_" + kind])


def plain(name):
    return struct.pack("<BB62x", PACKET["NPU_PACKET_" + name], IRQ)


def copy(source_memory, source, to_memory, to, count):
    return struct.pack("<BBBB4xQQQ32x", PACKET["NPU_PACKET_COPY"], IRQ,
                       source_memory, to_memory, source, to, count)


def fill(memory, to, count):
    return struct.pack("<BBxBIQQ40x", PACKET["NPU_PACKET_FILL"], IRQ, memory,
                       0x5a5a5a5a, to, count)


def invalidate():
    return struct.pack("<BBHIQQ40x", PACKET["NPU_PACKET_TLB_INVALIDATE"], 0, 0, 0, 0, 0)


def job(streams, profile=False):
    flags = IRQ | (PROFILE if profile else 0)
    return struct.pack("<BBBBIQQQ8I", PACKET["NPU_PACKET_JOB"], flags, len(streams), 1, 0, 0x80, 0,
                       0x800 if profile else 0, *(streams + [0] * (8 - len(streams))))


# The reads of a walk to virtual page 0, which holds region table, stream and data.
WALK = [struct.pack("<QQ", TABLES | PTE_VALID, 0)] + 3 * [struct.pack("<Q", TABLES | PTE_VALID)] + [
    struct.pack("<Q", DATA | PTE_VALID | PTE_READ | PTE_WRITE | PTE_LEAF)]
REGIONS = [bytes(8)]


def command(name, engine, body=b"", waits=()):
    return struct.pack("<BBBBI", 1, OPCODE["NPU_OP_" + name], engine, 0, 0) + struct.pack(
        "<4I", *(list(waits) + [0] * (4 - len(waits)))) + body.ljust(104, b"\0")


def contiguous(name, engine, count, waits=()):
    body = struct.pack("<BBBBIQ4I4I4III", 0, 0, 0, 0, 0, 0xc00, count, 1, 1, 1, 1, 0, 0, 0,
                       1, 0, 0, 0, 0, 0)
    return command(name, engine, body, waits)


def run_job(s, streams, data=(), profile=False):
    s.submit(1, 1, job([len(stream) for stream in streams], profile), *WALK, *REGIONS, *streams, *data)


def scripts():
    """(what it does, script) of each."""
    engines = fuzz.enumerators("npu_engine", "status.h")
    load, store = engines["NPU_ENGINE_LOAD"], engines["NPU_ENGINE_STORE"]
    nothing = command("NOP", engines["NPU_ENGINE_DISPATCH"])
    yielding = command("YIELD", engines["NPU_ENGINE_DISPATCH"])
    round_trip = contiguous("LOAD", load, 64) + contiguous("STORE", store, 64, [1 | load << 20])

    def started(queue=0, **context):
        s = Script()
        s.program()
        s.enable_interrupts()
        s.start(queue, **context)
        return s

    s = Script()
    for name in ("MAGIC", "VERSION", "STATUS", "COUNT_DOORBELL"):
        s.read(REG["NPU_REG_" + name])
    s.read(REG["NPU_REG_TIMEBASE"], 8)
    s.config_read(0)
    yield "registers are read", s.bytes()

    for text, packet, data in [
            ("NOP", plain("NOP"), []), ("FENCE", plain("FENCE"), []),
            ("TLB_INVALIDATE", invalidate(), []), ("FILL", fill(1, 0x1000, 4096), []),
            ("COPY to the card", copy(0, DATA, 1, 0, 256), [b"data"]),
            ("COPY to the host", copy(1, 0, 0, DATA, 256), []),
            ("COPY of what nobody decodes", copy(0, 1 << 45, 1, 0, 64), []),
            ("a packet that is refused", b"\xff" * 64, [])]:
        s = started()
        s.submit(0, 1, packet, *data)
        yield text, s.bytes()

    for text, streams, data in [
            ("a job of one NOP", [nothing], []),
            ("a job that loads and stores", [round_trip], [b"data"]),
            ("a job on two cores, with a profile", [yielding] * 2, []),
            ("a job that is refused", [b"\x01\xff" + bytes(126)], [])]:
        s = started(1, save_bytes=1 << 20)
        run_job(s, streams, data, len(streams) > 1)
        s.queue_register(1, "CONTROL", REG["NPU_QUEUE_CMD_STOP"])
        yield text, s.bytes()

    s = started(coalesce=(4, 1000))
    s.submit(0, 1, plain("NOP"))
    s.step_clock()
    yield "an interrupt that is coalesced", s.bytes()

    for name in INJECT:
        s = started(1)
        s.inject(name.replace("NPU_INJECT_", ""))
        run_job(s, [round_trip], [b"data"])
        s.read(REG["NPU_REG_MAGIC"])
        s.read(0, region=1)
        s.step_clock()
        yield "injected: " + name, s.bytes()

    s = started()
    s.inject("LATE_INTERRUPT", 0xc1 << 56)
    s.submit(0, 1, plain("NOP"))
    s.step_clock()
    yield "an interrupt that is absurdly late", s.bytes()

    s = started()
    s.config_write(COMMAND, COMMAND_MEMORY)
    s.submit(0, 1, plain("NOP"))
    s.config_write(COMMAND, COMMAND_MEMORY | COMMAND_MASTER)
    s.config_write(POWER_CONTROL, 3)
    s.config_write(POWER_CONTROL, 0)
    yield "no bus mastering and back, D3hot and back", s.bytes()

    s = started()
    s.config_write(DEVICE_CONTROL, FLR)
    s.config_write(COMMAND, COMMAND_MEMORY | COMMAND_MASTER)
    s.program()
    yield "function-level reset", s.bytes()

    for kind in ("KIND_CORE", "KIND_CARD"):
        s = started()
        s.register("RESET", REG["NPU_RESET_" + kind])
        yield "reset: " + kind, s.bytes()
