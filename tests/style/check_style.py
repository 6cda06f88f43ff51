#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Rules that hold for every file of the tree; prints TAP.

Licence line first, clang-format for C++, no trailing blanks, no absolute paths
of somebody's machine, no type defined twice, links in the documentation that lead
somewhere, and a second model of the card that stays small.
"""

import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NO_LICENCE_LINE = re.compile(
    r"^(LICENSES?(/|$)|\.gitignore|\.editorconfig|\.clang-format|.*\.(onnx|npy|pb|npu|json|bin|log)$"
    r"|tests/fuzz/corpus/|tools/golden/|configs/)")
BINARY = re.compile(r"\.(onnx|npy|pb|npu|bin|png)$")
CPP = re.compile(r"^(arch|compiler|examples|qemu-device/model|tests|tools|umd)/.*\.(cpp|hpp|h)$")
# C interfaces keep the kernel's layout: they are read beside kernel code.
# A second opinion on modelled time is one only as long as it can be read at a sitting.
STEPPED_CARD = ("arch/testing/stepped_", 400)
KERNEL_LAYOUT = {"qemu-device/model/npu_model.h", "umd/include/libnpu/npu.h"}


def tracked():
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], stdout=subprocess.PIPE, check=True)
    return [name for name in listing.stdout.decode().split("\0") if name]


def text_of(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = False

    def result(self, name, problems):
        self.count += 1
        self.failed |= bool(problems)
        print("%sok %d - %s" % ("not " if problems else "", self.count, name))
        for problem in problems[:40]:
            print("# " + problem)

    def skip(self, name, why):
        self.count += 1
        print("ok %d - %s # SKIP %s" % (self.count, name, why))


def licence_lines(files):
    return [name for name in files
            if not NO_LICENCE_LINE.match(name)
            and "SPDX-License-Identifier:" not in "\n".join(text_of(name).split("\n")[:3])]


def broken_links(files):
    problems = []
    for name in files:
        if not name.endswith(".md"):
            continue
        for target in re.findall(r"\]\(([^)#\s]+)", text_of(name)):
            if "://" in target or target.startswith("mailto:"):
                continue
            if not os.path.exists(os.path.join(ROOT, os.path.dirname(name), target)):
                problems.append("%s: %s" % (name, target))
    return problems


def badly_formatted(files):
    sources = [name for name in files if CPP.match(name) and name not in KERNEL_LAYOUT]
    run = subprocess.run(["clang-format", "--dry-run"] + sources, cwd=ROOT, stderr=subprocess.PIPE,
                         check=True, text=True)
    return sorted(set(re.findall(r"^([^:\s]+):\d+:\d+: warning", run.stderr, re.M)))


def types_of(text):
    """Qualified names of the types defined at namespace scope, those that only one file sees left out."""
    scope = []
    for line in text.split("\n"):
        opened = re.match(r"namespace ?([\w:]*) ?\{(\}?)", line)
        if opened and not opened.group(2):
            scope.append(opened.group(1))
        elif line.startswith("}  // namespace") and scope:
            scope.pop()
        defined = re.match(r"(?:enum class|struct|class|union|enum) (\w+(?:::\w+)*)\b[^;<]*\{", line)
        if defined and "" not in scope:
            yield "::".join(scope + [defined.group(1)])


def types_defined_twice(files):
    """Two types of one name are undefined behaviour that no linker reports: what is inline of one serves both."""
    places = {}
    for name in files:
        if CPP.match(name):
            for type_name in types_of(text_of(name)):
                places.setdefault(type_name, set()).add(name)
    return ["%s: %s" % (name, ", ".join(sorted(where))) for name, where in sorted(places.items()) if len(where) > 1]


def stepped_card_grown(files):
    prefix, limit = STEPPED_CARD
    lines = sum(text_of(name).count("\n") for name in files if name.startswith(prefix))
    return [] if 0 < lines <= limit else ["%s*: %d lines" % (prefix, lines)]


def main():
    tap = Tap()
    try:
        files = [name for name in tracked() if os.path.isfile(os.path.join(ROOT, name))]
    except (OSError, subprocess.CalledProcessError):
        tap.skip("style of the tree", "not a git checkout")
        return 0
    sources = [name for name in files if not BINARY.search(name)]
    tap.result("every file names its licence in its first lines", licence_lines(sources))
    tap.result("no trailing blanks", [
        name for name in sources
        if not name.startswith("LICENSES/") and not name.endswith(".patch")     # empty context lines
        and re.search(r"[ \t]+$", text_of(name), re.M)])
    tap.result("no paths of a developer's machine", [
        name for name in sources if re.search(r"(^|[\s\"'=(])/(home|work|Users)/\w", text_of(name))
        and name != "tests/style/check_style.py"])
    tap.result("no two types have the same name", types_defined_twice(files))
    tap.result("links in the documentation lead somewhere", broken_links(files))
    tap.result("the stepped card has at most %d lines" % STEPPED_CARD[1], stepped_card_grown(files))
    if shutil.which("clang-format"):
        tap.result("C++ is laid out as clang-format does", badly_formatted(files))
    else:
        tap.skip("C++ is laid out as clang-format does", "clang-format is not installed")
    print("1..%d" % tap.count)
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
