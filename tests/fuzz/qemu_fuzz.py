#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Fuzzes the card in QEMU with QEMU's generic fuzzer. See docs/fuzzing.md.

  qemu_fuzz.py run [--threaded] [SECONDS]   fuzzes; what is new goes to build/fuzz/qemu-work
  qemu_fuzz.py coverage                     edges of the device that seeds and that folder reach
  qemu_fuzz.py planted                      plants bugs in the device, one at a time; prints a table
  qemu_fuzz.py test                         TAP, for make test: plays the seeds, fuzzes for a short time

`make qemu-fuzz` builds the program. It starts from the scripts of qemu_seeds.py.
"""

import argparse
import collections
import functools
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import fuzz
import qemu_seeds

PROGRAM = os.path.join(fuzz.BUILD, "bin/qemu-fuzz-x86_64")
WORK = os.path.join(fuzz.BUILD, "qemu-work")
FIRMWARE = os.path.join(fuzz.ROOT, "build/qemu/fw/usr/share")
MESON = os.path.join(fuzz.ROOT, "build/tools/meson/usr/lib/python3/dist-packages")
GLUE = os.path.join(fuzz.ROOT, "qemu-device/qemu")
# What runs the card: the register write that starts it, or a thread of its own.
MODES = {"sync": 30, "threaded": 15}
# What a script may take beyond the time that was asked for.
GRACE_SECONDS = 60
PLANTED_SECONDS = 600
# What is planted: (what stands in npu-pci.c or npu-worker.c, what is planted).
DOORBELL = "        trace_npu_doorbell(npu_id(s), (offset"
BUGS = {
    "a ring of events that is too large ends the process": (
        "npu-pci.c", "    s->touched = true;\n    npu_model_write(",
        "    if (offset == NPU_REG_EVENT_LOG2 && value > 16) {\n        abort();\n    }\n"
        "    s->touched = true;\n    npu_model_write("),
    "an array of 16 queues is indexed by the doorbell's page": (
        "npu-pci.c", DOORBELL,
        "        static uint32_t rung[16];\n"
        "        rung[(offset - NPU_QUEUE_PAGE(0)) / NPU_PAGE_SIZE]++;\n" + DOORBELL),
    "the card relies on bus mastering while it runs": (
        "npu-worker.c", "    enum npu_model_bus result;\n",
        "    enum npu_model_bus result;\n"
        "    assert(pci_get_word(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER);\n"),
    "a read of more than a page is cut in a buffer of one": (
        "npu-worker.c", "    bool locked = bql_locked(); /* sync mode */\n",
        "    bool locked = bql_locked(); /* sync mode */\n    static uint8_t page[4096];\n"
        "    memset(page, 0, bytes);\n"),
}


def environment(mode, *arguments):
    words = ["-M", "q35", "-nodefaults"]
    for folder in ("seabios", "qemu"):
        words += ["-L", os.path.join(FIRMWARE, folder)]
    # Little memory: every script ends with a reset, which clears it.
    words += ["-device", "npu,preset=card,card-memory-mib=1,sync=" + ("on" if mode == "sync" else "off")]
    return dict(os.environ, QEMU_FUZZ_ARGS=shlex.join(words + list(arguments)),
                QEMU_FUZZ_OBJECTS="npu*",
                # QEMU does not free at its end what it allocated at its start.
                ASAN_OPTIONS="detect_leaks=0:quarantine_size_mb=16")


def unpack(folder):
    os.makedirs(folder, exist_ok=True)
    for _, script in qemu_seeds.scripts():
        with open(os.path.join(folder, hashlib.sha1(script).hexdigest()), "wb") as file:
            file.write(script)


def play(env, seconds, *arguments, program=PROGRAM, **kwargs):
    # QEMU blocks the signal of libFuzzer's own -timeout. SIGABRT makes it write the script.
    with subprocess.Popen([program, "--fuzz-target=generic-fuzz", "-rss_limit_mb=1024",
                           "-artifact_prefix=%s/" % fuzz.BUILD] + list(arguments), env=env,
                          **kwargs) as process:
        try:
            output = process.communicate(timeout=seconds + GRACE_SECONDS)[0]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            try:
                output = process.communicate(timeout=20)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                output = process.communicate()[0]
            output = (output or "") + "\nno end in time\n"
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def captured(env, seconds, *arguments, **kwargs):
    return play(env, seconds, *arguments, **kwargs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                encoding="utf-8", errors="replace")


def search(mode, seconds, folder, run=play):
    return run(environment(mode), seconds, "-seed=1", "-max_total_time=%d" % seconds,
               "-max_len=2048", "-detect_leaks=0", "-print_final_stats=1", folder)


def build_or_die():
    if subprocess.run([os.path.join(fuzz.ROOT, "scripts/build-qemu.sh"), "--fuzz"], check=False).returncode:
        sys.exit(1)


def run(options):
    build_or_die()
    unpack(WORK)
    return search("threaded" if options.threaded else "sync", options.seconds, WORK).returncode


def coverage(_):
    build_or_die()
    unpack(WORK)
    done = captured(environment("sync"), 600, "-runs=0", "-detect_leaks=0", "-print_coverage=1", WORK)
    if done.returncode:
        sys.exit(done.stdout[-4000:])
    print("| function | edges | reached |\n|---|---|---|")
    total = [0, 0]
    for hit, total_edges, name, path in sorted(set(re.findall(
            r"^(?:UN)?COVERED_FUNC: hits: \d+ edges: (\d+)/(\d+) (\w+) (\S+)", done.stdout, re.M)),
            key=lambda entry: (entry[3].rpartition(":")[0], entry[2])):
        if "/hw/npu/" not in path or name.startswith("_"):
            continue
        total[0] += int(total_edges)
        total[1] += int(hit)
        print("| %s: %s | %s | %s |" % (os.path.basename(path).split(":")[0], name, total_edges, hit))
    print("| **all** | %d | %d |" % tuple(total))
    return 0 if total[1] else 1


def planted(_):
    """In QEMU's copy of the device; the next build puts the device back."""
    build_or_die()
    folder, program = os.path.join(fuzz.BUILD, "qemu-planted"), PROGRAM + "-planted"
    objects = os.path.join(fuzz.ROOT, "build/qemu/fuzz-obj")
    missed = 0
    print("| planted | found after |\n|---|---|", flush=True)
    for name, (file, old, new) in BUGS.items():
        with open(os.path.join(GLUE, file)) as source:
            text = source.read()
        if text.count(old) != 1:
            sys.exit("%s: the place of '%s' is not there: the list needs an update" % (file, name))
        copy = os.path.join(fuzz.ROOT, "build/qemu/src/hw/npu", file)
        try:
            with open(copy, "w") as target:
                target.write(text.replace(old, new))
            subprocess.run(["ninja", "-C", objects, "-j", fuzz.JOBS, os.path.basename(PROGRAM)],
                           env=dict(os.environ, PYTHONPATH=MESON), stdout=subprocess.DEVNULL, check=True)
            shutil.copy(os.path.join(objects, os.path.basename(PROGRAM)), program)
        finally:
            with open(copy, "w") as target:
                target.write(text)
        shutil.rmtree(folder, ignore_errors=True)
        unpack(folder)
        started = time.monotonic()
        done = search("sync", PLANTED_SECONDS, folder, functools.partial(captured, program=program))
        found = done.returncode != 0
        missed += not found
        runs = re.search(r"number_of_executed_units: (\d+)", done.stdout)
        print("| %s | %s |" % (name, "%s scripts, %.0f s" % (
            runs.group(1) if runs else "?", time.monotonic() - started) if found else "**not found**"),
              flush=True)
    return 1 if missed else 0


def trace_events():
    with open(os.path.join(GLUE, "trace-events")) as file:
        return re.findall(r"^(npu_\w+)\(", file.read(), re.M)


def test(_):
    tap = fuzz.Tap()
    if not os.path.exists(PROGRAM):
        tap.skip("all", "build/fuzz/bin/qemu-fuzz-x86_64 is not built; make qemu-fuzz does")
        return tap.end()
    folder = os.path.join(fuzz.BUILD, "qemu-fresh")
    shutil.rmtree(folder, ignore_errors=True)
    unpack(folder)
    seeds = sorted(os.path.join(folder, name) for name in os.listdir(folder))
    done = captured(environment("sync", "-trace", "npu_*"), 60, *seeds)
    tap.result(done.returncode == 0, "the %d seeds are played" % len(seeds), done.stdout)
    seen = collections.Counter(re.findall(r"^(npu_\w+) ", done.stdout, re.M))
    for event in trace_events():
        tap.result(seen[event], "%s: %d times" % (event, seen[event]))
    for mode, seconds in MODES.items():
        done = search(mode, seconds, folder, captured)
        runs = re.search(r"number_of_executed_units: (\d+)", done.stdout)
        print("# %s scripts" % (runs.group(1) if runs else "?"))
        tap.result(done.returncode == 0 and runs and int(runs.group(1)) > len(seeds),
                   "qemu-fuzz-x86_64, %s: %d seconds from the seeds, no finding" % (mode, seconds),
                   done.stdout)
    return tap.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function in (run, coverage, planted, test):
        command = commands.add_parser(function.__name__)
        command.set_defaults(function=function)
        if function is run:
            command.add_argument("--threaded", action="store_true",
                                 help="the card runs in a thread of its own, as without sync=on")
            command.add_argument("seconds", type=int, nargs="?", default=60)
    options = parser.parse_args()
    return options.function(options)


if __name__ == "__main__":
    sys.exit(main())
