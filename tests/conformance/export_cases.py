#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes compiled models, inputs and expected outputs into a folder, with a script that runs them.

    export_cases.py DIR [--target card|FILE.json] [--random N] [--device 0]

DIR/run.sh needs only a POSIX shell and npu-run: it is what runs inside the VM. It prints TAP. The
expected bytes are ONNX Runtime's, or the recorded vectors' where the runtime is not there.
"""

import argparse
import os
import re
import shlex
import sys
import tempfile

from run_conformance import (ROOT, Failure, Judge, Npu, file_name, held_out_case, np,
                             random_case, shipped_case, shipped_models)

SCRIPT_HEAD = """#!/bin/sh
# Compiled models against the bytes they must give; prints TAP.
cd "$(dirname "$0")" || exit 1
count=0 failed=0
check() {
	name=$1
	shift
	count=$((count + 1))
	if output=$("$@" 2>&1); then
		echo "ok $count - $name"
	else
		failed=$((failed + 1))
		echo "not ok $count - $name"
		echo "$output" | sed 's/^/# /'
	fi
}
"""
SCRIPT_TAIL = """
echo "1..$count"
[ $failed -eq 0 ]
"""


def export(case, npu, target, folder, device):
    """The line of the script for one case."""
    os.makedirs(folder)
    os.replace(npu.compile(case, target), os.path.join(folder, "model.npu"))
    relative = os.path.basename(folder)
    command = ["npu-run", f"{relative}/model.npu", "--device", device]
    for option, arrays, prefix in (("--input", case.inputs, "input_"), ("--expect", case.expected, "expect_")):
        for name, stack in arrays.items():
            np.save(os.path.join(folder, prefix + file_name(name)), stack)
            command += [option, f"{name}={relative}/{prefix}{file_name(name)}"]
    if case.tolerance:
        command += ["--tolerance", str(case.tolerance)]
    text = f"{case.name} on device {device} equals {case.source}"
    return f"check {shlex.quote(text)} {shlex.join(command)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--target", default="card", help="a name or a JSON file")
    parser.add_argument("--device", default="0")
    parser.add_argument("--random", type=int, default=0, help="number of random models besides the shipped ones")
    parser.add_argument("--only", default="", help="regular expression on the shipped models' paths")
    parser.add_argument("--build", default=os.environ.get("NPU_BUILD", os.path.join(ROOT, "build")))
    args = parser.parse_args()
    judge = Judge(args.build)
    if judge.missing():
        print(f"{sys.argv[0]}: recorded vectors instead of ONNX Runtime: {judge.missing()}", file=sys.stderr)
        judge = None
    npu = Npu(args.build, args.device)
    work = [(shipped_case, p) for p in shipped_models() if re.search(args.only, p)]
    work += [(held_out_case, None)] if re.search(args.only, "held-out") else []
    work += [(random_case, seed) for seed in range(args.random)]
    os.makedirs(args.output)
    lines = []
    for n, (maker, argument) in enumerate(work):
        with tempfile.TemporaryDirectory(prefix="export") as scratch:
            case = maker(argument, scratch, judge)
            try:
                lines.append(export(case, npu, args.target, os.path.join(args.output, f"{n:03}"), args.device))
            except Failure as failure:
                # Not to be lost: in the script it is a test that fails.
                lines.append(f"check {shlex.quote(case.name)} sh -c {shlex.quote('echo ' + shlex.quote(str(failure)) + '; false')}")
    with open(os.path.join(args.output, "run.sh"), "w", encoding="utf-8") as f:
        f.write(SCRIPT_HEAD + "\n".join(lines) + SCRIPT_TAIL)
    os.chmod(os.path.join(args.output, "run.sh"), 0o755)


if __name__ == "__main__":
    main()
