#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Holds the driver's uAPI header against its own rules and what mirrors it. TAP.

  - structs are multiples of 8 bytes, without holes that have no name;
  - 32- and 64-bit compilers lay every member out alike;
  - the table of negative tests has every member of every struct that is passed in;
  - the syzkaller description has the same structs, sizes and constants.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEADER = "kernel/include/uapi/drm/npu_accel.h"
TABLE = "tests/vm/kmd/uapi_fields_test.cpp"
SYZKALLER = "tests/fuzz/npu_accel.txt"
SIZES = {"__u8": 1, "__u32": 4, "__u64": 8}


def read(path):
    with open(os.path.join(ROOT, path)) as file:
        return file.read()


def parse_header(text):
    """({struct: [(member, type, elements)]}, {macro: value}, set of enumerators and flags)"""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    macros = {name: value.strip() for name, value in
              re.findall(r"^#define\s+(\w+)[ \t]+([^\\\n]+)$", text, flags=re.M)}

    def number(expression):
        for name in re.findall(r"[A-Z_]+[A-Z]", expression):
            expression = expression.replace(name, str(number(macros[name])))
        return eval(expression.replace("u", ""), {"__builtins__": {}})

    structs = {}
    for name, body in re.findall(r"struct (\w+) \{(.*?)\};", text, flags=re.S):
        members = []
        for line in filter(None, (line.strip() for line in body.split(";"))):
            kind, member, _, count = re.fullmatch(r"(?:struct )?(\w+)\s+(\w+)(\[(.*)\])?", line).groups()
            members.append((member, kind, number(count) if count else 1))
        structs[name] = members
    constants = set(re.findall(r"^\s+(DRM_NPU_\w+) = \d+,", text, flags=re.M))
    constants |= {name for name, value in macros.items() if "<<" in value}
    return structs, constants


def layout(structs, name):
    """(size, alignment, [(member, offset)], holes), naturally aligned"""
    offset, alignment, members, holes = 0, 1, [], []
    for member, kind, count in structs[name]:
        size, align = (SIZES[kind],) * 2 if kind in SIZES else layout(structs, kind)[:2]
        if offset % align:
            holes.append(member)
        offset += -offset % align
        members.append((member, offset))
        offset += size * count
        alignment = max(alignment, align)
    if offset % alignment:
        holes.append("its end")
    return offset + -offset % alignment, alignment, members, holes


def compile_layout(structs, flag):
    """Empty, or what the compiler says."""
    lines = ['#include "drm/npu_accel.h"']
    for name in structs:
        size, _, members, _ = layout(structs, name)
        lines.append('_Static_assert(sizeof(struct %s) == %d, "%s");' % (name, size, name))
        lines += ['_Static_assert(__builtin_offsetof(struct %s, %s) == %d, "%s.%s");' %
                  (name, member, offset, name, member) for member, offset in members]
    multiarch = subprocess.run(["gcc", "-print-multiarch"], stdout=subprocess.PIPE, text=True).stdout.strip()
    result = subprocess.run(
        ["gcc", flag, "-ffreestanding", "-fsyntax-only", "-x", "c", "-", "-I", os.path.join(ROOT, "kernel/include/uapi"),
         "-isystem", "/usr/include/libdrm", "-isystem", "/usr/include/" + multiarch],
        input="\n".join(lines), stderr=subprocess.PIPE, text=True)
    return result.stderr if result.returncode else ""


def missing_in_table(structs, table):
    known = set(re.findall(r"(?:FIELD|ELEMENT|ARRAY_MEMBER)\(\s*(\w+),\s*(\w+)", table))
    outputs = set(re.findall(r"OUTPUT_STRUCT\((\w+)\)", table))
    return ["%s.%s" % (name, member) for name, members in structs.items() if name not in outputs
            for member, _, _ in members if (name, member) not in known]


def syzkaller_size(text, kind):
    """Bytes of one member's type."""
    match = re.match(r"array\[(\w+), (\d+)\]", kind)
    if match:
        return syzkaller_size(text, match.group(1)) * int(match.group(2))
    if kind.startswith(("ptr64", "npu_array")):
        return 8 if kind.startswith("ptr64") else 16
    if re.fullmatch(r"drm_\w+", kind):
        return sum(syzkaller_size(text, other) for _, other in syzkaller_members(text, kind))
    if re.fullmatch(r"npu_(bo|vm|queue|syncobj)", kind):
        return 4
    return int(re.findall(r"int(8|32|64)\b", kind)[-1]) // 8


def syzkaller_members(text, name):
    match = re.search(r"^%s \{\n(.*?)^\}" % name, text, flags=re.S | re.M)
    if not match:
        return []
    return [tuple(line.strip().split("\t")[:2]) for line in match.group(1).splitlines()]


def differences_of_syzkaller(structs, constants, header, text):
    found = []
    for name, members in structs.items():
        if name == "drm_npu_array" or ("struct %s)" % name not in header and name in (
                "drm_npu_caps", "drm_npu_telemetry", "drm_npu_counters", "drm_npu_engine",
                "drm_npu_engines", "drm_npu_clock")):
            continue    # npu_array; blocks that only the driver writes
        theirs = syzkaller_members(text, name)
        if [member for member, _ in theirs] != [member for member, _, _ in members]:
            found.append("members of " + name)
            continue
        for (member, kind, count), (_, other) in zip(members, theirs):
            size = SIZES[kind] if kind in SIZES else layout(structs, kind)[0]
            if syzkaller_size(text, other) != size * count:
                found.append("size of %s.%s" % (name, member))
    for ioctl in re.findall(r"#define (DRM_IOCTL_NPU_\w+)", header):
        if "const[%s]" % ioctl not in text:
            found.append(ioctl)
    for constant in constants:
        if not constant.startswith("DRM_NPU_QUEUE_") and not re.search(r"\b%s\b" % constant, text):
            found.append(constant)
    found += [word + " is not in the header" for word in set(re.findall(r"\bDRM_(?:IOCTL_)?NPU_\w+", text))
              if word + "*" not in text and not re.search(r"\b%s\b" % word, header)]
    return found


def main():
    header = read(HEADER)
    structs, constants = parse_header(header)
    results = [("the header was understood", [] if len(structs) > 15 and len(constants) > 20 else [str(structs)])]
    bad = ["%s: %s" % (name, ", ".join(layout(structs, name)[3])) for name in structs if layout(structs, name)[3]]
    bad += [name for name in structs if layout(structs, name)[0] % 8]
    results.append(("structs have no hole and are multiples of 8 bytes", bad))
    for flag in ("-m64", "-m32"):
        results.append(("the layout is the same with " + flag, compile_layout(structs, flag).splitlines()))
    results.append(("every member has a negative test", missing_in_table(structs, read(TABLE))))
    results.append(("the syzkaller description is that of the header",
                    differences_of_syzkaller(structs, constants, header, read(SYZKALLER))))
    for i, (name, problems) in enumerate(results, 1):
        print("%sok %d - %s" % ("not " if problems else "", i, name))
        for problem in problems:
            print("# " + problem)
    print("1..%d" % len(results))
    return any(problems for _, problems in results)


if __name__ == "__main__":
    sys.exit(main())
