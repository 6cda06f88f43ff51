#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What all programs promise: --help on stdout, errors on stderr, documented exit statuses, a man page
and a completion that name every option of --help. Prints TAP.

    programs_test.py BUILD
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = ("npu-run", "npu-smi", "npu-bench", "npu-objdump", "npu-compile", "npu-vfio-user")
TIMEOUT_SECONDS = 120


class Tap:
    def __init__(self):
        self.count = self.failed = 0

    def result(self, passed, name, text=""):
        self.count += 1
        self.failed += not passed
        print(f"{'ok' if passed else 'not ok'} {self.count} - {name}")
        if not passed:
            print("\n".join("# " + line for line in str(text).splitlines()))


def main():
    bin_folder = os.path.join(sys.argv[1], "bin")
    tap = Tap()

    def run(*command, **options):
        environment = {k: v for k, v in os.environ.items() if k != "NPU_DEVICE"}
        return subprocess.run([os.path.join(bin_folder, command[0]), *command[1:]], capture_output=True,
                              text=True, timeout=TIMEOUT_SECONDS, check=False, env=environment, **options)

    def status(expected, name, *command):
        done = run(*command)
        tap.result(done.returncode == expected and (expected == 0 or done.stderr.strip()), name,
                   f"status {done.returncode}, expected {expected}\n{done.stderr}")
        return done

    for program in PROGRAMS:
        done = run(program, "--help")
        tap.result(done.returncode == 0 and done.stdout and not done.stderr, f"{program} --help is on stdout")
        words = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", done.stdout)) - {"--help-man", "--help-completion"}
        manual = run(program, "--help-man").stdout.replace("\\-", "-")
        missing = [w for w in words if w not in manual]
        tap.result(manual.startswith('.\\"') and not missing, f"{program}: the man page has every option", missing)
        completion = run(program, "--help-completion").stdout
        missing = [w for w in words if w not in completion]
        tap.result(f"complete -o default" in completion and not missing,
                   f"{program}: the completion has every option", missing)
        checked = subprocess.run(["bash", "-n"], input=completion, capture_output=True, text=True, check=False)
        tap.result(checked.returncode == 0, f"{program}: the completion is valid bash", checked.stderr)
        done = status(2, f"{program}: an unknown option is status 2", program, "--nonsense")
        tap.result(done.stdout == "", f"{program}: nothing on stdout when the command line is wrong")
        tap.result(program in run(program, "--version").stdout, f"{program} --version")

    with open(os.path.join(ROOT, "docs", "tools.md"), encoding="utf-8") as f:
        documented = dict(re.findall(r"^\| (\d+) \| (.*) \|$", f.read(), re.M))
    manual = run("npu-run", "--help-man").stdout.replace("\\-", "-")
    defined = dict(re.findall(r"^\.TP\n\.B (\d+)\n(.*)$", manual, re.M))
    tap.result(defined and defined == documented, "docs/tools.md lists the exit statuses that programs have",
               f"{sorted(set(defined.items()) ^ set(documented.items()))}")

    with tempfile.TemporaryDirectory() as folder:
        missing = os.path.join(folder, "missing.npu")
        status(9, "npu-run: a missing model is status 9", "npu-run", missing, "--device", "sim")
        status(9, "npu-objdump: a missing model is status 9", "npu-objdump", missing)
        status(5, "npu-bench: no such device is status 5", "npu-bench", "latency", "--device", "sim:nothing")
        status(5, "npu-smi: no such device is status 5", "npu-smi", "-d", "sim:nothing")
        status(2, "npu-bench: no such target is status 2", "npu-bench", "latency", "--target", "nothing")
        status(3, "npu-bench: a comparison that is not there is status 3", "npu-bench", "conv", "--device",
               "sim", "--vs", "onnxruntime")
        status(1, "npu-vfio-user: a socket that cannot be is status 1", "npu-vfio-user",
               os.path.join(folder, "missing", "socket"))
        status(2, "npu-vfio-user: an aperture that cannot be is status 2", "npu-vfio-user", "--aperture-mib",
               "3", os.path.join(folder, "socket"))
        for name, text in {"syntax": "{", "unknown": '{"nonsense": 1}', "type": '{"cores": "two"}',
                           "range": '{"cores": 99}', "array": "[]"}.items():
            path = os.path.join(folder, name + ".json")
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            status(9, f"npu-bench: a wrong target file is status 9 ({name})", "npu-bench", "latency",
                   "--target", path)
        path = os.path.join(folder, "small.json")
        with open(path, "w", encoding="utf-8") as f:
            f.write('{"base": "edge", "name": "small", "sram_bytes": 262144, "card_memory_mib": 16}')
        status(0, "npu-bench: a target from a file", "npu-bench", "latency", "--target", path, "--count", "5")
        status(3, "npu-bench: what does not fit the card's memory is status 3", "npu-bench", "gemm", "--target",
               path, "--shape", "1", "4096", "5000")

        for arguments in (["latency", "--count", "50"], ["bandwidth", "--mib", "1", "--count", "1"],
                          ["gemm", "--shape", "65", "130", "100", "--count", "1"],
                          ["conv", "--shape", "3", "40", "17", "3", "2", "1", "--count", "1"]):
            for target in ("card", "edge"):
                done = run("npu-bench", *arguments, "--target", target, "--json", "-")
                try:
                    document = json.loads(done.stdout)
                    fine = document["schema"] == "npu-bench/1" and document["results"][0]["name"]
                except (ValueError, KeyError, IndexError):
                    fine = False
                tap.result(fine and done.returncode == 0, f"npu-bench {arguments[0]} on {target} writes JSON",
                           done.stdout + done.stderr)
        done = run("npu-bench", "latency", "--target", "card", "--count", "200", "--json", "-")
        result = json.loads(done.stdout)["results"][0]
        tap.result(result["doorbells_per_job"] == 1 and result["interrupts_per_job"] <= 1,
                   "an empty job on the simulator costs one doorbell and at most one interrupt", result)

        model = os.path.join(ROOT, "models", "digits", "digits.onnx")
        reports = [os.path.join(folder, name) for name in ("before", "after")]
        for report, options in zip(reports, (["--no-fuse"], [])):
            status(0, "npu-compile --report", "npu-compile", model, "--report", report, *options)
        files = sorted(os.listdir(reports[0]))
        tap.result(files == ["report.html", "report.json", "report.txt", "trace.json"], "a report's files", files)
        with open(os.path.join(reports[1], "report.json"), encoding="utf-8") as f:
            document = json.load(f)
        with open(os.path.join(reports[1], "trace.json"), encoding="utf-8") as f:
            spans = [event for event in json.load(f)["traceEvents"] if event["ph"] == "X"]
        tap.result(len(spans) == document["commands"], "the trace has every command",
                   f"{len(spans)} of {document['commands']}")
        done = status(0, "npu-compile --compare", "npu-compile", "--compare",
                      *(os.path.join(report, "report.json") for report in reports))
        tap.result(re.search(r"^network +\d+ +\d+ +-[\d.]+ %", done.stdout, re.M), "fusion is faster", done.stdout)
        for layer in document["layers"]:
            done = run("npu-compile", model, "--explain", layer["node"])
            tap.result(f"cycles         {layer['modelled_cycles']} of" in done.stdout,
                       f"npu-compile --explain {layer['node']}", done.stdout + done.stderr)
        status(2, "npu-compile: no such node is status 2", "npu-compile", model, "--explain", "nobody")
        status(2, "npu-compile: nothing to write is status 2", "npu-compile", model)
        status(0, "npu-compile --verify needs no file", "npu-compile", model, "--verify")
        status(0, "npu-compile: a shape in front of the model", "npu-compile", "--input-shape", "image=1,1,8,8", model,
               "--verify")
        status(3, "npu-compile: a shape that the model does not have", "npu-compile", "--input-shape",
               "image=1,1,9,8", model, "--verify")
        for text in ("image", "image=", "=1", "image=1,", "image=1,,8,8", "image=1,1,8,0", "image=99999999999999999999"):
            status(2, f"npu-compile: --input-shape {text} is status 2", "npu-compile", "--input-shape", text, model,
                   "--verify")
        for program, option in (("npu-compile", "--max-yield-gap"), ("npu-run", "--cycle-limit")):
            status(2, f"{program}: {option} is not negative", program, model, option, "-1")
        compiled, link = (os.path.join(folder, name) for name in ("model.npu", "link.npu"))
        with open(compiled, "w", encoding="utf-8") as f:
            f.write("older")
        os.symlink(compiled, link)
        status(0, "npu-compile: an output behind a link", "npu-compile", model, "-o", link)
        with open(compiled, "rb") as f:
            data = f.read()
        tap.result(os.path.islink(link) and data != b"older", "a link stays one, its file is replaced")

        # Names that would write over the terminal.
        name = document["layers"][0]["node"]
        evil = os.path.join(folder, "evil")
        with open(model, "rb") as f, open(evil + ".onnx", "wb") as out:
            out.write(f.read().replace(name.encode(), ("\033[2J" + name[4:]).encode()))
        name = "\033[2J" + name[4:]
        status(0, "npu-compile: control characters in names", "npu-compile", evil + ".onnx", "--report", evil,
               "-o", evil + ".npu")
        with open(os.path.join(evil, "report.txt"), encoding="utf-8") as f:
            shown = {"report.txt": f.read()}
        for command in (["npu-compile", evil + ".onnx", "--explain", name], ["npu-objdump", evil + ".npu"],
                        ["npu-compile", "--compare", reports[0] + "/report.json", evil + "/report.json"],
                        ["npu-compile", evil + ".onnx", "--explain", name + "!"]):
            done = run(*command)
            shown[" ".join(command[:2])] = done.stdout + done.stderr
        for what, text in shown.items():
            tap.result("?[2J" in text and "\033" not in text, f"{os.path.basename(what)}: names are shown without "
                       "control characters", repr(text))
        piped = subprocess.run([os.path.join(bin_folder, "npu-compile"), model, "-q", "-o", "/dev/stdout"],
                               capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
        tap.result(piped.stdout == data, "npu-compile: a pipe is written to", piped.stderr)
        status(0, "npu-run: figures into a pipe", "npu-run", compiled, "--device", "sim", "--random", "1", "--json",
               "/dev/stderr")
        left = [name for name in os.listdir(folder) if name.endswith(".new")]
        tap.result(not left, "no half file is left", left)
        status(9, "npu-compile: no report to compare is status 9", "npu-compile", "--compare", model, model)
        status(1, "npu-compile: a report folder that cannot be is status 1", "npu-compile", model, "--report",
               os.path.join(model, "folder"))

        with subprocess.Popen([os.path.join(bin_folder, "npu-bench"), "latency", "--target", "card", "--count",
                               "10000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
            process.wait(TIMEOUT_SECONDS)
            tap.result(process.returncode == 130, "Ctrl-C ends a benchmark with status 130", process.returncode)

        path = os.path.join(folder, "card.socket")
        with subprocess.Popen([os.path.join(bin_folder, "npu-vfio-user"), path], stderr=subprocess.PIPE) as process:
            process.stderr.readline()       # it is waiting
            listening = os.path.exists(path)
            process.send_signal(signal.SIGTERM)
            process.wait(TIMEOUT_SECONDS)
            tap.result(listening and process.returncode == 0 and not os.path.exists(path),
                       "SIGTERM ends npu-vfio-user with status 0, and its socket goes", process.returncode)

    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
