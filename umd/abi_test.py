#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The library's interface: what npu.h declares, libnpu.map lists and the library exports is the same, and
the headers stand alone in every language version that they promise. Prints TAP.

    abi_test.py LIBRARY
"""

import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
INCLUDE = os.path.join(HERE, "include")
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wpadded", "-Werror", "-fsyntax-only", "-I", INCLUDE]


def read(*path):
    with open(os.path.join(HERE, *path), encoding="utf-8") as f:
        return f.read()


def main():
    count = failed = 0

    def result(passed, name, text=""):
        nonlocal count, failed
        count += 1
        failed += not passed
        print(f"{'ok' if passed else 'not ok'} {count} - {name}")
        if not passed:
            print("\n".join("# " + line for line in str(text).splitlines()))

    declared = set(re.findall(r"^NPU_API [^(]*?\b(npu_\w+)\(", read("include", "libnpu", "npu.h"), re.M))
    listed = set(re.findall(r"^\t\t(npu_\w+);", read("libnpu.map"), re.M))
    done = subprocess.run(["nm", "-D", "--defined-only", sys.argv[1]], capture_output=True, text=True, check=True)
    exported = {line.split()[2].split("@")[0] for line in done.stdout.splitlines() if len(line.split()) == 3}
    exported -= {name for name in exported if name.startswith("LIBNPU_")}
    result(declared and declared == listed, "npu.h and libnpu.map name the same calls", declared ^ listed)
    result(exported == listed, "the library exports them and nothing else", exported ^ listed)
    done = subprocess.run(["readelf", "-d", sys.argv[1]], capture_output=True, text=True, check=True)
    result("[libnpu.so.1]" in done.stdout, "its soname is libnpu.so.1", done.stdout)

    with tempfile.TemporaryDirectory() as folder:
        for compiler, suffix, header, versions in (
                ("gcc", ".c", "npu.h", ("c99", "c11", "c17")),
                ("g++", ".cpp", "npu.h", ("c++11", "c++14", "c++17", "c++20")),
                ("g++", ".cpp", "npu.hpp", ("c++20",))):
            path = os.path.join(folder, "alone" + suffix)
            with open(path, "w", encoding="utf-8") as f:
                f.write(f"#include <libnpu/{header}>\n")
            for version in versions:
                flags = [flag for flag in STRICT if header == "npu.h" or flag != "-Wpadded"]
                done = subprocess.run([compiler, f"-std={version}", *flags, path], capture_output=True, text=True,
                                      check=False)
                result(done.returncode == 0, f"{header} compiles alone as {version}", done.stderr)
        path = os.path.join(folder, "quiet.cpp")
        with open(path, "w", encoding="utf-8") as f:
            f.write("#include <libnpu/npu.hpp>\n")
        done = subprocess.run(["g++", "-std=c++20", "-fno-exceptions", "-Wall", "-Wextra", "-Werror",
                               "-fsyntax-only", "-I", INCLUDE, path], capture_output=True, text=True, check=False)
        result(done.returncode == 0, "npu.hpp compiles without exceptions", done.stderr)
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
