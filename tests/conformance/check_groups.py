#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every fused group of whole networks against ONNX Runtime. Prints TAP.

The network runs on the NPU with what each of its groups makes as a further output. Then each group is
computed by ONNX Runtime, in QOperator form (qoperator_groups.py), from the very bytes that the NPU's group read: an error
in one place shows there and nowhere else. Bit-identical, but within one step where the runtime has only float operators.

    check_groups.py                   networks of all kinds
    check_groups.py FILE.onnx ...     others
"""

import argparse
import concurrent.futures
import os
import subprocess
import sys
import tempfile

from tap import Tap, need_packages, skip_all

need_packages("fused groups")

import numpy as np  # noqa: E402
import onnx  # noqa: E402

import large_networks  # noqa: E402
from judge import ROOT, Judge, file_name  # noqa: E402
from qoperator_groups import Network  # noqa: E402
from run_conformance import VECTORS, Failure, compare, random_inputs  # noqa: E402

# name, size: small images, but all layers
LARGE = (("resnet50", 64), ("mobilenet_v2", 64), ("bert_layer", 32))
MOST_OUTPUTS = 30  # at a time; a model has at most 32
TIMEOUT_SECONDS = 300


def program(build, name, *arguments):
    done = subprocess.run([os.path.join(build, "bin", name), *arguments], capture_output=True, text=True,
                          timeout=TIMEOUT_SECONDS)
    if done.returncode:
        raise Failure(f"{name}: exit status {done.returncode}: {done.stderr.strip()[-600:]}")


class Subject:
    """A network, what its groups make on the NPU, and the judge."""

    def __init__(self, path, judge, folder):
        self.judge, self.folder = judge, folder
        self.network = Network(path)
        self.groups = self._compile(path, "plain")
        self.values = random_inputs(path, 1)
        names = [g.output for g in self.groups]
        inputs = dict(self.values)
        for at in range(0, len(names), MOST_OUTPUTS):
            self._run(inputs, names[at:at + MOST_OUTPUTS])

    def _compile(self, path, stem):
        # Whether fusion pays depends on what leaves SRAM, and further outputs do: fused either way.
        report = os.path.join(self.folder, stem)
        program(self.judge.build, "npu-compile", path, "--target", "card", "--force-fuse", "-q", "--report", report,
                "-o", os.path.join(self.folder, stem + ".npu"))
        return self.network.groups(os.path.join(report, "report.json"))

    def _run(self, inputs, names):
        """What the named tensors are, of all input vectors one after the other."""
        path = os.path.join(self.folder, "marked.onnx")
        onnx.save(self.network.with_outputs(names), path)
        marked = {frozenset(g.nodes) for g in self._compile(path, "marked")}
        if changed := [g.name for g in self.groups if frozenset(g.nodes) not in marked]:
            raise Failure(f"seeing what groups make changes others: {', '.join(changed)}")
        arguments = [os.path.join(self.folder, "marked.npu"), "--device", "sim", "--output", self.folder]
        for name, stack in inputs.items():
            file = os.path.join(self.folder, "input_" + file_name(name))
            np.save(file, stack)
            arguments += ["--input", f"{name}={file}"]
        program(self.judge.build, "npu-run", *arguments)
        self.values.update((name, np.load(os.path.join(self.folder, file_name(name)))) for name in names)

    def check(self, group):
        """Whether the runtime computes all of it in integers; Failure if it computes something else."""
        shapes = {name: (len(stack) // VECTORS, *stack.shape[1:]) for name, stack in self.values.items()}
        judged = self.network.rewrite(group, shapes)
        path = os.path.join(self.folder, f"group{self.groups.index(group)}.onnx")
        onnx.save(judged.model, path)
        outputs = self.judge.run(path, {i.name: self.values[i.name] for i in judged.inputs})
        compare(self.values[group.output], outputs[file_name(judged.result)[:-4]], 0 if judged.exact else 1,
                f"{group.name} ({group.operation}), as {', '.join(n.op_type for n in judged.nodes)}")
        return judged.exact


def check_network(name, path, judge, folder):
    """Results for TAP."""
    try:
        subject = Subject(path, judge, folder)
    except Failure as failure:
        return [(False, f"{name}: the groups can be seen", str(failure))]
    exact, failures = 0, []
    for group in subject.groups:
        try:
            exact += subject.check(group)
        except (Failure, RuntimeError) as failure:
            failures.append(f"{group.name} ({group.operation}): {failure}")
    count = len(subject.groups)
    # The last byte of the last group, changed by more than a step.
    last = subject.groups[-1]
    subject.values[last.output] = subject.values[last.output].copy()
    subject.values[last.output].reshape(-1)[-1] ^= 0x40
    try:
        subject.check(last)
        failures.append(f"{last.name}: a wrong byte goes unnoticed")
    except Failure:
        pass
    return [(not failures, f"{name}: each of {count} groups equals ONNX Runtime's operators, "
             f"{exact} bit for bit, {count - exact} within one step", "\n".join(failures))]


def shipped_networks():
    for folder in ("blocks", "digits", "digits_int8"):
        for parent, _, files in os.walk(os.path.join(ROOT, "models", folder)):
            yield from (os.path.join(parent, f) for f in sorted(files) if f.endswith(".onnx"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    judge, tap = Judge(), Tap()
    if judge.missing():
        skip_all("fused groups against ONNX Runtime", judge.missing())

    def run(case):
        name, path, make = case
        with tempfile.TemporaryDirectory(prefix="groups") as folder:
            if make:
                path = os.path.join(folder, "network.onnx")
                make(path)
            return check_network(name, path, judge, folder)

    cases = [(os.path.relpath(p, os.path.join(ROOT, "models")) if p.startswith(ROOT) else p, p, None)
             for p in args.models or shipped_networks()]
    if not args.models:
        cases += [(f"{name} at {size}", None, lambda path, n=name, s=size: large_networks.make(n, s, path))
                  for name, size in LARGE]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for results in pool.map(run, cases):
            for result in results:
                tap.result(*result)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
