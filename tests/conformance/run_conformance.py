#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The NPU against ONNX Runtime, bit for bit.

Compiles every model for every target, runs it with random and extreme inputs and compares each byte of
each output with what ONNX Runtime computes (all optimisations). Prints TAP: one line for each model and
target. Models: those of models/, and random ones (random_ops.py).

Without ONNX Runtime the shipped models are compared with their recorded test vectors, the random ones
with reference.py, and the missing comparison is counted as skipped.

    run_conformance.py                         shipped models, 188 random ones, card, edge and tiny
    run_conformance.py --random 1000 --seed 5  more of them
    run_conformance.py --only 'max pool'       what matches the regular expression
    run_conformance.py --device 0              on a card instead of the simulator
"""

import argparse
import concurrent.futures
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zlib

from tap import Tap, need_packages

need_packages("conformance")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import numpy_helper  # noqa: E402

import forms  # noqa: E402
import large_networks  # noqa: E402
import random_ops  # noqa: E402
from judge import ROOT, Judge, file_name  # noqa: E402

# What npu-compile and npu-run get as --target, by name. tiny has so little SRAM that nearly everything is tiled.
TARGETS = {"card": "card", "edge": "edge", "tiny": os.path.join(ROOT, "tests", "conformance", "tiny.json")}
VECTORS = 4  # random, alternating extremes, all lowest, all highest
TIMEOUT_SECONDS = 600
LARGE_NETWORKS = (("mobilenet_v2", 224), ("resnet50", 96), ("mobilenet_v3", 96), ("efficientnet_b0", 96),
                  ("yolov5n", 96), ("densenet121", 64), ("bert_layer", 128))
# Of networks in which the runtime computes some operators in float.
STEPS = {"bert_layer": 1}
NUMPY_TYPE = {onnx.TensorProto.UINT8: np.uint8, onnx.TensorProto.INT8: np.int8, onnx.TensorProto.FLOAT: np.float32}


class Failure(Exception):
    pass


class ModelCase:
    """A model file, stacked input vectors, and what is expected of it."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        self.path = os.path.join(folder, "model.onnx")
        self.count = VECTORS
        self.fuse_int8_qdq = False
        self.tolerance = 0
        self.expected = None  # outputs by name, stacked
        self.source = ""

    def allowed(self, _):
        """How far an element of the output of this name may be off."""
        return self.tolerance

    def vector(self, i):
        return {name: np.split(stack, self.count)[i] for name, stack in self.inputs.items()}


def random_inputs(model_path, seed):
    rng = np.random.default_rng(seed)
    inputs = {}
    graph = onnx.load(model_path).graph
    constants = {i.name for i in graph.initializer}
    for info in graph.input:
        if info.name in constants:
            continue
        dtype = NUMPY_TYPE[info.type.tensor_type.elem_type]
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        if dtype is np.float32:
            parts = [rng.standard_normal(shape) * s for s in (1, 100, 0.01, 0)]
        else:
            limits = np.iinfo(dtype)
            parts = [rng.integers(limits.min, limits.max + 1, shape), rng.choice([limits.min, limits.max], shape),
                     np.full(shape, limits.min), np.full(shape, limits.max)]
        inputs[info.name] = np.concatenate([np.asarray(p).astype(dtype) for p in parts])
    return inputs


def shipped_case(path, folder, judge):
    case = ModelCase(os.path.relpath(path, os.path.join(ROOT, "models")), folder)
    shutil.copy(path, case.path)
    if judge is not None:
        case.inputs = random_inputs(path, zlib.crc32(case.name.encode()))
        case.expected, case.source = judge.run(path, case.inputs), "ONNX Runtime"
        return case
    data = os.path.join(os.path.dirname(path), "test_data_set_0")
    names = {"input": [], "output": []}
    graph = onnx.load(path).graph
    constants = {i.name for i in graph.initializer}
    names["input"] = [i.name for i in graph.input if i.name not in constants]
    names["output"] = [o.name for o in graph.output]
    arrays = {}
    for kind, tensors in names.items():
        for i, name in enumerate(tensors):
            with open(os.path.join(data, f"{kind}_{i}.pb"), "rb") as f:
                arrays[name] = numpy_helper.to_array(onnx.TensorProto.FromString(f.read()))
    case.count = 1
    case.inputs = {n: arrays[n] for n in names["input"]}
    case.expected = {n: arrays[n] for n in names["output"]}
    case.source = "the recorded vector"
    return case


def held_out_case(_, folder, judge):
    """All held-out digits; what ONNX Runtime says of them lies beside them."""
    digits = os.path.join(ROOT, "models", "digits")
    case = ModelCase("digits/digits.onnx, held-out images", folder)
    shutil.copy(os.path.join(digits, "digits.onnx"), case.path)
    case.inputs = {"image": np.load(os.path.join(digits, "images.npy"))}
    case.expected = {"logits": np.load(os.path.join(digits, "logits.npy"))}
    case.count, case.source = len(case.inputs["image"]), "the recorded logits"
    return case


def large_case(name_and_size, folder, judge):
    name, size = name_and_size
    case = ModelCase(large_name(name_and_size), folder)
    if judge is None:
        raise Failure("no network of this size without ONNX Runtime")
    large_networks.make(name, size, case.path)
    case.tolerance = STEPS.get(name, 0)
    case.inputs = random_inputs(case.path, size)
    case.expected, case.source = judge.run(case.path, case.inputs), "ONNX Runtime"
    return case


def large_name(name_and_size):
    return "%s at %d" % name_and_size


def form_case(name, folder, judge):
    case = ModelCase(f"form {name}", folder)
    model, case.tolerance = forms.make(name)
    onnx.save(model, case.path)
    case.inputs = random_inputs(case.path, zlib.crc32(name.encode()))
    case.expected, case.source = judge.run(case.path, case.inputs), "ONNX Runtime"
    return case


def random_case(seed, folder, judge):
    name, model = random_ops.random_model(seed)
    case = ModelCase(f"random {name}", folder)
    model.graph.save(case.path)
    case.inputs, case.count = model.vectors(), random_ops.VECTORS
    case.tolerance, case.allowed = model.tolerance, model.allowed
    if judge is not None:
        case.expected = judge.run(case.path, case.inputs, fuse_int8_qdq=model.fuse_int8_qdq)
        case.source = "ONNX Runtime"
        return case
    if model.large:  # reference.py is slow
        case.inputs, case.count = case.vector(0), 1
    vectors = [model.evaluate(case.vector(i)) for i in range(case.count)]
    case.expected = {name: np.concatenate([v[name] for v in vectors]) for name in vectors[0]}
    case.source = "reference.py"
    return case


class Npu:
    def __init__(self, build, device):
        self.compiler = os.path.join(build, "bin", "npu-compile")
        self.runner = os.path.join(build, "bin", "npu-run")
        self.device = device

    def missing(self):
        for program in (self.compiler, self.runner):
            if not os.path.exists(program):
                return f"{program} is not built"
        return None

    @staticmethod
    def _run(command):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"no end after {TIMEOUT_SECONDS} s: {shlex.join(command)}") from None
        if done.returncode:
            text = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-12:])
            raise Failure(f"exit status {done.returncode}: {shlex.join(command)}\n{text}")

    def compile(self, case, target):
        out = os.path.join(case.folder, os.path.basename(target) + ".npu")
        self._run([self.compiler, case.path, "-o", out, "--target", TARGETS.get(target, target)])
        return out

    def run(self, case, target, compiled):
        """(outputs by name, the command). All vectors in one go: npu-run takes stacked inputs, one job each, so
        that what a job leaves behind is seen by the next."""
        folder = os.path.join(case.folder, f"{target}-run")
        os.makedirs(folder, exist_ok=True)
        command = [self.runner, compiled, "--device", self.device]
        if self.device == "sim":
            command += ["--target", TARGETS.get(target, target)]
        for name, stack in case.inputs.items():
            path = os.path.join(folder, "input_" + file_name(name))
            np.save(path, stack)
            command += ["--input", f"{name}={path}"]
        if any(stack.dtype == np.float32 for stack in case.expected.values()):
            command.append("--real")
        command += ["--output", folder]
        self._run(command)
        outputs = {}
        for name in case.expected:
            path = os.path.join(folder, file_name(name))
            if not os.path.exists(path):
                raise Failure(f"output '{name}' was not written: {shlex.join(command)}")
            outputs[name] = np.load(path)
        return outputs, shlex.join(command)


def compare(got, expected, tolerance, what):
    if got.dtype != expected.dtype or got.shape != expected.shape:
        raise Failure(f"{what}: {got.dtype}{list(got.shape)}, expected {expected.dtype}{list(expected.shape)}")
    off = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    wrong = np.argwhere((got != expected) & (off > tolerance * 1.001))  # a float step is rounded
    if len(wrong):
        first = tuple(int(i) for i in wrong[0])
        worst = off.max()
        raise Failure(f"{what}: {len(wrong)} of {got.size} values differ, by up to {worst}; first at {list(first)}: "
                      f"{got[first]}, expected {expected[first]}")


def check(npu, case, target):
    """The text of a failure, or None."""
    try:
        outputs, command = npu.run(case, target, npu.compile(case, target))
        for name, expected in case.expected.items():
            compare(outputs[name], expected, case.allowed(name), f"output '{name}' of {command}")
    except Failure as failure:
        return str(failure)
    return None


class Case:
    """One line of work: makes the model and its expectation, then checks it on every target."""

    def __init__(self, name, maker, argument):
        self.name, self.maker, self.argument = name, maker, argument

    def run(self, npu, judge, targets, folder):
        os.makedirs(folder)
        try:
            case = self.maker(self.argument, folder, judge)
        except Exception as error:  # whatever it is, it is this case's failure and not the suite's
            return [(False, f"{self.name}: {target}", f"no expectation: {error}") for target in targets]
        results = []
        for target in targets:
            failure = check(npu, case, target)
            results.append((failure is None, f"{case.name}: {target} equals {case.source}", failure or ""))
        if all(passed for passed, _, _ in results):
            shutil.rmtree(folder)
        return results


def shipped_models():
    found = []
    for parent, folders, files in os.walk(os.path.join(ROOT, "models")):
        folders.sort()
        found += [os.path.join(parent, f) for f in sorted(files) if f.endswith(".onnx")]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="ONNX files (default: all of models/)")
    parser.add_argument("--random", type=int, help="number of random models (default: 188, or 0 when models are named)")
    parser.add_argument("--seed", type=int, default=0, help="of the first random model")
    parser.add_argument("--target", action="append", choices=TARGETS, help="default: all of them")
    parser.add_argument("--device", default="sim")
    parser.add_argument("--only", default="", help="regular expression on the names of cases")
    parser.add_argument("--keep", help="folder that keeps the files of failed cases")
    parser.add_argument("--build", default=os.environ.get("NPU_BUILD", os.path.join(ROOT, "build")))
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()

    judge = Judge(args.build)
    npu = Npu(args.build, args.device)
    tap = Tap()
    if npu.missing():  # these are ours: that they are not there is no reason to skip
        tap.result(False, "conformance", npu.missing())
        return tap.finish()
    if judge.missing():
        tap.skip("comparison with ONNX Runtime", judge.missing())
        judge = None

    cases = [Case(os.path.relpath(p, os.path.join(ROOT, "models")), shipped_case, p) for p in (args.models or shipped_models())]
    if not args.models:
        cases.append(Case("digits/digits.onnx, held-out images", held_out_case, None))
        if judge is not None:
            cases += [Case(large_name(n), large_case, n) for n in LARGE_NETWORKS]
            cases += [Case(f"form {name}", form_case, name) for name in forms.FORMS]
    count = args.random if args.random is not None else (0 if args.models else 188)
    cases += [Case(f"random {random_ops.random_name(s)}", random_case, s) for s in range(args.seed, args.seed + count)]
    cases = [c for c in cases if re.search(args.only, c.name)]
    if not cases:
        print("no case has such a name", file=sys.stderr)
        return 2

    scratch = args.keep or tempfile.mkdtemp(prefix="conformance")
    os.makedirs(scratch, exist_ok=True)
    targets = tuple(args.target or TARGETS)
    try:
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            futures = [pool.submit(c.run, npu, judge, targets, tempfile.mkdtemp(dir=scratch) + "/case") for c in cases]
            for future in futures:
                for passed, name, detail in future.result():
                    tap.result(passed, name, detail)
    finally:
        if not args.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    return tap.finish()


if __name__ == "__main__":
    raise SystemExit(main())
