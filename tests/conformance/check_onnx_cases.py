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
from onnx_cases import IN_FLOAT, Case  # noqa: E402
from run_conformance import TARGETS, Failure, ModelCase, Npu, check  # noqa: E402

DATA = os.path.join(ROOT, "build", "onnx-testdata", "usr", "share", "libonnx-testdata", "data", "node")

WANTED = re.compile(
    r"test_(abs|add|add_bcast|averagepool_.*|basic_conv_.*|ceil.*|celu|clip(_example|_inbounds|_outbounds|_splitbounds|"
    r"_default_\w*bounds|_default_max|_default_min)?|concat_.*|constant_pad|conv_with_.*|depthtospace_.*|"
    r"elu(_default|_example)?|erf|exp(_example)?|expand_.*|flatten_.*|floor.*|gather_[012n].*|gemm_.*|"
    r"globalaveragepool.*|globalmaxpool.*|hardsigmoid.*|hardswish|identity|leakyrelu.*|log(_example)?|matmul_.*|"
    r"m(ax|in)_(one_input|two_inputs|example|float32)|maxpool_[12]d_.*|maxpool_with_argmax_.*|mul|mul_bcast|mul_example|"
    r"neg.*|prelu_.*|qlinearconv|qlinearmatmul_.*|reciprocal.*|reduce_mean_.*|relu|reshape_.*|resize_.*|"
    r"selu.*|sigmoid|sigmoid_example|sign|slice.*|softmax_[a-z]*_(axis|number)|softmax_axis_[0-9]|softmax_example|"
    r"softplus.*|softsign.*|spacetodepth.*|split_.*|sqrt|sqrt_example|squeeze.*|tanh.*|thresholdedrelu.*|transpose_.*|"
    r"unsqueeze_.*)$")

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
    "test_max_example": "the larger of computed tensors",
    "test_max_float32": "the larger of computed tensors",
    "test_max_two_inputs": "the larger of computed tensors",
    "test_maxpool_2d_dilations": "dilated window",
    "test_maxpool_with_argmax_2d_precomputed_pads": "indices as a second output",
    "test_maxpool_with_argmax_2d_precomputed_strides": "indices as a second output",
    "test_min_example": "the smaller of computed tensors",
    "test_min_float32": "the smaller of computed tensors",
    "test_min_two_inputs": "the smaller of computed tensors",
    "test_prelu_broadcast": "a slope that is none of a channel",
    "test_prelu_example": "a slope for each element",
    "test_reshape_allowzero_reordered": "a tensor without elements",
    "test_resize_tf_crop_and_resize": "a region of interest",
    "test_slice_start_out_of_bounds": "nothing is left",
    "test_split_zero_size_splits": "a part without elements",
} | {f"test_resize_{kind}": "cubic interpolation" for kind in (
    "downsample_scales_cubic", "downsample_scales_cubic_A_n0p5_exclude_outside",
    "downsample_scales_cubic_align_corners", "downsample_sizes_cubic", "upsample_scales_cubic",
    "upsample_scales_cubic_A_n0p5_exclude_outside", "upsample_scales_cubic_align_corners",
    "upsample_scales_cubic_asymmetric", "upsample_sizes_cubic")
}


def prepare(name, folder, judge):
    case = ModelCase(name, folder)
    onnx_case = Case(os.path.join(DATA, name))
    model, case.inputs = onnx_case.quantized()
    case.tolerance = int(onnx_case.node.op_type in IN_FLOAT)
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
