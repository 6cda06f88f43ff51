#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Plants bugs in a copy of the tree, one at a time, and sees who finds them.

  planted_bugs.py [NAME]...     all of them, or those named; prints a table

Each bug is a change of one place, as a tired programmer makes it. Three finders
try in turn: the corpus, replayed under both sanitizers; 60 s of fuzzing from the
corpus with a fixed seed; the unit tests of checks and card, also under sanitizers.
The copy and its build lie in build/planted; later runs build a file a bug. First
of all the tree as it is must pass the corpus and the fuzzing.
"""

import itertools
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
COPY = os.path.join(ROOT, "build/planted/tree")
BUILD = os.path.join(ROOT, "build/planted/build")
JOBS = os.environ.get("JOBS", str(os.cpu_count() or 1))
FUZZ_SECONDS = 60
MODEL = "qemu-device/model/"

# name: file, what stands there, what is planted
BUGS = {
    "a doorbell may announce one packet more than the ring holds": (
        MODEL + "card.cpp",
        "  if (producer - q.consumer > q.ring_size()) {",
        "  if (producer - q.consumer > q.ring_size() + 1) {"),
    "an operand may end behind the SRAM": (
        "arch/stream_decode.cpp",
        "    if (end <= target_.sram_bytes) {",
        "    if (access.address <= target_.sram_bytes) {"),
    "a DMA block's size is a 32-bit product": (
        "arch/check_dma.cpp",
        "    bytes = saturating_product({bytes, padded});",
        "    bytes = static_cast<uint32_t>(bytes * padded);"),
    "the end of an operand is a 32-bit product of a stride": (
        "arch/sram_access.cpp",
        "  for (int i = 0; i < 4; ++i) last += stride[i] * (count[i] - 1);",
        "  for (int i = 0; i < 4; ++i) last += static_cast<uint32_t>(stride[i] * (count[i] - 1));"),
    "TLB entries are not told apart by address space": (
        MODEL + "mmu.cpp",
        "  return entry.valid && entry.asid == asid && entry.page == va >> entry.shift;",
        "  return entry.valid && asid != 0 && entry.page == va >> entry.shift;"),
    "a page that may be read may be written": (
        MODEL + "mmu.cpp",
        "  return access == NPU_ACCESS_WRITE ? entry.write : entry.read;",
        "  return access == NPU_ACCESS_WRITE ? entry.read : entry.read;"),
    "a completion is written with its sequence first": (
        MODEL + "card_packets.cpp",
        """      bus_.write(NPU_MEMORY_HOST, at + kAfter, bytes + kAfter, sizeof(c) - kAfter) ==
          NPU_STATUS_OK &&
      bus_.write(NPU_MEMORY_HOST, at, &c.sequence, sizeof(c.sequence)) == NPU_STATUS_OK &&
""",
        """      bus_.write(NPU_MEMORY_HOST, at, &c.sequence, sizeof(c.sequence)) == NPU_STATUS_OK &&
      bus_.write(NPU_MEMORY_HOST, at + kAfter, bytes + kAfter, sizeof(c) - kAfter) ==
          NPU_STATUS_OK &&
"""),
    "a reset forgets that cores still belong to a job": (
        MODEL + "card.cpp",
        "    if (queues_[index].job != nullptr) release_cores(*queues_[index].job);\n"
        "    queues_[index] = {};",
        "    queues_[index] = {};"),
    "a write is not ordered behind earlier reads": (
        "arch/hazards.cpp",
        "    if (!ordered(access.core, other, cell.read[other])) {",
        "    if (!ordered(access.core, other, cell.read[other]) && other == slot) {"),
    "the quick look at hazards does not compare writes with earlier reads": (
        "arch/hazard_screen.cpp",
        "          (access.write && !free_of_conflict(access, now, before.read, other_core, other)))",
        "          (!access.write && !free_of_conflict(access, now, before.read, other_core, other)))"),
    "a saved state may ask for queues that do not exist": (
        MODEL + "card_state.cpp",
        "  for (uint32_t queue : touched) ar.require(queue < r.queue.size());",
        "  for (uint32_t queue : touched) ar.require(queue <= 0xffffff);"),
    "a wait is met one command early": (
        MODEL + "job.cpp",
        "    if (streams[core].retired[engine] < (wait & NPU_WAIT_COUNT_MASK)) return false;",
        "    if (streams[core].retired[engine] + 1 < (wait & NPU_WAIT_COUNT_MASK)) return false;"),
}


def sync():
    """The copy as the tree is; only what differs is written, so that little is built."""
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others",
                              "--exclude-standard"], stdout=subprocess.PIPE, check=True).stdout
    for name in filter(None, listing.decode().split("\0")):
        source, target = os.path.join(ROOT, name), os.path.join(COPY, name)
        if not os.path.isfile(source):
            continue
        with open(source, "rb") as file:
            data = file.read()
        if os.path.exists(target):
            with open(target, "rb") as file:
                if file.read() == data:
                    continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(source, target)


def compile_targets(*targets):
    subprocess.run(["ninja", "-C", BUILD, "-j", JOBS] + list(targets), stdout=subprocess.DEVNULL,
                   check=True)


def build():
    if not os.path.exists(os.path.join(BUILD, "build.ninja")):
        subprocess.run(["cmake", "-S", COPY, "-B", BUILD, "-G", "Ninja",
                        "-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++",
                        "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DNPU_FUZZ=ON",
                        "-DNPU_SANITIZE=address,undefined"], stdout=subprocess.DEVNULL, check=True)
    compile_targets("card-replay", "card-fuzz")


def ends_well(command, timeout):
    env = dict(os.environ, ASAN_OPTIONS="quarantine_size_mb=16")
    try:
        return subprocess.run(command, cwd=BUILD, env=env, timeout=timeout, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def finders():
    sys.path.insert(0, HERE)
    import fuzz  # pylint: disable=import-outside-toplevel
    folder = os.path.join(BUILD, "corpus")
    shutil.rmtree(folder, ignore_errors=True)
    fuzz.unpack(folder)
    yield "corpus", [["bin/card-replay"] + fuzz.CORPORA]
    yield "%d s of fuzzing" % FUZZ_SECONDS, [
        ["bin/card-fuzz", "-seed=1", "-max_total_time=%d" % FUZZ_SECONDS, "-timeout=20",
         "-max_len=1024", folder]]
    # Last: they take long to build.
    for program in ("arch-test", "model-test"):
        compile_targets(program)
        yield program, [["test/" + program, "--gtest_fail_fast", "--gtest_brief=1"]]


def find():
    """(who found something, seconds), or (None, seconds)."""
    started = time.monotonic()
    for finder, commands in finders():
        if not all(ends_well(command, 600) for command in commands):
            return finder, time.monotonic() - started
    return None, time.monotonic() - started


def main():
    wanted = sys.argv[1:] or list(BUGS)
    if set(wanted) - set(BUGS):
        sys.exit("no such bug: " + ", ".join(sorted(set(wanted) - set(BUGS))))
    sync()
    build()
    for finder, commands in itertools.islice(finders(), 2):
        if not all(ends_well(command, 600) for command in commands):
            sys.exit("without any planted bug, something is found by: " + finder)
    print("| planted | found by | seconds |\n|---|---|---|", flush=True)
    missed = 0
    for name in wanted:
        path, old, new = BUGS[name]
        target = os.path.join(COPY, path)
        with open(target) as file:
            text = file.read()
        if text.count(old) != 1:
            sys.exit("%s: the place of '%s' is not there: the list needs an update" % (path, name))
        with open(target, "w") as file:
            file.write(text.replace(old, new))
        build()
        finder, seconds = find()
        missed += finder is None
        print("| %s | %s | %.0f |" % (name, finder or "**nobody**", seconds), flush=True)
        with open(target, "w") as file:
            file.write(text)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
