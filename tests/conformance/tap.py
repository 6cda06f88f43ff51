# SPDX-License-Identifier: MIT
"""Test Anything Protocol, as `make test` counts it."""

import importlib.util
import sys


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def result(self, passed, name, detail=""):
        self.count += 1
        self.failed += not passed
        print(f"{'ok' if passed else 'not ok'} {self.count} - {name}")
        for line in str(detail).splitlines():
            print(f"# {line}")
        sys.stdout.flush()

    def skip(self, name, reason):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {reason}", flush=True)

    def finish(self):
        """Prints the plan; the exit status for the caller."""
        print(f"1..{self.count}", flush=True)
        return 1 if self.failed else 0


def skip_all(name, reason):
    """One counted skip for a script that cannot run at all."""
    print(f"ok 1 - {name} # SKIP {reason}")
    print("1..1")
    sys.exit(0)


def need_packages(name):
    """Skips the script where the distribution's packages that all of these tests use are missing. To be called
    before anything that imports them; a mistake in our own modules is none of its business."""
    for module, package in (("numpy", "python3-numpy"), ("onnx", "python3-onnx")):
        if importlib.util.find_spec(module) is None:
            skip_all(name, f"{package} is not installed")
