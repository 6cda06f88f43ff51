#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The test runner counts what it sees, and misses no failure. Prints TAP."""

import importlib.util
import io
import os
import sys
from contextlib import redirect_stdout

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/conformance"))
from tap import Tap  # noqa: E402

spec = importlib.util.spec_from_file_location("run_tests", os.path.join(ROOT, "scripts/run-tests.py"))
run_tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run_tests)

CASES = (
    # name, output, exit status, (passed, failed, skipped)
    ("all good", "ok 1 - a\nok 2 - b\n1..2\n", 0, (2, 0, 0)),
    ("a failure", "ok 1 - a\nnot ok 2 - b\n1..2\n", 1, (1, 1, 0)),
    ("a skip is not a pass", "ok 1 - a # SKIP no tool\n1..1\n", 0, (0, 0, 1)),
    ("no result is a failure", "", 0, (0, 1, 0)),
    ("noise is no result", "all tests ok\n", 0, (0, 1, 0)),
    ("stopping before the plan is a failure", "ok 1 - a\n1..3\n", 0, (1, 1, 0)),
    ("a crash after good results is a failure", "ok 1 - a\n", 139, (1, 1, 0)),
    ("time running out is a failure", "ok 1 - a\n1..1\n", "timeout", (1, 1, 0)),
)


def main():
    tap = Tap()
    for name, text, status, expected in CASES:
        tally = run_tests.Tally()
        with redirect_stdout(io.StringIO()):
            run_tests.judge_tap(tally, name, text, status, 0.0)
        got = (tally.passed, len(tally.failures), len(tally.skips))
        tap.result(got == expected, name, "" if got == expected else "%r, expected %r" % (got, expected))
    tally = run_tests.Tally()
    tally.passed, tally.failures, tally.skips = 3, ["x"], ["y", "z"]
    tap.result(tally.line() == "3 passed, 1 failed, 2 skipped", "the last line", tally.line())
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
