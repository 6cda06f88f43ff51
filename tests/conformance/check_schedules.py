#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""How well whole networks are scheduled, in modelled cycles and bytes. Prints TAP.

- Every network compiles for every SRAM size, and more SRAM never makes it slower.
- Fusion, residency and stripes never make it slower, each added to any of the others.
- Utilisation and traffic on the small card are at least what docs/compiler.md says.
- Two cores of card are faster than one, together on one image or encoder layer and each with its own image.
- The same input gives the same bytes.
- Ctrl-C ends a compilation at once and leaves nothing behind.

    check_schedules.py            all that
    check_schedules.py --options  the optimisations alone, with every SRAM size
"""

import argparse
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

from tap import Tap, need_packages

need_packages("schedules")

import large_networks  # noqa: E402
from judge import ROOT  # noqa: E402

# and the size of their input
NETWORKS = {"resnet50": 224, "resnet18": 224, "mobilenet_v1": 224, "mobilenet_v2": 224, "mobilenet_v3": 224,
            "efficientnet_b0": 224, "yolov5n": 320, "densenet121": 224, "resnet8": 32, "ds_cnn": 49,
            "bert_layer": 128}
# What a target has that its base has not.
TARGETS = {"edge": {}, "card": {}, "edge with 32 x 32": {"base": "edge", "mac_outputs": 32, "mac_inputs": 32}}
SRAM_KIB = (64, 128, 256, 512, 1024, 2048, 4096)
OPTIMISATIONS = ("fuse", "residency", "stripes")
# network, target, SRAM in KiB: least utilisation of one core, most external bytes
PROMISES = {
    ("resnet50", "edge", 512): (0.85, 38e6),
    ("resnet50", "edge", 2048): (0.85, 27e6),
    ("mobilenet_v2", "edge", 512): (0.48, 5.5e6),
    ("mobilenet_v2", "edge", 2048): (0.48, 4.1e6),
    ("mobilenet_v3", "edge", 512): (0.34, 6.3e6),
    ("efficientnet_b0", "edge", 512): (0.40, 7.1e6),
    ("yolov5n", "edge", 512): (0.73, 3.5e6),
    ("densenet121", "edge", 512): (0.81, 16.5e6),
    ("resnet8", "edge", 512): (0.62, None),
    ("ds_cnn", "edge", 512): (0.25, None),
    ("resnet50", "card", 2048): (0.65, None),
    ("bert_layer", "edge with 32 x 32", 1024): (0.85, 8.0e6),
}


class Compiler:
    def __init__(self, folder):
        build = os.environ.get("NPU_BUILD", os.path.join(ROOT, "build"))
        self.program = os.path.join(build, "bin", "npu-compile")
        self.folder = folder

    def run(self, model, base, sram_kib, options=(), output="out.npu"):
        """The report, or a text that says why there is none."""
        target = os.path.join(self.folder, "target.json")
        with open(target, "w") as f:
            json.dump({"base": base, "name": "schedules", "sram_bytes": sram_kib << 10, **TARGETS[base]}, f)
        report = os.path.join(self.folder, "report")
        done = subprocess.run([self.program, model, "-o", os.path.join(self.folder, output), "--target", target,
                               "--report", report, "-q", *options], capture_output=True, text=True, timeout=120)
        if done.returncode:
            return done.stderr
        with open(os.path.join(report, "report.json")) as f:
            return json.load(f)


def check_sizes(tap, compiler, name, model):
    cycles, lines = [], []
    for kib in SRAM_KIB:
        report = compiler.run(model, "edge", kib)
        if isinstance(report, str):
            tap.result(False, f"{name} compiles with {kib} KiB of SRAM", report)
            return
        cycles.append(report["modelled_cycles"])
        lines.append(f"{kib} KiB: {cycles[-1]} cycles, {report['external_bytes'] / 1e6:.2f} MB")
    tap.result(cycles == sorted(cycles, reverse=True), f"{name}: more SRAM is never slower", "\n".join(lines))


def check_options(tap, compiler, name, model, kib):
    """Every set of optimisations, and that one more is never slower. Stripes need residency."""
    cycles = {}
    for size in range(len(OPTIMISATIONS) + 1):
        for on in map(frozenset, itertools.combinations(OPTIMISATIONS, size)):
            if "stripes" in on and "residency" not in on:
                continue
            report = compiler.run(model, "edge", kib, [f"--no-{o}" for o in OPTIMISATIONS if o not in on])
            if isinstance(report, str):
                tap.result(False, f"{name} compiles with {kib} KiB and {', '.join(on) or 'nothing on'}", report)
                return
            cycles[on] = report["modelled_cycles"]
    slower = [f"{', '.join(sorted(more - less))} on top of {', '.join(sorted(less)) or 'nothing'}"
              for less, more in itertools.permutations(cycles, 2)
              if less < more and len(more - less) == 1 and cycles[more] > cycles[less]]
    tap.result(not slower, f"{name} with {kib} KiB: one more optimisation is never slower",
               "\n".join([f"{', '.join(sorted(on)) or 'nothing'}: {c} cycles" for on, c in cycles.items()] +
                         [f"slower: {text}" for text in slower]))


def check_promises(tap, compiler, name, model):
    for (network, base, kib), (utilization, most_bytes) in PROMISES.items():
        if network != name:
            continue
        report = compiler.run(model, base, kib)
        what = f"{name} on {base} with {kib} KiB: at least {100 * utilization:.0f} % utilisation"
        what += f", at most {most_bytes / 1e6} MB" if most_bytes else ""
        if isinstance(report, str):
            tap.result(False, what, report)
            continue
        good = report["mac_utilization"] >= utilization
        good = good and (most_bytes is None or report["external_bytes"] <= most_bytes)
        tap.result(good, what, f"{100 * report['mac_utilization']:.1f} %, {report['external_bytes'] / 1e6:.2f} MB")


def check_cores(tap, compiler, name, model, least, options=(), sram_kib=2048, most_bytes=None):
    cycles, lines = [], []
    for cores in (1, 2):
        report = compiler.run(model, "card", sram_kib, ["--cores", str(cores), "--max-yield-gap", "0", *options])
        if isinstance(report, str):
            tap.result(False, f"{name} compiles for {cores} cores", report)
            return
        cycles.append(report["modelled_cycles"])
        lines.append(f"{cores}: {cycles[-1]} cycles, {report['external_bytes'] / 1e6:.2f} MB")
    good = cycles[0] >= least * cycles[1] and (most_bytes is None or report["external_bytes"] <= most_bytes)
    tap.result(good, f"{name}, {sram_kib} KiB: two cores are at least {least} times as fast as one"
               + (f", with at most {most_bytes / 1e6} MB" if most_bytes else ""), "\n".join(lines))


def check_same_bytes(tap, compiler, name, model):
    files = []
    for output in ("first.npu", "second.npu"):
        compiler.run(model, "edge", 512, output=output)
        with open(os.path.join(compiler.folder, output), "rb") as f:
            files.append(f.read())
    tap.result(files[0] == files[1], f"{name}: twice the same bytes")


def check_interrupt(tap, compiler, model):
    """While it compiles, which takes longer than it waits here, and while it verifies, which takes much longer."""
    for options in ([], ["--verify"]):
        with tempfile.TemporaryDirectory(dir=compiler.folder) as folder:
            out = os.path.join(folder, "out.npu")
            with subprocess.Popen([compiler.program, model, "-o", out, "--report", os.path.join(folder, "report"),
                                   *options], stderr=subprocess.PIPE, text=True) as process:
                line = process.stderr.readline() if options else time.sleep(0.3)  # the first says that it goes on
                while options and line and not line.startswith("verifying"):
                    line = process.stderr.readline()
                process.send_signal(signal.SIGINT)
                begin = time.monotonic()
                process.wait(120)
            left = [f for f in os.listdir(folder) if f != "report"]
            tap.result(process.returncode == 130 and not left, f"Ctrl-C in npu-compile {' '.join(options)}",
                       f"status {process.returncode} after {time.monotonic() - begin:.1f} s, left: {left}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--options", action="store_true", help="the optimisations alone, with every SRAM size")
    parser.add_argument("--only", default="", help="regular expression on the networks' names")
    args = parser.parse_args()
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix="schedules") as folder:
        compiler = Compiler(folder)
        for name, size in NETWORKS.items():
            if not re.search(args.only, name):
                continue
            model = os.path.join(folder, name + ".onnx")
            large_networks.make(name, size, model)
            for kib in SRAM_KIB if args.options else (512,):
                check_options(tap, compiler, name, model, kib)
            if not args.options:
                check_sizes(tap, compiler, name, model)
                check_promises(tap, compiler, name, model)
                check_same_bytes(tap, compiler, name, model)
                if name == "bert_layer":
                    check_cores(tap, compiler, name, model, 1.5)
                if name == "densenet121":
                    check_cores(tap, compiler, name, model, 1.7, most_bytes=9.2e6)
                if name == "mobilenet_v2":
                    check_cores(tap, compiler, name, model, 1.6, sram_kib=512, most_bytes=4.1e6)
                if name == "resnet50":
                    check_interrupt(tap, compiler, model)
            os.remove(model)
        if not args.options and re.search(args.only, "resnet50"):
            model = os.path.join(folder, "batched.onnx")
            large_networks.make("resnet50", 224, model, batch="N")
            for batch, least in ((1, 1.6), (2, 1.9)):
                check_cores(tap, compiler, f"resnet50, batch {batch}", model, least, ["--batch", str(batch)])
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
