# SPDX-License-Identifier: MIT
"""ONNX Runtime as the judge, through the ort-run program."""

import os
import re
import subprocess
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def file_name(tensor):
    """As ort-run and npu-run name a tensor's file."""
    return re.sub("[/:]", "_", tensor) + ".npy"


class Judge:
    def __init__(self, build=None):
        self.build = build or os.environ.get("NPU_BUILD", os.path.join(ROOT, "build"))
        self.program = os.path.join(self.build, "bin", "ort-run")
        self.library = os.environ.get(
            "ORT_LIBRARY", os.path.join(ROOT, "build", "onnxruntime", "lib", "libonnxruntime.so.1"))

    def missing(self):
        """Why the judge cannot run here, or None."""
        if not os.path.exists(self.program):
            return "ort-run is not built (needs ONNX Runtime's headers: scripts/fetch-onnxruntime.sh)"
        if not os.path.exists(self.library):
            return "ONNX Runtime is not there (scripts/fetch-onnxruntime.sh)"
        with open("/proc/cpuinfo") as f:
            features = set(re.findall(r"\w+", f.read()))
        if not features & {"avx512_vnni", "avx_vnni"}:
            return "ONNX Runtime's u8 x s8 products saturate on a CPU without VNNI and are no reference"
        if "fma" not in features:
            return "ONNX Runtime's additions round twice on a CPU without FMA3 and are no reference"
        return None

    def run(self, model, inputs, optimized=None, fuse_int8_qdq=False):
        """Outputs of the model file by name; inputs: arrays by name."""
        with tempfile.TemporaryDirectory(prefix="judge") as folder:
            command = [self.program, model, "--library", self.library, "--output", folder]
            for i, (name, array) in enumerate(inputs.items()):
                path = os.path.join(folder, f"input{i}.npy")
                np.save(path, array)
                command += ["--input", f"{name}={path}"]
            command += ["--save-optimized", optimized] if optimized else []
            command += ["--fuse-int8-qdq"] if fuse_int8_qdq else []
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode:
                raise RuntimeError(f"ort-run failed ({done.returncode}): {done.stderr.strip()}")
            return {f[:-4]: np.load(os.path.join(folder, f)) for f in sorted(os.listdir(folder))
                    if f.endswith(".npy") and not re.fullmatch(r"input\d+\.npy", f)}
