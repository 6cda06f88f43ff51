#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Kconfig, its presets and the generated files agree. Prints TAP."""

import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/conformance"))
from tap import Tap  # noqa: E402


def generate(config, folder):
    return subprocess.run([sys.executable, os.path.join(ROOT, "scripts/gen-target.py"), "--config", config,
                           "--output", folder], capture_output=True, text=True, check=False)


def main():
    tap = Tap()
    with tempfile.TemporaryDirectory() as folder:
        targets = {}
        for preset in ("card", "edge"):
            out = os.path.join(folder, preset)
            done = generate(os.path.join(ROOT, "configs", preset + "_defconfig"), out)
            tap.result(done.returncode == 0, preset + "_defconfig is accepted", done.stderr)
            with open(os.path.join(out, "target.json")) as file:
                targets[preset] = json.load(file)

        # The figures that published comparisons of the two cards rest on.
        expected = {
            "card": {"cores": 2, "mac_outputs": 64, "mac_inputs": 64, "accumulator_rows": 512,
                     "sram_bytes": 2 << 20, "sram_word_bytes": 64, "clock_mhz": 1000,
                     "card_memory_mib": 512, "card_bytes_per_cycle": 64, "pcie_bytes_per_cycle": 16},
            "edge": {"cores": 1, "mac_outputs": 16, "mac_inputs": 32, "accumulator_rows": 256,
                     "sram_bytes": 512 << 10, "sram_word_bytes": 32, "clock_mhz": 1000,
                     "card_bytes_per_cycle": 12, "pcie_bytes_per_cycle": 4},
        }
        for preset, values in expected.items():
            wrong = {name: targets[preset].get(name) for name, value in values.items()
                     if targets[preset].get(name) != value}
            tap.result(not wrong, preset + " has the documented parameters", wrong)

        with open(os.path.join(ROOT, "include/npu/target.h")) as file:
            body = re.search(r"struct npu_target \{(.*?)\n\};", file.read(), re.S).group(1)
        fields = re.findall(r"^\s*(?:char|uint32_t)\s+(\w+)", re.sub(r"/\*.*?\*/", "", body, flags=re.S), re.M)
        missing = set(fields) - {"reserved"} - set(targets["card"])
        tap.result(not missing, "every field of struct npu_target is a symbol of Kconfig", missing)

        changed = os.path.join(folder, "changed.config")
        with open(changed, "w") as file:
            file.write('CONFIG_NPU_PRESET_EDGE=y\nCONFIG_NPU_NAME="mine"\nCONFIG_NPU_SRAM_BYTES=1048576\n')
        generate(changed, os.path.join(folder, "changed"))
        with open(os.path.join(folder, "changed", "target.json")) as file:
            mine = json.load(file)
        differences = {name for name in mine if mine[name] != targets["edge"][name]}
        tap.result(differences == {"name", "sram_bytes"}, "one parameter can be changed on its own", differences)

        with open(changed, "a") as file:
            file.write('CONFIG_NPU_NAME="a name that is too long"\n')
        done = generate(changed, os.path.join(folder, "changed"))
        tap.result(done.returncode != 0 and "NPU_NAME" in done.stderr, "a bad name is refused by name", done.stderr)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
