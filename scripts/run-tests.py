#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs the tests and counts them.

Three kinds:
  unit   GoogleTest cases, through ctest
  tap    programs on the host that print TAP: tests of ctest with label "tap"
  vm     tests/vm/*.sh, each in a VM of its own (tests/vm/README.md)

The last line is "N passed, N failed, N skipped"; the exit status is 0 only if
nothing failed and something passed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mkinitrd  # noqa: E402

ROOT = mkinitrd.ROOT
BUILD = os.path.join(ROOT, "build")
RESULTS = os.path.join(mkinitrd.PLACE, "test-results")
VM_OPTIONS = ("device", "file", "timeout", "memory", "smp", "machine", "append", "module-options",
              "no-module", "no-device", "env", "qemu", "migrate", "sleep")


class Tally:
    def __init__(self):
        self.passed = 0
        self.failures = []
        self.skips = []

    def line(self):
        return "%d passed, %d failed, %d skipped" % (
            self.passed, len(self.failures), len(self.skips))


def say(text):
    print(text, flush=True)


def read_tap(text):
    """(passed names, failed names, skipped (name, why), planned count or None)"""
    passed, failed, skipped, plan = [], [], [], None
    for line in text.splitlines():
        match = re.match(r"(not )?ok\b *\d* *-? *(.*)$", line)
        if match:
            name, _, why = match.group(2).partition("# SKIP")
            if match.group(1):
                failed.append(name.strip())
            elif "# SKIP" in line:
                skipped.append((name.strip(), why.strip()))
            else:
                passed.append(name.strip())
        match = re.match(r"1\.\.(\d+)", line)
        if match:
            plan = int(match.group(1))
    return passed, failed, skipped, plan


def judge_tap(tally, name, text, status, seconds):
    passed, failed, skipped, plan = read_tap(text)
    count = len(passed) + len(failed) + len(skipped)
    if count == 0:
        failed.append("printed no result")
    elif plan is not None and plan != count:
        failed.append("printed %d results of %d" % (count, plan))
    if status != 0 and not failed:
        failed.append("ended with status %s" % status)
    tally.passed += len(passed)
    tally.failures += ["%s: %s" % (name, text) for text in failed]
    tally.skips += ["%s: %s (%s)" % (name, skip, why) for skip, why in skipped]
    word = "FAILED" if failed else "ok"
    say("%-8s %s: %d passed, %d failed, %d skipped, %.1f s"
        % (word, name, len(passed), len(failed), len(skipped), seconds))
    if failed:
        say(text.rstrip())


def run_command(name, command, timeout, cwd=None, env=None):
    """Runs a TAP program; its output, also kept in build/test-results, and status."""
    started = time.monotonic()
    path = os.path.join(RESULTS, re.sub(r"[^\w.]+", "-", name) + ".log")
    with open(path, "wb") as log:
        try:
            status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=timeout,
                                    stdin=subprocess.DEVNULL, cwd=cwd, env=env, check=False).returncode
        except subprocess.TimeoutExpired:
            log.write(b"\nstopped: no end in time\n")
            status = "timeout"
        except OSError as error:
            log.write(("\n%s\n" % error).encode())
            status = "not started"
    with open(path, errors="replace") as log:
        return log.read(), status, time.monotonic() - started


def run_unit(tally, jobs, patterns):
    say("-- unit tests")
    path = os.path.join(RESULTS, "ctest.xml")
    if os.path.exists(path):
        os.remove(path)
    command = ["ctest", "--test-dir", BUILD, "-j", str(jobs), "-LE", "tap", "--output-on-failure",
               "--output-junit", path, "--progress"]
    if patterns:
        command += ["-R", "|".join(re.escape(pattern) for pattern in patterns)]
    with open(os.path.join(RESULTS, "ctest.log"), "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        shown = time.monotonic()
        tail = []
        for line in process.stdout:
            log.write(line)
            tail = (tail + [line])[-400:]
            if time.monotonic() - shown > 2:
                shown = time.monotonic()
                say("   " + line.strip()[:100])
        process.wait()
    if not os.path.exists(path):
        say("".join(tail))
        tally.failures.append("unit: ctest gave no result")
        return
    cases = xml.etree.ElementTree.parse(path).getroot().findall("testcase")
    before = (tally.passed, len(tally.failures), len(tally.skips))
    for case in cases:
        name = case.get("name")
        if case.find("failure") is not None or case.get("status") == "fail":
            tally.failures.append(name)
            output = case.findtext("system-out") or ""
            say("FAILED   %s\n%s" % (name, "\n".join(output.splitlines()[-40:])))
        elif case.find("skipped") is not None:
            output = case.findtext("system-out") or ""
            why = re.search(r"Skipped\s+(.*)", output)
            tally.skips.append("%s (%s)" % (name, why.group(1) if why else "not run"))
            if "NOT_BUILT" in name or case.get("status") == "disabled" or not why:
                # ctest calls a missing program "not run".
                tally.skips.pop()
                tally.failures.append(name + ": did not run")
        else:
            tally.passed += 1
    say("%-8s unit: %d passed, %d failed, %d skipped" % (
        "ok" if len(tally.failures) == before[1] else "FAILED", tally.passed - before[0],
        len(tally.failures) - before[1], len(tally.skips) - before[2]))


def run_tap(tally, patterns):
    listing = subprocess.run(["ctest", "--test-dir", BUILD, "-L", "tap", "--show-only=json-v1"],
                             stdout=subprocess.PIPE, check=False, text=True).stdout
    for test in json.loads(listing or "{}").get("tests", []):
        name = test["name"]
        if patterns and not any(pattern in name for pattern in patterns):
            continue
        properties = {entry["name"]: entry["value"] for entry in test.get("properties", [])}
        environment = dict(os.environ)
        environment.update(entry.split("=", 1) for entry in properties.get("ENVIRONMENT", []))
        if "command" not in test:
            tally.failures.append(name + ": its program is not built")
            continue
        say("-- %s" % name)
        text, status, seconds = run_command(
            name, test["command"], properties.get("TIMEOUT", 600),
            properties.get("WORKING_DIRECTORY"), environment)
        judge_tap(tally, name, text, status, seconds)


def vm_options(script, work):
    """From the lines "# vm: ..." of a test: (options of vm-run, timeout, commands for the
    host, why it cannot run here or None)."""
    options, timeout, prepare, missing = [], 120, [], None
    with open(script) as lines:
        for line in lines:
            match = re.match(r"# vm: *([\w-]+)(?:=(.*\S))?\s*$", line)
            if not match:
                continue
            name, value = match.groups()
            value = value and value.replace("$WORK", work)
            if name == "prepare":
                prepare.append(value)
                continue
            if name == "need":
                path, _, why = value.partition(" ")
                if not os.path.exists(os.path.join(ROOT, path)):
                    missing = why
                continue
            if name not in VM_OPTIONS:
                sys.exit("%s: no option '%s' of vm-run" % (script, name))
            if name == "timeout":
                timeout = int(value)
            if name == "file":
                value = os.path.join(ROOT, value)
            options.append("--" + name if value is None else "--%s=%s" % (name, value))
    return options, timeout, prepare, missing


def run_vm(tally, patterns):
    folder = os.path.join(ROOT, "tests/vm")
    scripts = sorted(name for name in os.listdir(folder)
                     if name.endswith(".sh") and name != "tap.sh") if os.path.isdir(folder) else []
    run = os.path.join(ROOT, "scripts/vm-run")
    for script in scripts:
        name = "vm/" + script[:-3]
        if patterns and not any(pattern in name for pattern in patterns):
            continue
        path = os.path.join(folder, script)
        work = os.path.join(RESULTS, "vm-" + script[:-3])
        os.makedirs(work, exist_ok=True)
        options, timeout, prepare, missing = vm_options(path, work)
        say("-- %s" % name)
        if missing:
            judge_tap(tally, name, "ok 1 - all # SKIP %s\n" % missing, 0, 0.0)
            continue
        if prepare:
            text, status, seconds = run_command(
                name, ["sh", "-e", "-c", "\n".join(prepare)], 300, ROOT)
            if status != 0:
                judge_tap(tally, name, text + "not ok 1 - preparation on the host\n", status, seconds)
                continue
        text, status, seconds = run_command(
            name, [run, "--out", work, "--file", os.path.join(folder, "tap.sh"), "--file", path] +
            options + ["--", "sh", "/root/" + script], timeout * mkinitrd.patience() + 60)
        judge_tap(tally, name, text, status, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("unit", "tap", "vm"):
        parser.add_argument("--" + kind, action="store_true", help="only this kind")
    parser.add_argument("pattern", nargs="*", help="only tests whose name contains one of these")
    options = parser.parse_args()
    everything = not (options.unit or options.tap or options.vm)

    os.makedirs(RESULTS, exist_ok=True)
    tally = Tally()
    if options.unit or everything:
        run_unit(tally, int(os.environ.get("JOBS", os.cpu_count() or 1)), options.pattern)
    if options.tap or everything:
        run_tap(tally, options.pattern)
    if options.vm or everything:
        run_vm(tally, options.pattern)

    for skip in tally.skips:
        say("skipped: " + skip)
    for failure in tally.failures:
        say("failed: " + failure)
    say(tally.line())
    return 1 if tally.failures or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
