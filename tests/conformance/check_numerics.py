#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Holds the formulas of docs/numerics.md (reference.py) against ONNX Runtime.

Prints TAP: one line for each operator, form and type, with the number of values compared. With
--table, prints instead how the runtime executes each graph and how many values differ, for graphs
that it computes in float too.
"""

import argparse
import os
import tempfile
import zlib

from tap import Tap, need_packages, skip_all

need_packages("numerics against ONNX Runtime")

import numpy as np  # noqa: E402
import onnx  # noqa: E402

import random_quant as rq  # noqa: E402
import reference  # noqa: E402
from judge import Judge  # noqa: E402
from quantized_graph import GraphBuilder, Quant, quantize  # noqa: E402


class Case:
    """One graph of one operator, its inputs and what reference.py says of them."""

    def __init__(self, rng, form, dtype):
        self.rng, self.dtype = rng, dtype
        self.graph = GraphBuilder("check", form)
        self.inputs = {}
        self.expected = None
        self.tolerance = 0  # steps

    def input(self, shape, quant, name="x", values=None):
        self.inputs[name] = rq.stored(self.rng, shape, self.dtype) if values is None else values
        return self.graph.input(name, shape, quant), self.inputs[name]

    def done(self, value, expected, tolerance=0):
        self.graph.output(value, "y")
        self.expected, self.tolerance = expected, tolerance
        return self


def conv(case, group=1, activation=None, weight_type=np.int8, channels=8):
    rng = case.rng
    x_quant = rq.quant(rng, case.dtype)
    kernel = tuple(int(k) for k in rng.integers(1, 6, 2))
    strides, dilations = (tuple(int(i) for i in rng.integers(1, 4, 2)) for _ in range(2))
    pads = tuple(int(p) for p in rng.integers(0, 3, 4))
    oc = 16
    fan_in = channels // group * kernel[0] * kernel[1]
    w, w_scale, w_zero = rq.weights(rng, (oc, channels // group) + kernel, oc, weight_type, rng.random() < 0.7)
    bias = rq.bias(rng, oc, fan_in) if rng.random() < 0.8 else None
    quant = rq.product_output_quant(rng, case.dtype, x_quant, w_scale, fan_in)
    x, values = case.input((1, channels, 37, 41), x_quant)
    y = case.graph.conv(x, w, w_scale, bias, quant, strides, pads, dilations, group, activation, w_zero)
    expected = reference.conv(values, x_quant, w, w_scale, w_zero, bias, quant, strides, pads, dilations, group)
    if activation is not None:
        low, high = (0, None) if activation == "relu" else activation
        expected = np.maximum(expected, quantize(low, quant))
        if high is not None:
            expected = np.minimum(expected, quantize(high, quant))
    return case.done(y, expected)


def gemm(case, trans_b=True):
    rng = case.rng
    x_quant = rq.quant(rng, case.dtype)
    k, n = int(rng.integers(1, 300)), int(rng.integers(1, 70))
    w, w_scale, _ = rq.weights(rng, (k, n), n, np.int8, rng.random() < 0.7)
    bias = rq.bias(rng, n, k) if rng.random() < 0.8 else None
    quant = rq.product_output_quant(rng, case.dtype, x_quant, w_scale, k)
    x, values = case.input((61, k), x_quant)
    y = case.graph.gemm(x, w.T.copy() if trans_b else w, w_scale, bias, quant, trans_b)
    return case.done(y, reference.matmul(values, x_quant, w, w_scale, 0, bias, quant))


def matmul(case, dynamic=False):
    rng = case.rng
    x_quant = rq.quant(rng, case.dtype)
    k, n = int(rng.integers(1, 300)), int(rng.integers(1, 70))
    x, values = case.input((61, k), x_quant)
    if dynamic:
        b_quant = rq.quant(rng, case.dtype)
        b, b_values = case.input((k, n), b_quant, "b")
        quant = rq.product_output_quant(rng, case.dtype, x_quant, b_quant.scale, k)
        y = case.graph.matmul(x, b, None, quant)
        return case.done(y, reference.matmul(values, x_quant, b_values, b_quant.scale, b_quant.zero_point, None, quant))
    w, w_scale, _ = rq.weights(rng, (k, n), n, np.int8, rng.random() < 0.7)
    quant = rq.product_output_quant(rng, case.dtype, x_quant, w_scale, k)
    return case.done(case.graph.matmul(x, w, w_scale, quant),
                     reference.matmul(values, x_quant, w, w_scale, 0, None, quant))


def every_pair(case, a_quant, b_quant, broadcast):
    """Two operands that have every pair of values, by broadcasting or written out."""
    every = np.arange(a_quant.limits[0], a_quant.limits[1] + 1).astype(case.dtype)
    a_values, b_values = every.reshape(1, 1, 256, 1), every.reshape(1, 1, 1, 256)
    if broadcast == "b":
        a_values, b_values = b_values, a_values
    elif not broadcast:
        a_values, b_values = (v.copy() for v in np.broadcast_arrays(a_values, b_values))
    return (*case.input(a_values.shape, a_quant, "a", a_values), *case.input(b_values.shape, b_quant, "b", b_values))


def decimal_scale(rng):
    """A scale as people write them: sums of such are near ties more often than others."""
    return float(np.float32(rng.integers(1, 100) / 1000))


def add(case, broadcast=None):
    rng = case.rng
    a_quant, b_quant = rq.quant(rng, case.dtype), rq.quant(rng, case.dtype)
    if rng.random() < 0.5:
        a_quant = Quant(decimal_scale(rng), a_quant.zero_point, case.dtype)
        b_quant = Quant(decimal_scale(rng), b_quant.zero_point, case.dtype)
    factor = rng.choice([0.5, 1.0, 1.0, rng.uniform(0.3, 1.5)])
    quant = Quant(float(np.float32((a_quant.scale + b_quant.scale) * factor)), rq.zero_point(rng, case.dtype), case.dtype)
    a, a_values, b, b_values = every_pair(case, a_quant, b_quant, broadcast)
    return case.done(case.graph.add(a, b, quant), reference.add(a_values, a_quant, b_values, b_quant, quant))


def multiply(case, broadcast=None):
    rng = case.rng
    a_quant, b_quant = rq.quant(rng, case.dtype), rq.quant(rng, case.dtype)
    quant = Quant(float(np.float32(a_quant.scale * b_quant.scale * rng.choice([64, rng.uniform(20, 200)]))),
                  rq.zero_point(rng, case.dtype), case.dtype)
    a, a_values, b, b_values = every_pair(case, a_quant, b_quant, broadcast)
    return case.done(case.graph.multiply(a, b, quant),
                     reference.multiply(a_values, a_quant, b_values, b_quant, quant))


def pool_geometry(rng):
    kernel = tuple(int(k) for k in rng.integers(1, 6, 2))
    strides = tuple(int(s) for s in rng.integers(1, 4, 2))
    pads = tuple(int(rng.integers(0, kernel[i % 2])) for i in range(4))
    return kernel, strides, pads


def max_pool(case):
    quant = rq.quant(case.rng, case.dtype)
    kernel, strides, pads = pool_geometry(case.rng)
    x, values = case.input((1, 16, 47, 51), quant)
    return case.done(case.graph.max_pool(x, kernel, strides, pads),
                     reference.max_pool(values, quant, kernel, strides, pads))


def average_pool(case, include_pad=False):
    x_quant = rq.quant(case.rng, case.dtype)
    quant = rq.similar_quant(case.rng, x_quant, 0.1, 1.3)
    kernel, strides, pads = pool_geometry(case.rng)
    x, values = case.input((1, 32, 47, 51), x_quant)
    return case.done(case.graph.average_pool(x, kernel, strides, quant, pads, include_pad),
                     reference.average_pool(values, x_quant, quant, kernel, strides, pads, include_pad))


def global_average_pool(case):
    rng = case.rng
    x_quant = rq.quant(rng, case.dtype)
    quant = rq.similar_quant(rng, x_quant, 0.02, 1.3)
    x, values = case.input((2, 900) + tuple(int(i) for i in rng.integers(1, 15, 2)), x_quant)
    return case.done(case.graph.global_average_pool(x, quant), reference.global_average_pool(values, x_quant, quant))


def every_input(case, quant):
    return case.input((1, 256), quant,
                      values=np.arange(quant.limits[0], quant.limits[1] + 1).astype(case.dtype).reshape(1, 256))


def sigmoid(case):
    x_quant = rq.quant(case.rng, case.dtype)
    quant = rq.quant(case.rng, case.dtype, low=2.0**-9, high=2.0**-7)
    x, values = every_input(case, x_quant)
    return case.done(case.graph.sigmoid(x, quant), reference.sigmoid(values, x_quant, quant))


def rescale(case, activation="relu"):
    x_quant = rq.quant(case.rng, case.dtype)
    quant = rq.similar_quant(case.rng, x_quant)
    x, values = every_input(case, x_quant)
    low, high = (0, np.inf) if activation == "relu" else activation
    return case.done(case.graph.clip(x, activation, quant), reference.rescale(values, x_quant, quant, low, high))


def rows(case, n):
    """Rows of n values: noise, a hill around one value, or what one value dominates."""
    rng = case.rng
    low = rq.quant(rng, case.dtype).limits[0]
    kind = rng.integers(3)
    values = rng.integers(0, 256, (40, n)) if kind == 0 else rng.normal(128, 10 if kind == 1 else 40, (40, n))
    return (np.clip(values, 0, 255).astype(np.int64) + low).astype(case.dtype)


def softmax(case, integer=False):
    rng = case.rng
    n = int(rng.choice([2, 3, 10, 64, 128, 1000]))
    x_quant = rq.quant(rng, case.dtype, low=2.0**-8, high=2.0**-1)
    # The runtime wraps an int8 result beyond 127: scales with which there is none.
    low, high = x_quant.limits
    zero_point = low if rng.random() < 0.7 else int(rng.integers(low, low + 200))
    quant = Quant(float(np.float32(rng.uniform(1, 3) / (high - zero_point))), zero_point, case.dtype)
    x, values = case.input((40, n), x_quant, values=rows(case, n))
    function = reference.softmax_integer if integer else reference.softmax
    return case.done(case.graph.softmax(x, quant), function(values, x_quant, quant), tolerance=int(integer))


def layer_norm(case):
    rng = case.rng
    n = int(rng.choice([16, 64, 384, 768]))
    x_quant = rq.quant(rng, case.dtype, low=2.0**-8, high=2.0**-2)
    quant = rq.quant(rng, case.dtype, low=2.0**-7, high=2.0**-4)
    gamma, beta = rng.normal(1, 0.3, n).astype(np.float32), rng.normal(0, 0.3, n).astype(np.float32)
    epsilon = float(np.float32(rng.choice([1e-12, 1e-5, 1e-3])))
    x, values = case.input((40, n), x_quant, values=rows(case, n))
    return case.done(case.graph.layer_norm(x, gamma, beta, epsilon, quant),
                     reference.layer_norm(values, x_quant, gamma, beta, epsilon, quant), tolerance=1)


def resize(case, mode="nearest"):
    rng = case.rng
    quant = rq.quant(rng, case.dtype)
    size = [int(n) for n in rng.integers(1, 60, 2)]
    coordinates = str(rng.choice(["asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners"]))
    attributes = dict(mode=mode, coordinate_transformation_mode=coordinates)
    nearest = str(rng.choice(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]))
    if mode == "nearest":
        attributes["nearest_mode"] = nearest
    x, values = case.input((1, 3, *size), quant)
    if rng.random() < 0.5:
        scales = [float(np.float32(s)) for s in rng.choice([0.6, 1.0, 1.3, 1.5, 2.0, 2.0, 3.0], 2)]
        scales = [s if n * s >= 1 else 2.0 for n, s in zip(size, scales)]
        y = case.graph.resize(x, scales=scales, **attributes)
    else:
        y = case.graph.resize(x, size=[int(n) for n in rng.integers(1, 90, 2)], **attributes)
        scales = [np.float32(out) / np.float32(n) for out, n in zip(y.shape[2:], size)]
    size = y.shape[2:]
    if mode == "nearest":
        return case.done(y, reference.resize_nearest(values, size, scales, coordinates, nearest))
    if case.graph.qdq:  # in float
        return case.done(y, reference.resize_linear(values, quant, y.quant, size, scales, coordinates), tolerance=1)
    return case.done(y, reference.resize_truncated(values, size, scales, coordinates))


# name, function, options, graphs drawn in one round
CHECKS = [
    ("Conv", conv, {}, 4),
    ("Conv, groups", conv, dict(group=4), 2),
    ("Conv, depthwise", conv, dict(group=16, channels=16), 2),
    ("Gemm, transB", gemm, {}, 2),
    ("Gemm", gemm, dict(trans_b=False), 2),
    ("MatMul", matmul, {}, 2),
    ("MatMul, both operands inputs", matmul, dict(dynamic=True), 2),
    ("Add", add, {}, 4),
    ("Add, a repeated", add, dict(broadcast="a"), 3),
    ("Add, b repeated", add, dict(broadcast="b"), 3),
    ("Mul", multiply, {}, 2),
    ("Mul, a repeated", multiply, dict(broadcast="a"), 2),
    ("MaxPool", max_pool, {}, 2),
    ("AveragePool", average_pool, {}, 3),
    ("AveragePool, count_include_pad", average_pool, dict(include_pad=True), 3),
    ("GlobalAveragePool", global_average_pool, {}, 3),
    ("Sigmoid", sigmoid, {}, 8),
    ("Softmax", softmax, {}, 6),
    ("Softmax, integer form, within a step", softmax, dict(integer=True), 3),
    ("Resize, nearest", resize, {}, 12),
    ("Resize, linear (QDQ: within a step)", resize, dict(mode="linear"), 8),
]
U8_ONLY = [("Conv, uint8 weights", conv, dict(weight_type=np.uint8), 2)]
QDQ_ONLY = [
    ("Relu between two quantizations", rescale, {}, 8),
    ("Clip(0, 6) between two quantizations", rescale, dict(activation=(0.0, 6.0)), 8),
    ("LayerNormalization, within a step", layer_norm, {}, 4),
]
# What the runtime may compute in float: reported by --table, not promised.
FLOAT = [
    ("Conv + Relu, any zero point", conv, dict(activation="relu"), 8),
    ("Conv, groups + Relu, any zero point", conv, dict(group=4, activation="relu"), 8),
    ("Conv + Clip(0, 6), any zero point", conv, dict(activation=(0.0, 6.0)), 8),
]
# QDQ graphs of these with int8 activations are float on x86-64 unless the session allows otherwise.
FLOAT_WHEN_INT8_QDQ = (conv, matmul)


def compare(judge, case, folder, fuse_int8_qdq):
    path = os.path.join(folder, "model.onnx")
    optimized = os.path.join(folder, "optimized.onnx")
    case.graph.save(path)
    outputs = judge.run(path, case.inputs, optimized, fuse_int8_qdq)
    operators = " ".join(n.op_type for n in onnx.load(optimized).graph.node if n.op_type != "Transpose")
    got = outputs["y"]
    if got.shape != case.expected.shape or got.dtype != case.expected.dtype:
        raise AssertionError(f"{got.dtype}{got.shape} from the runtime, {case.expected.dtype}{case.expected.shape} here")
    steps = np.abs(got.astype(np.int64) - case.expected)
    return got.size, int((steps > case.tolerance).sum()), int((steps > 0).sum()), operators


def check(judge, folder, name, function, options, form, dtype, graphs, seed, fuse_int8_qdq):
    """(values, those that differ by more than they may, those that differ, operators as executed)"""
    values = wrong = differing = 0
    executed = set()
    for i in range(graphs):
        rng = np.random.default_rng(zlib.crc32(f"{seed} {i} {name} {form} {dtype.__name__}".encode()))
        case = function(Case(rng, form, dtype), **options)
        n, w, d, operators = compare(judge, case, folder, fuse_int8_qdq)
        values, wrong, differing = values + n, wrong + w, differing + d
        executed.add(operators)
    return values, wrong, differing, executed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="multiplies the number of random graphs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="a table of how graphs are executed")
    parser.add_argument("--build", help="build folder (default: build)")
    args = parser.parse_args()
    judge = Judge(args.build)
    if judge.missing():
        skip_all("numerics against ONNX Runtime", judge.missing())
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix="numerics") as folder:
        for form in ("qdq", "qoperator"):
            for dtype in (np.uint8, np.int8):
                checks = CHECKS + (U8_ONLY if dtype is np.uint8 else []) + (QDQ_ONLY if form == "qdq" else [])
                for name, function, options, graphs in checks + (FLOAT if args.table else []):
                    float_by_default = form == "qdq" and dtype is np.int8 and function in FLOAT_WHEN_INT8_QDQ
                    values, wrong, differing, executed = check(
                        judge, folder, name, function, options, form, dtype, graphs * args.rounds, args.seed,
                        fuse_int8_qdq=float_by_default and not args.table)
                    if args.table:
                        print(f"{name:38} {form:9} {dtype.__name__:5} {values:9} {differing:6}  {' | '.join(sorted(executed))}")
                    else:
                        tap.result(wrong == 0, f"{name}: {form} {dtype.__name__}",
                                   f"{differing} of {values} values differ")
    return 0 if args.table else tap.finish()


if __name__ == "__main__":
    raise SystemExit(main())
