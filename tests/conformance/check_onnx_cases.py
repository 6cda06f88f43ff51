#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""ONNX's own operator cases, quantized, on the NPU: each byte as ONNX Runtime computes it. Prints TAP.

The cases come from Debian's libonnx-testdata (scripts/fetch-onnx-testdata.sh). Those that the compiler does not
take are listed here with the reason, and it must refuse them by name.
"""

import os
import re
import shutil
import sys
import tempfile

from tap import Tap, need_packages, skip_all

need_packages("ONNX's operator cases")

import onnx  # noqa: E402

from judge import ROOT, Judge  # noqa: E402
from onnx_cases import Case  # noqa: E402
from run_conformance import TARGETS, Failure, ModelCase, Npu, check  # noqa: E402

DATA = os.path.join(ROOT, "build", "onnx-testdata", "usr", "share", "libonnx-testdata", "data", "node")

WANTED = re.compile(
    r"test_(add|add_bcast|averagepool_.*|basic_conv_.*|clip(_example|_inbounds|_outbounds|_splitbounds|_default_\w*bounds|"
    r"_default_max|_default_min)?|conv_with_.*|flatten_.*|gemm_.*|globalaveragepool.*|matmul_.*|"
    r"erf|maxpool_[12]d_.*|maxpool_with_argmax_.*|mul|mul_bcast|mul_example|qlinearconv|"
    r"qlinearmatmul_.*|relu|reshape_.*|sigmoid|sigmoid_example|softmax_[a-z]*_(axis|number)|softmax_axis_[0-9]|"
    r"softmax_example|sqrt|sqrt_example)$")

# Refused, and why. Everything else that is wanted must work.
REFUSED = {
    "test_averagepool_3d_default": "three spatial dimensions",
    "test_gemm_all_attributes": "alpha, beta and transA",
    "test_gemm_alpha": "alpha",
    "test_gemm_beta": "beta",
    "test_gemm_default_matrix_bias": "a bias that differs by row",
    "test_gemm_default_scalar_bias": "one bias for all columns",
    "test_gemm_default_single_elem_vector_bias": "one bias for all columns",
    "test_gemm_transposeA": "transA",
    "test_maxpool_2d_dilations": "dilated window",
    "test_maxpool_with_argmax_2d_precomputed_pads": "indices as a second output",
    "test_maxpool_with_argmax_2d_precomputed_strides": "indices as a second output",
    "test_reshape_allowzero_reordered": "a tensor without elements",
}


def prepare(name, folder, judge):
    case = ModelCase(name, folder)
    model, case.inputs = Case(os.path.join(DATA, name)).quantized()
    onnx.save(model, case.path)
    case.count, case.source = 1, "ONNX Runtime"
    if name not in REFUSED:
        case.expected = judge.run(case.path, case.inputs)
    return case


def check_refused(npu, case):
    try:
        npu.compile(case, "card")
    except Failure as failure:
        text = str(failure)
        return re.match(r"exit status (\d+)", text) is not None and "node '" in text, text
    return False, "it compiles: take it off the list"


def main():
    judge = Judge()
    npu = Npu(judge.build, "sim")
    tap = Tap()
    if npu.missing():
        tap.result(False, "ONNX's operator cases", npu.missing())
        return tap.finish()
    if judge.missing():
        skip_all("ONNX's operator cases", judge.missing())
    if not os.path.isdir(DATA):
        skip_all("ONNX's operator cases", "they are not there (scripts/fetch-onnx-testdata.sh)")
    names = sorted(n for n in os.listdir(DATA) if WANTED.match(n))
    with tempfile.TemporaryDirectory(prefix="onnx-cases") as scratch:
        for name in names:
            folder = os.path.join(scratch, name)
            os.makedirs(folder)
            case = prepare(name, folder, judge)
            if name in REFUSED:
                passed, detail = check_refused(npu, case)
                tap.result(passed, f"{name}: refused ({REFUSED[name]})", detail)
            else:
                for target in TARGETS:
                    failure = check(npu, case, target)
                    tap.result(failure is None, f"{name}: {target} equals {case.source}", failure or "")
            shutil.rmtree(folder)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
