#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""That every byte counts: changed models give changed results or are refused. Prints TAP.

- One weight of the digits network changed in the ONNX file: the NPU's result follows ONNX Runtime's.
- One byte of the compiled model changed: refused.
- One byte of its weights or commands changed and the checksum made right again: refused or another
  result, and never a crash. Bytes that may be free (alignment between constants) are left out by
  changing only bytes that are not zero.
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
IMAGES = 5
ONNX_MUTATIONS, FILE_MUTATIONS, COMMAND_MUTATIONS, CONSTANT_MUTATIONS = 8, 40, 120, 60
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


class Digits:
    """The digits network compiled, a few images, and what it says of them."""

    def __init__(self, npu, folder):
        self.npu, self.folder = npu, folder
        images = np.load(os.path.join(ROOT, "models", "digits", "images.npy"))[:IMAGES]
        self.images = []
        for i in range(IMAGES):
            path = os.path.join(folder, f"image{i}.npy")
            np.save(path, images[i:i + 1])
            self.images.append(path)

    def run(self, compiled, image):
        """(exit status, logits or None)"""
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            command = [self.npu.runner, compiled, "--device", "sim", "--target", "card", "--input",
                       f"image={self.images[image]}", "--output", out]
            try:
                done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                return "no end in time", None
            path = os.path.join(out, "logits.npy")
            return done.returncode, np.load(path) if done.returncode == 0 and os.path.exists(path) else None

    def logits(self, compiled):
        results = [self.run(compiled, i) for i in range(IMAGES)]
        if any(logits is None for _, logits in results):
            raise Failure(f"npu-run failed: exit statuses {[status for status, _ in results]}")
        return np.concatenate([logits for _, logits in results])


def check_onnx_weights(tap, digits, judge, rng):
    model = onnx.load(os.path.join(ROOT, "models", "digits", "digits.onnx"))
    images = np.concatenate([np.load(path) for path in digits.images])
    weights = [i for i in model.graph.initializer if numpy_helper.to_array(i).ndim >= 2]
    before = np.load(os.path.join(ROOT, "models", "digits", "logits.npy"))[:IMAGES]
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
            got = digits.logits(digits.npu.compile(case, "card"))
        except Failure as failure:
            tap.result(False, name, failure)
            continue
        expected = judge.run(case.path, {"image": images})["logits"]
        changed += not np.array_equal(expected, before)
        tap.result(np.array_equal(got, expected), name, f"{np.sum(expected != before)} logits changed")
    tap.result(changed > ONNX_MUTATIONS // 2, "most changed weights change logits", f"{changed} of {ONNX_MUTATIONS}")


def verdicts(digits, data, positions, rng, fix_checksum, reference):
    """Names of what went wrong, after changing one bit at each position in turn."""
    wrong, refused, changed = [], 0, 0
    path = os.path.join(digits.folder, "mutated.npu")
    for at in positions:
        mutated = bytearray(data)
        mutated[at] ^= 1 << int(rng.integers(8))
        with open(path, "wb") as f:
            f.write(with_checksum(mutated) if fix_checksum else mutated)
        same = True
        for image in range(IMAGES):
            status, logits = digits.run(path, image)
            if not isinstance(status, int) or status < 0 or status >= CRASHED:
                wrong.append(f"byte {at}: {status}")
                same = False
                break
            if logits is None or not np.array_equal(logits, reference[image:image + 1]):
                refused += logits is None
                changed += logits is not None
                same = False
                break
        if same:
            wrong.append(f"byte {at} (0x{data[at]:02x}): accepted, same result")
    return wrong, f"{refused} refused, {changed} with another result, {len(wrong)} wrong"


def pick(rng, data, start, size, count):
    """Positions of bytes that are not zero, spread over the range."""
    used = [i for i in range(start, start + size) if data[i]]
    return sorted(int(p) for p in rng.choice(used, min(count, len(used)), replace=False))


def main():
    judge = Judge()
    npu = Npu(judge.build, "sim")
    tap = Tap()
    if npu.missing():
        tap.result(False, "mutations", npu.missing())
        return tap.finish()
    rng = np.random.default_rng(64)
    with tempfile.TemporaryDirectory(prefix="mutations") as folder:
        digits = Digits(npu, folder)
        case = ModelCase("digits", folder)
        shutil.copy(os.path.join(ROOT, "models", "digits", "digits.onnx"), case.path)
        try:
            compiled = npu.compile(case, "card")
            reference = digits.logits(compiled)
        except Failure as failure:
            tap.result(False, "the digits network compiles and runs", failure)
            return tap.finish()
        tap.result(np.array_equal(reference, np.load(os.path.join(ROOT, "models", "digits", "logits.npy"))[:IMAGES]),
                   "the digits network gives the recorded logits")
        if judge.missing():
            tap.skip("changed weights against ONNX Runtime", judge.missing())
        else:
            check_onnx_weights(tap, digits, judge, rng)

        with open(compiled, "rb") as f:
            data = f.read()
        wrong, text = verdicts(digits, data, pick(rng, data, 0, len(data), FILE_MUTATIONS), rng, False, reference)
        tap.result(not wrong, "one bit of the compiled model changed: refused", "\n".join([text] + wrong))
        for field, what, count in ((FIELD_COMMANDS, "commands", COMMAND_MUTATIONS),
                                   (FIELD_CONSTANTS, "constants", CONSTANT_MUTATIONS)):
            positions = pick(rng, data, *vector_range(data, field), count)
            wrong, text = verdicts(digits, data, positions, rng, True, reference)
            if field == FIELD_COMMANDS:
                start = vector_range(data, field)[0]
                wrong = [f"{w}; offset {(int(w.split()[1].rstrip(':')) - start) % COMMAND_BYTES} of its record"
                         for w in wrong]
            tap.result(not wrong, f"one bit of the {what} changed, checksum right: refused or another result",
                       "\n".join([text] + wrong))
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
