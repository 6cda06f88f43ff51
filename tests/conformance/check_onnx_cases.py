#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""ONNX's own operator cases, quantized, on the NPU: each byte as ONNX Runtime computes it. Prints TAP.

The cases come from Debian's libonnx-testdata (scripts/fetch-onnx-testdata.sh): all that are one node of an operator that
`npu-compile --list-ops` names. Those that no quantized network could have are listed with the reason, and so are those
that the compiler does not take: it must refuse them by name.
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

from tap import Tap, need_packages, skip_all

need_packages("ONNX's operator cases")

import onnx  # noqa: E402

from judge import ROOT, Judge  # noqa: E402
from onnx_cases import IN_FLOAT, Case, operator_of  # noqa: E402
from run_conformance import TARGETS, Failure, ModelCase, Npu, check  # noqa: E402

DATA = os.path.join(ROOT, "build", "onnx-testdata", "usr", "share", "libonnx-testdata", "data", "node")

# What no quantized network has. Patterns of operators and cases: reason.
NOT_APPLICABLE = {
    "QuantizeLinear|DequantizeLinear": "run-time scales; it is in every other case, with constant ones",
    "Constant": "no input",
    "Upsample": "gone since opset 10, in which QuantizeLinear came",
    "test_training_dropout.*": "training",
}
# What the compiler refuses, and why. Everything else must work.
REFUSED = {
    "test_(add|sub|mul|div)_uint8": "bytes that stand for themselves",
    "test_averagepool_3d_default|test_convtranspose_3d|test_maxpool_3d_default": "three spatial dimensions",
    "test_div(_example|_bcast)?": "a divisor for each element",
    "test_dropout_default_mask(_ratio)?": "a mask as a second output",
    "test_gemm_all_attributes": "alpha, beta and transA",
    "test_gemm_(alpha|beta)": "alpha or beta",
    "test_gemm_default_matrix_bias": "a bias that differs by row",
    "test_gemm_default_(scalar|single_elem_vector)_bias": "one bias for all columns",
    "test_gemm_transposeA": "transA",
    "test_(max|min)_(example|float32|u?int8|two_inputs)": "the larger or smaller of computed tensors",
    "test_maxpool_2d_dilations": "dilated window",
    "test_maxpool_with_argmax_2d_precomputed_(pads|strides)": "indices as a second output",
    "test_pow(_example|_bcast_array|_types_float|_types_float32_u?int(32|64)|_types_int)?": "an exponent for each element",
    "test_reshape_allowzero_reordered|test_slice_start_out_of_bounds|test_split_zero_size_splits":
        "a tensor without elements",
    "test_prelu_broadcast": "a slope that is none of a channel",
    "test_prelu_example": "a slope for each element",
    "test_resize_tf_crop_and_resize": "a region of interest",
    "test_resize_.*_cubic.*": "cubic interpolation",
    "test_(mod|range|reduce_prod)_.*": "only the compiler computes it, of constants",
    "test_sub(_example|_bcast)?": "a subtrahend for each element",
}
TENSORS = {onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.INT8}


def supported_operators(npu):
    done = subprocess.run([npu.compiler, "--list-ops"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in done.stdout.splitlines()}


def reason_in(table, name):
    return next((reason for pattern, reason in table.items() if re.fullmatch(pattern, name)), None)


def not_applicable(name, model):
    """Why no quantized network has what the case is about, or None."""
    graph = model.graph
    for listed in (name, operator_of(model)):
        if reason := reason_in(NOT_APPLICABLE, listed):
            return reason
    for value in [*graph.input[:1], *graph.output[:1]]:
        if not value.type.HasField("tensor_type"):
            return f"a {value.type.WhichOneof('value')} is no tensor"
        if value.type.tensor_type.elem_type not in TENSORS:
            return f"data of type {onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()}"
    return None


def prepare(name, folder, judge):
    case = ModelCase(name, folder)
    source = Case(os.path.join(DATA, name))
    model, case.inputs = source.quantized()
    onnx.save(model, case.path)
    case.count, case.source, case.tolerance = 1, "ONNX Runtime", int(source.node.op_type in IN_FLOAT)
    if not reason_in(REFUSED, name):
        case.expected = judge.run(case.path, case.inputs)
    return case


def check_refused(npu, case):
    try:
        npu.compile(case, "card")
    except Failure as failure:
        text = str(failure)
        return re.match(r"exit status (\d+)", text) is not None and "node '" in text, text
    return False, "it compiles: take it off the list"


def check_case(npu, judge, name, reason, folder):
    """Results for TAP."""
    if reason:
        return [(True, f"{name}: not applicable ({reason})")]
    try:
        case = prepare(name, folder, judge)
    except (RuntimeError, ValueError) as error:
        return [(False, f"{name}: quantized", str(error))]
    if refused := reason_in(REFUSED, name):
        passed, detail = check_refused(npu, case)
        return [(passed, f"{name}: refused ({refused})", detail)]
    failures = {target: check(npu, case, target) for target in TARGETS}
    return [(failure is None, f"{name}: {target} equals {case.source}", failure or "")
            for target, failure in failures.items()]


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
    supported, cases, seen = supported_operators(npu), [], set()
    for name in sorted(os.listdir(DATA)):
        model = onnx.load(os.path.join(DATA, name, "model.onnx"))
        if operator_of(model) in supported:
            seen.add(operator_of(model))
            cases.append((name, not_applicable(name, model)))
    with tempfile.TemporaryDirectory(prefix="onnx-cases") as scratch:
        def run(name, reason):
            folder = os.path.join(scratch, name)
            os.makedirs(folder)
            try:
                return check_case(npu, judge, name, reason, folder)
            finally:
                shutil.rmtree(folder)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for results in pool.map(run, *zip(*cases)):
                for result in results:
                    tap.result(*result)
    without = sorted(o for o in supported - seen if "." not in o)
    tap.result(len(seen) > 30, f"{len(cases)} cases of {len(seen)} operators; ONNX has none of {', '.join(without)}")
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
