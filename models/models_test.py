#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Tests of what lies in models/; prints TAP."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tests", "conformance")]

from tap import Tap, need_packages  # noqa: E402

need_packages("models")

import numpy as np  # noqa: E402
import onnx  # noqa: E402

from judge import Judge  # noqa: E402

LARGEST_FILE = 256 * 1024  # git holds them all


def shipped(suffix):
    return sorted(os.path.join(parent, name) for parent, _, names in os.walk(HERE) for name in names
                  if name.endswith(suffix))


def check_digits(tap):
    images, labels, logits = (np.load(os.path.join(HERE, "digits", f"{n}.npy")) for n in ("images", "labels", "logits"))
    tap.result(images.shape == (450, 1, 8, 8) and images.dtype == np.uint8 and images.max() == 16,
               "digits: images are uint8 [450, 1, 8, 8] of pixels 0..16", images.shape)
    tap.result(np.array_equal(np.bincount(labels), [45] * 10), "digits: 45 held-out images of each digit",
               np.bincount(labels))
    right = np.mean(logits.argmax(axis=1) == labels)
    tap.result(right >= 0.97, "digits: the recorded logits classify 97 % or more", right)


def check_files(tap):
    for path in shipped(".onnx"):
        name = os.path.relpath(path, HERE)
        model = onnx.load(path)
        if all(o.domain == "" for o in model.opset_import):
            onnx.checker.check_model(model)
        vectors = os.path.join(os.path.dirname(path), "test_data_set_0")
        wanted = {f"input_{i}.pb" for i in range(len(model.graph.input))}
        wanted |= {f"output_{i}.pb" for i in range(len(model.graph.output))}
        there = set(os.listdir(vectors)) if os.path.isdir(vectors) else set()
        tap.result(wanted == there and os.path.getsize(path) <= LARGEST_FILE,
                   f"{name}: valid, small, with its test vectors", f"vectors: {sorted(there)}")


def check_reproduction(tap, judge):
    name = "make_models.py makes the same bytes"
    try:
        import sklearn  # noqa: F401
    except ImportError:
        tap.skip(name, "python3-sklearn is not installed")
        return
    command = [sys.executable, os.path.join(HERE, "make_models.py"), "--check", "--build", judge.build]
    if judge.missing():
        tap.skip("make_models.py makes the same test vectors", judge.missing())
        command.append("--without-vectors")
    done = subprocess.run(command, capture_output=True, text=True)
    tap.result(done.returncode == 0, name, done.stdout + done.stderr)


def main():
    tap = Tap()
    check_digits(tap)
    check_files(tap)
    check_reproduction(tap, Judge())
    return tap.finish()


if __name__ == "__main__":
    raise SystemExit(main())
