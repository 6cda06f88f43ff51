#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""That every byte counts: changed models give changed results or are refused. Prints TAP.

- One weight of the digits network changed in the ONNX file: the NPU's result follows ONNX Runtime's.
- One bit of a compiled model changed: refused, wherever it is.
- One byte of its commands inverted and the checksum made right again: never a crash, always refused or another
  result. Only the number of the operator, which is for reports, is left out.
- One byte of its weights, or the highest byte of a bias or scale, inverted likewise: refused or another result.
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

from tap import Tap, need_packages

need_packages("mutations")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from judge import ROOT, Judge  # noqa: E402
from run_conformance import Failure, ModelCase, Npu  # noqa: E402

HEADER_BYTES = 64
CRC_OFFSET = 24  # struct npu_model_header
FIELD_COMMANDS, FIELD_CONSTANTS = 8, 9  # of table Model in compiled_model.fbs
COMMAND_BYTES = 128
# struct npu_command_header, npu_command_dma
REPORT_BYTES = range(4, 8)  # source_op
LENGTH_BYTES = range(40, 44)  # size[0]
OP_LOAD = 0x10
OPCODES = {OP_LOAD: "LOAD", 0x18: "STORE", 0x20: "CONV", 0x21: "DEPTHWISE", 0x22: "MATMUL", 0x30: "VEC"}
IMAGES = 5
ONNX_MUTATIONS, FILE_MUTATIONS = 8, 40
CRASHED = 128  # exit statuses from here on are signals; so are negative ones
TIMEOUT_SECONDS = 120


def vector_range(data, field):
    """(start, size) in the file of a byte vector of the FlatBuffer's root table."""
    base = HEADER_BYTES
    table = base + struct.unpack_from("<I", data, base)[0]
    vtable = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, vtable)[0]
    entry = 4 + 2 * field
    offset = struct.unpack_from("<H", data, vtable + entry)[0] if entry < size else 0
    if offset == 0:
        raise ValueError(f"field {field} is not there")
    vector = table + offset + struct.unpack_from("<I", data, table + offset)[0]
    return vector + 4, struct.unpack_from("<I", data, vector)[0]


def with_checksum(data):
    crc = zlib.crc32(bytes(data[HEADER_BYTES:]))
    struct.pack_into("<I", data, CRC_OFFSET, crc)
    return data


class Subject:
    """A model, stacked inputs, and how the NPU answers."""

    def __init__(self, npu, folder, model, inputs, output):
        self.npu, self.output = npu, output
        self.folder = os.path.join(folder, os.path.basename(model))
        os.makedirs(self.folder)
        self.case = ModelCase("", self.folder)
        shutil.copy(model, self.case.path)
        self.arguments = []
        for name, array in inputs.items():
            path = os.path.join(self.folder, f"in_{name}.npy")
            np.save(path, array)
            self.arguments += ["--input", f"{name}={path}"]

    def run(self, compiled):
        """(exit status or a text where there is none, output or None)"""
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            command = [self.npu.runner, compiled, "--device", "sim", "--target", "card", "--output", out]
            try:
                done = subprocess.run(command + self.arguments, capture_output=True, timeout=TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                return "no end in time", None
            path = os.path.join(out, self.output + ".npy")
            return done.returncode, np.load(path) if done.returncode == 0 and os.path.exists(path) else None

    def result(self, compiled):
        status, output = self.run(compiled)
        if output is None:
            raise Failure(f"npu-run failed: exit status {status}")
        return output


def digits_subject(npu, folder):
    images = np.load(os.path.join(ROOT, "models", "digits", "images.npy"))[:IMAGES]
    return Subject(npu, folder, os.path.join(ROOT, "models", "digits", "digits.onnx"), {"image": images}, "logits")


def dense_subject(npu, folder):
    """A convolution in which every weight and every value matters: no activation, no zero among the inputs."""
    model = os.path.join(ROOT, "models", "operators", "conv_groups", "conv_groups.onnx")
    shape = [d.dim_value for d in onnx.load(model).graph.input[0].type.tensor_type.shape.dim]
    inputs = np.random.default_rng(5).integers(60, 200, [4 * shape[0]] + shape[1:]).astype(np.uint8)
    return Subject(npu, folder, model, {"input": inputs}, "output")


def check_onnx_weights(tap, digits, judge, rng):
    model = onnx.load(digits.case.path)
    images = np.load(os.path.join(ROOT, "models", "digits", "images.npy"))[:IMAGES]
    before = np.load(os.path.join(ROOT, "models", "digits", "logits.npy"))[:IMAGES]
    weights = [i for i in model.graph.initializer if numpy_helper.to_array(i).ndim >= 2]
    changed = 0
    for n in range(ONNX_MUTATIONS):
        initializer = weights[n % len(weights)]
        original = initializer.SerializeToString()
        array = numpy_helper.to_array(initializer).copy()
        # The middle taps, which every image reaches.
        at = tuple(int(rng.integers(s)) if i < 2 else s // 2 for i, s in enumerate(array.shape))
        array[at] ^= np.int8(0x7f)
        initializer.CopyFrom(numpy_helper.from_array(array, initializer.name))
        case = ModelCase("", tempfile.mkdtemp(dir=digits.folder))
        onnx.save(model, case.path)
        initializer.ParseFromString(original)
        name = f"weight {list(at)} of {initializer.name} changed: the NPU follows ONNX Runtime"
        try:
            got = digits.result(digits.npu.compile(case, "card"))
        except Failure as failure:
            tap.result(False, name, failure)
            continue
        expected = judge.run(case.path, {"image": images})["logits"]
        changed += not np.array_equal(expected, before)
        tap.result(np.array_equal(got, expected), name, f"{np.sum(expected != before)} logits changed")
    tap.result(changed > ONNX_MUTATIONS // 2, "most changed weights change logits", f"{changed} of {ONNX_MUTATIONS}")


class Verdicts:
    def __init__(self):
        self.refused = self.changed = 0
        self.same, self.crashed = [], []

    @property
    def count(self):
        return self.refused + self.changed + len(self.same) + len(self.crashed)

    def text(self):
        lines = [f"{self.refused} refused, {self.changed} with another result, {len(self.same)} with the same, "
                 f"{len(self.crashed)} crashed"]
        return "\n".join(lines + self.crashed + [f"the same: {', '.join(self.same)}"] * bool(self.same))


def mutate(subject, data, positions, change, fix_checksum, reference):
    """The verdicts on copies of the file with change(byte) at each position in turn."""
    verdicts = Verdicts()
    path = os.path.join(subject.folder, "mutated.npu")
    for at, label in positions:
        mutated = bytearray(data)
        mutated[at] = change(mutated[at])
        with open(path, "wb") as f:
            f.write(with_checksum(mutated) if fix_checksum else mutated)
        status, output = subject.run(path)
        if not isinstance(status, int) or status < 0 or status >= CRASHED:
            verdicts.crashed.append(f"{label}: {status}")
        elif output is None:
            verdicts.refused += 1
        elif np.array_equal(output, reference):
            verdicts.same.append(label)
        else:
            verdicts.changed += 1
    return verdicts


def used_bytes(rng, data, start, size, most, label):
    """(position, name) of bytes that are not zero, spread over the range."""
    used = [i for i in range(start, start + size) if data[i]]
    chosen = sorted(int(p) for p in rng.choice(used, min(most, len(used)), replace=False))
    return [(p, label(p - start)) for p in chosen]


def check_file(tap, subject, rng):
    compiled = subject.npu.compile(subject.case, "card")
    reference = subject.result(compiled)
    with open(compiled, "rb") as f:
        data = f.read()
    anywhere = used_bytes(rng, data, 0, len(data), FILE_MUTATIONS, lambda o: f"byte {o}")
    verdicts = mutate(subject, data, anywhere, lambda b: b ^ 1 << int(rng.integers(8)), False, reference)
    tap.result(verdicts.refused == verdicts.count, "one bit of a compiled model changed: refused", verdicts.text())

    check_commands(tap, subject, data, reference)
    check_constants(tap, subject, data, reference)


def check_commands(tap, subject, data, reference):
    """Every byte of every command that is not zero. A LOAD that brings more than anybody reads is a valid program
    with the same result: that is the one change that may go unnoticed, if the length has grown."""
    start, size = vector_range(data, FIELD_COMMANDS)
    positions, loads_more = [], set()
    at = start
    while at < start + size:
        records, opcode = data[at], data[at + 1]
        for i in range(at, at + records * COMMAND_BYTES):
            if data[i] == 0 or i - at in REPORT_BYTES:
                continue
            label = f"byte {i - at} of {OPCODES.get(opcode, opcode)} at {(at - start) // COMMAND_BYTES}"
            if opcode == OP_LOAD and i - at in LENGTH_BYTES and (data[i] ^ 0xff) > data[i]:
                loads_more.add(label)
            positions.append((i, label))
        at += records * COMMAND_BYTES
    verdicts = mutate(subject, data, positions, lambda b: b ^ 0xff, True, reference)
    unexplained = [label for label in verdicts.same if label not in loads_more]
    tap.result(not verdicts.crashed and not unexplained and len(positions) > 100,
               "one byte of the commands inverted, checksum right: refused or another result", verdicts.text())


def check_constants(tap, subject, data, reference):
    """The weights lie in the constants as they are, output channel by output channel, spread by padding. What is
    not a weight are words: biases and scales, whose highest byte matters."""
    weights = max((numpy_helper.to_array(i) for i in onnx.load(subject.case.path).graph.initializer),
                  key=lambda a: a.size if a.dtype == np.int8 else 0)
    start, size = vector_range(data, FIELD_CONSTANTS)
    positions = {}
    for channel, filters in enumerate(weights.transpose(0, 2, 3, 1).reshape(len(weights), -1)):
        at = bytes(data[start:start + size]).find(filters.tobytes())
        if at >= 0:
            positions.update({start + at + i: f"weight {i} of channel {channel}" for i in range(filters.size)})
    verdicts = mutate(subject, data, positions.items(), lambda b: b ^ 0xff, True, reference)
    tap.result(len(positions) >= weights.size // 2 and verdicts.refused + verdicts.changed == verdicts.count,
               f"each of {len(positions)} weight bytes inverted: refused or another result", verdicts.text())
    words = [(i, f"word at {i - 3 - start}") for i in range(start + 3, start + size, 4)
             if any(data[i - 3:i + 1]) and not positions.keys() & set(range(i - 3, i + 1))]
    verdicts = mutate(subject, data, words, lambda b: b ^ 0xff, True, reference)
    tap.result(len(words) > 0 and verdicts.refused + verdicts.changed == verdicts.count,
               f"the highest byte of each of {len(words)} biases and scales inverted: refused or another result",
               verdicts.text())


def main():
    judge = Judge()
    npu = Npu(judge.build, "sim")
    tap = Tap()
    if npu.missing():
        tap.result(False, "mutations", npu.missing())
        return tap.finish()
    rng = np.random.default_rng(64)
    with tempfile.TemporaryDirectory(prefix="mutations") as folder:
        digits = digits_subject(npu, folder)
        try:
            reference = digits.result(npu.compile(digits.case, "card"))
            logits = np.load(os.path.join(ROOT, "models", "digits", "logits.npy"))[:IMAGES]
            tap.result(np.array_equal(reference, logits), "the digits network gives the recorded logits")
            if judge.missing():
                tap.skip("changed weights against ONNX Runtime", judge.missing())
            else:
                check_onnx_weights(tap, digits, judge, rng)
            check_file(tap, dense_subject(npu, folder), rng)
        except Failure as failure:
            tap.result(False, "the models compile and run", failure)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
