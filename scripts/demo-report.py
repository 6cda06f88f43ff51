#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Reads what the demo brought out of the VM and says how well it went.

Exit status 1 when fewer than 97 % of the digits were recognised or when the
NPU's output differs from the reference by a single bit.
"""

import argparse
import ast
import json
import os
import sys


def load(path):
    """(shape, bytes) of a .npy file of 8-bit values; numpy need not be installed."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:6] != b"\x93NUMPY":
        sys.exit("%s is not a .npy file" % path)
    size = 2 if data[6] == 1 else 4
    end = 8 + size + int.from_bytes(data[8:8 + size], "little")
    header = ast.literal_eval(data[8 + size:end].decode())
    if header["descr"] not in ("|u1", "|i1") or header["fortran_order"]:
        sys.exit("%s does not hold 8-bit values in C order" % path)
    return header["shape"], data[end:]


def si(value, unit):
    for factor, prefix in ((1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p")):
        if value >= factor:
            return "%.3g %s%s" % (value / factor, prefix, unit)
    return "%g %s" % (value, unit)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("labels", "reference", "output", "accel"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    options = parser.parse_args()

    _, labels = load(options.labels)
    shape, expected = load(options.reference)
    classes = shape[-1]
    _, logits = load(os.path.join(options.output, "logits.npy"))
    count = len(logits) // classes
    if count != len(labels):
        sys.exit("demo: %d results for %d images" % (count, len(labels)))
    right = 0
    for i in range(count):
        row = logits[i * classes:(i + 1) * classes]
        right += row.index(max(row)) == labels[i]
    accuracy = right / count
    with open(os.path.join(options.output, "run.json")) as file:
        run = json.load(file)

    def figure(key, text):
        value = run.get(key)
        return "not valid" if value is None else text(value)

    print()
    print("Handwritten digits on the NPU, through /dev/accel/accel0 (VM under %s)"
          % options.accel.upper())
    print("  accuracy            %.1f %% (%d of %d held-out images)" % (100 * accuracy, right, count))
    print("  equal to ONNX Runtime, bit for bit: %s" % ("yes" if logits == expected else "NO"))
    print("  modelled latency    %s per image" % figure("modelled_latency_ns", lambda v: si(v * 1e-9, "s")))
    print("  modelled energy     %s per image" % figure("energy_j", lambda v: si(v, "J")))
    print("  MAC utilisation     %s" % figure("mac_utilization", lambda v: "%.1f %%" % (100 * v)))
    print("  modelled cycles     %s" % figure("cycles", lambda v: "%d" % v))
    print("  host time           %s per image (simulation, not the card's speed)"
          % figure("host_latency_ns", lambda v: si(v * 1e-9, "s")))
    print("  whole demo          %d s" % options.seconds)
    print("""
What to try next
  make vm                      a shell in the VM: npu-smi, npu-run, dmesg
  make test                    all tests, on the host and in VMs
  make edge_defconfig && make demo    the same on a micro-NPU of 512 MACs
  make menuconfig              change the card and see what it does to latency and energy
  build/demo/report/           where the cycles went, layer by layer""")
    if accuracy < 0.97 or logits != expected:
        sys.exit("demo: the result is not what it should be")


if __name__ == "__main__":
    main()
