#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Fuzzes the card model at its C ABI. See docs/fuzzing.md.

  fuzz.py run [SECONDS]   fuzzes from the corpus; what is new goes to build/fuzz/work
  fuzz.py merge           makes the corpus anew from itself and build/fuzz/work
  fuzz.py coverage        branches of each source file that the corpus reaches
  fuzz.py test            TAP, for make test: replays the corpus and fuzzes for a short time
  fuzz.py ledger REPLAY   TAP: the corpus reaches every opcode, packet, status and fault

The corpus is two files, a script a line in hexadecimal: card.corpus is what
fuzzing found, reach.corpus is written by hand, one line for each thing that
must be reached however the rest changes.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CORPUS = os.path.join(HERE, "card.corpus")
CORPORA = [CORPUS, os.path.join(HERE, "reach.corpus")]
BUILD = os.path.join(ROOT, "build/fuzz")
WORK = os.path.join(BUILD, "work")
JOBS = os.environ.get("JOBS", str(os.cpu_count() or 1))
TEST_SECONDS = 30
SEED = "-seed=1"
LIMITS = ["-timeout=20", "-rss_limit_mb=2048", "-max_len=1024", "-print_final_stats=1"]
HEADER = """# SPDX-License-Identifier: MIT
# Scripts for card-fuzz, one a line in hexadecimal; made by fuzz.py merge.
"""
# What must be reached: enumerations of include/npu, and whose values are reached otherwise.
LEDGER = {
    "npu_opcode": "command.h",
    "npu_vec_function": "command.h",
    "npu_pool_kind": "command.h",
    "npu_packet_opcode": "queue.h",
    "npu_event_type": "queue.h",
    "npu_status_code": "status.h",
    "npu_engine": "status.h",
    "npu_access": "status.h",
    "npu_inject_kind": "registers.h",
    "npu_queue_state": "registers.h",
}


def environment():
    env = dict(os.environ)
    # Freed memory is kept for a while only: a full quarantine costs more than a script.
    env.setdefault("ASAN_OPTIONS", "quarantine_size_mb=16")
    return env


def build(preset, *targets):
    """Builds; returns the error, None if all is well."""
    for command in (["cmake", "--preset", preset],
                    ["cmake", "--build", "--preset", preset, "-j", JOBS, "--target"] + list(targets)):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        if done.returncode:
            return done.stdout[-4000:]
    return None


def build_or_die(preset, *targets):
    error = build(preset, *targets)
    if error:
        sys.exit(error)


def read_corpus():
    scripts = []
    for path in CORPORA:
        with open(path) as lines:
            scripts += [bytes.fromhex(line) for line in lines if line.strip() and line[0] != "#"]
    return scripts


def unpack(folder):
    os.makedirs(folder, exist_ok=True)
    for script in read_corpus():
        path = os.path.join(folder, hashlib.sha1(script).hexdigest())
        if not os.path.exists(path):
            with open(path, "wb") as file:
                file.write(script)


def fuzz(seconds, folders, **kwargs):
    return subprocess.run(
        [os.path.join(BUILD, "bin/card-fuzz"), SEED, "-max_total_time=%d" % seconds,
         "-artifact_prefix=%s/" % BUILD] + LIMITS + folders,
        env=environment(), check=False, **kwargs)


def run(options):
    build_or_die("fuzz", "card-fuzz")
    unpack(WORK)
    return fuzz(options.seconds, [WORK]).returncode


def merge(_):
    build_or_die("fuzz", "card-fuzz")
    unpack(WORK)
    smallest = os.path.join(BUILD, "smallest")
    shutil.rmtree(smallest, ignore_errors=True)
    os.makedirs(smallest)
    # Edges alone: how often one was passed needs no script of its own.
    subprocess.run([os.path.join(BUILD, "bin/card-fuzz"), "-set_cover_merge=1", "-use_counters=0",
                    "-timeout=20", "-max_len=1024", smallest, WORK], env=environment(), check=True,
                   stderr=subprocess.DEVNULL)
    scripts = []
    for name in os.listdir(smallest):
        with open(os.path.join(smallest, name), "rb") as file:
            scripts.append(file.read())
    scripts.sort(key=lambda script: (len(script), script))
    with open(CORPUS, "w") as file:
        file.write(HEADER)
        for script in scripts:
            file.write(script.hex() + "\n")
    print("%d scripts, %d bytes" % (len(scripts), os.path.getsize(CORPUS)))
    return 0


def coverage(_):
    build_or_die("coverage", "card-replay")
    folder = os.path.join(ROOT, "build/coverage")
    replay = os.path.join(folder, "bin/card-replay")
    raw, data = os.path.join(folder, "corpus.profraw"), os.path.join(folder, "corpus.profdata")
    subprocess.run([replay] + CORPORA, env=dict(os.environ, LLVM_PROFILE_FILE=raw), check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run(["llvm-profdata", "merge", "-sparse", raw, "-o", data], check=True)
    report = json.loads(subprocess.run(
        ["llvm-cov", "export", "-summary-only", replay, "-instr-profile", data],
        check=True, stdout=subprocess.PIPE).stdout)
    total = [0, 0]
    print("| file | branches | reached | % |\n|---|---|---|---|")
    for entry in sorted(report["data"][0]["files"], key=lambda entry: entry["filename"]):
        name = os.path.relpath(os.path.realpath(os.path.join(folder, entry["filename"])), ROOT)
        branches = entry["summary"]["branches"]
        if not branches["count"] or not name.startswith(("arch/", "qemu-device/model/")):
            continue
        total[0] += branches["count"]
        total[1] += branches["covered"]
        print("| %s | %d | %d | %.1f |" % (
            name, branches["count"], branches["covered"], branches["percent"]))
    print("| **all** | %d | %d | %.1f |" % (total[0], total[1], 100 * total[1] / total[0]))
    return 0


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = False

    def result(self, good, name, details=""):
        self.count += 1
        self.failed |= not good
        print("%sok %d - %s" % ("" if good else "not ", self.count, name), flush=True)
        if not good:
            for line in details.splitlines()[-60:]:
                print("# " + line)

    def skip(self, name, why):
        self.count += 1
        print("ok %d - %s # SKIP %s" % (self.count, name, why), flush=True)

    def end(self):
        print("1..%d" % self.count)
        return 1 if self.failed else 0


def has_libfuzzer():
    """Whether clang is there with its run-time libraries, which Debian packages apart."""
    source = "extern \"C\" int LLVMFuzzerTestOneInput(const char *, unsigned long) { return 0; }"
    try:
        return subprocess.run(
            ["clang++", "-x", "c++", "-", "-o", "/dev/null", "-fsanitize=fuzzer,address,undefined"],
            input=source, text=True, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def test(_):
    tap = Tap()
    clang = has_libfuzzer()
    preset, folder = ("fuzz", BUILD) if clang else (
        "asan-ubsan", os.path.join(ROOT, "build/asan-ubsan"))
    targets = ["card-replay"] + (["card-fuzz"] if clang else [])
    error = build(preset, *targets)
    if error:
        tap.result(False, "builds with sanitizers (%s)" % preset, error)
        return tap.end()
    replay = subprocess.run([os.path.join(folder, "bin/card-replay")] + CORPORA, env=environment(),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                            encoding="utf-8", errors="replace", timeout=600)
    played = re.findall(r"^ok \d+ - (.*)$", replay.stdout, re.M)
    for name in played:
        tap.result(True, "replay: " + name)
    if replay.returncode or len(played) != len(read_corpus()):
        tap.result(False, "replay: script %d" % (len(played) + 1), replay.stdout)
    name = "card-fuzz: %d seconds from the corpus, no finding" % TEST_SECONDS
    if not clang:
        tap.skip(name, "clang with libFuzzer is not installed")
        return tap.end()
    fresh = os.path.join(BUILD, "fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    unpack(fresh)
    done = fuzz(TEST_SECONDS, [fresh], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                encoding="utf-8", errors="replace", timeout=600)
    runs = re.search(r"number_of_executed_units: (\d+)", done.stdout)
    print("# %s scripts" % (runs.group(1) if runs else "?"))
    tap.result(done.returncode == 0, name, done.stdout)
    return tap.end()


def enumerators(enumeration, header):
    """{name: value} of an enum of include/npu; what only counts the others is left out."""
    with open(os.path.join(ROOT, "include/npu", header)) as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    body = re.search(r"enum %s \{(.*?)\}" % enumeration, text, re.S).group(1)
    values, following = {}, 0
    for item in filter(None, (item.strip() for item in body.split(","))):
        name, _, value = (part.strip() for part in item.partition("="))
        following = int(value, 0) if value else following
        values[name] = following
        following += 1
    return {name: value for name, value in values.items()
            if not re.search(r"_(COUNT|KINDS)$", name)}


def ledger(options):
    tap = Tap()
    done = subprocess.run([options.replay, "--ledger"] + CORPORA, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        tap.result(False, "the corpus is played", done.stdout)
        return tap.end()
    seen, missing = {}, []
    for line in done.stdout.splitlines():
        name, value, rest = line.split(" ", 2)
        if name == "missing":
            missing.append(rest)
        else:
            seen[name, int(value)] = int(rest)
    for enumeration, header in LEDGER.items():
        for name, value in enumerators(enumeration, header).items():
            times = seen.get((enumeration, value), 0)
            short = re.sub(r"NPU_(OP|VEC|POOL|QUEUE)_", "", name)
            refused = [text for text in missing if re.search(r"\b%s\b" % short, text)]
            if not times and refused:
                tap.skip(name, refused[0])
            else:
                tap.result(times, "%s: %d times" % (name, times))
    return tap.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function in (run, merge, coverage, test, ledger):
        command = commands.add_parser(function.__name__)
        command.set_defaults(function=function)
        if function is run:
            command.add_argument("seconds", type=int, nargs="?", default=60)
        if function is ledger:
            command.add_argument("replay")
    options = parser.parse_args()
    return options.function(options)


if __name__ == "__main__":
    sys.exit(main())
