# SPDX-License-Identifier: MIT
"""One tiny graph for each operator and its variants, with random weights from a fixed seed.

A function takes a GraphBuilder and a seeded generator and declares the graph's output.
"""

import numpy as np

from quantized_graph import QUANT_RANGE, Quant

U8, S8 = np.uint8, np.int8


def _stored(rng, shape, dtype=S8):
    low, high = (-127, 127) if dtype is S8 else (0, 255)
    return rng.integers(low, high + 1, shape).astype(dtype)


def _quant(scale, zero_point, dtype):
    """zero_point as for uint8."""
    return Quant(float(np.float32(scale)), zero_point - (128 if dtype is S8 else 0), dtype)


def _bottom(dtype):
    return QUANT_RANGE[dtype][0]


def conv(kernel=(3, 3), ic=5, oc=7, size=(11, 9), dtype=U8, weight_type=S8, per_channel=True, bias=True, group=1,
         activation=None, relu_zero=False, **geometry):
    def build(graph, rng):
        x = graph.input("input", (1, ic) + size, _quant(0.021, 117, dtype))
        w = _stored(rng, (oc, ic // group) + kernel, weight_type)
        w_scale = rng.uniform(0.002, 0.008, oc if per_channel else ()).astype(np.float32)
        b = rng.integers(-4000, 4000, oc).astype(np.int32) if bias else None
        spread = 0.021 * 0.005 * 74 * 74 * np.sqrt(w[0].size)
        quant = _quant(spread / 60, 131, dtype)
        if relu_zero:  # the activation is in the quantization
            quant = Quant(6 / 255 if isinstance(activation, tuple) else quant.scale, _bottom(dtype), dtype)
        y = graph.conv(x, w, w_scale, b, quant, group=group, activation=activation,
                       weight_zp=121 if weight_type is U8 else None, **geometry)
        graph.output(y, "output")
    return build


def gemm(trans_b=True, rows=3, k=37, n=19, dtype=U8, per_channel=False, bias=True, relu=False):
    def build(graph, rng):
        x = graph.input("input", (rows, k), _quant(0.033, 99, dtype))
        w = _stored(rng, (n, k) if trans_b else (k, n))
        w_scale = rng.uniform(0.002, 0.008, n if per_channel else ()).astype(np.float32)
        b = rng.integers(-4000, 4000, n).astype(np.int32) if bias else None
        quant = Quant(0.08, _bottom(dtype), dtype) if relu else _quant(0.1, 140, dtype)
        graph.output(graph.gemm(x, w, w_scale, b, quant, trans_b, "relu" if relu else None), "output")
    return build


def matmul(dtype=U8, dynamic=False, batch=(), per_channel=False):
    def build(graph, rng):
        x = graph.input("a", batch + (7, 29), _quant(0.027, 120, dtype))
        if dynamic:
            b, scale = graph.input("b", batch + (29, 13), _quant(0.019, 131, dtype)), None
        else:
            b, scale = _stored(rng, (29, 13)), rng.uniform(0.002, 0.008, 13 if per_channel else ()).astype(np.float32)
        graph.output(graph.matmul(x, b, scale, _quant(0.05, 125, dtype)), "output")
    return build


def add(dtype=U8, relu=False, same=False):
    def build(graph, rng):
        shape = (1, 6, 9, 7)
        qa = _quant(0.031, 88, dtype)
        a = graph.input("a", shape, qa)
        b = graph.input("b", shape, qa if same else _quant(0.0123, 151, dtype))
        quant = Quant(0.027, _bottom(dtype), dtype) if relu else _quant(0.037, 107, dtype)
        graph.output(graph.add(a, b, quant, "relu" if relu else None), "output")
    return build


def unary(method, *args, shape=(1, 6, 9, 7), dtype=U8, out=None, **options):
    """A method of GraphBuilder that takes x, args, perhaps an output quantization, options."""
    def build(graph, rng):
        x = graph.input("input", shape, _quant(0.043, 115, dtype))
        if out == "same":
            args_ = args + (x.quant,)
        elif out is not None:
            args_ = args + (_quant(*out, dtype),)
        else:
            args_ = args
        graph.output(getattr(graph, method)(x, *args_, **options), "output")
    return build


def linear(shape=(2, 5, 17), n=23):
    """MatMul with its bias in an Add."""
    def build(graph, rng):
        x = graph.input("input", shape, _quant(0.033, 99, U8))
        w = _stored(rng, (shape[-1], n))
        w_scale = rng.uniform(0.002, 0.008, n).astype(np.float32)
        b = rng.integers(-4000, 4000, n).astype(np.int32)
        graph.output(graph.matmul(x, w, w_scale, _quant(0.07, 140, U8), bias=b), "output")
    return build


def concat():
    """Three quantizations, of which one is the result's."""
    def build(graph, rng):
        quants = [_quant(0.031, 88, U8), _quant(0.0123, 151, U8), _quant(0.02, 120, U8)]
        parts = [graph.input("abc"[i], (1, 2 + i, 5, 7), quant) for i, quant in enumerate(quants)]
        graph.output(graph.concat(parts, 1, quants[2]), "output")
    return build


def padded_conv():
    """A frame of one row and column at the end, as TensorFlow's exporters write it."""
    def build(graph, rng):
        x = graph.pad(graph.input("input", (1, 5, 8, 10), _quant(0.021, 117, U8)), (0, 0, 0, 0, 0, 0, 1, 1))
        scale = rng.uniform(0.002, 0.008, 7).astype(np.float32)
        y = graph.conv(x, _stored(rng, (7, 5, 3, 3)), scale, None, _quant(0.06, 131, U8), strides=(2, 2))
        graph.output(y, "output")
    return build


def prelu():
    def build(graph, rng):
        x = graph.input("input", (1, 6, 9, 7), _quant(0.043, 115, U8))
        graph.output(graph.prelu(x, rng.normal(0.2, 0.3, 6), _quant(0.039, 90, U8)), "output")
    return build


BOTH = ("qdq", "qoperator")
QOPERATOR = ("qoperator",)
QDQ = ("qdq",)
PAD1 = (1, 1, 1, 1)

# name: (forms, builder). int8 convolutions and MatMuls ship in QOperator form only: ONNX Runtime computes their
# QDQ form in float unless told otherwise (docs/numerics.md).
OPERATORS = {
    "conv_1x1": (BOTH, conv((1, 1))),
    "conv_3x3": (BOTH, conv(pads=PAD1)),
    "conv_strides_asymmetric_pads": (BOTH, conv((3, 4), strides=(2, 3), pads=(0, 2, 1, 3))),
    "conv_dilated": (BOTH, conv(dilations=(2, 3), pads=(2, 3, 1, 0))),
    "conv_groups": (BOTH, conv(ic=6, oc=9, group=3, pads=PAD1)),
    "conv_depthwise": (BOTH, conv(ic=10, oc=10, group=10, pads=PAD1)),
    "conv_depthwise_stride2": (BOTH, conv(ic=10, oc=10, group=10, strides=(2, 2), pads=(0, 0, 1, 1))),
    "conv_depth_multiplier": (BOTH, conv(ic=4, oc=8, group=4, pads=PAD1)),
    "conv_large_kernel": (BOTH, conv((10, 4), ic=1, oc=12, size=(25, 11), strides=(2, 2), pads=(4, 1, 5, 1))),
    "conv_one_scale_no_bias": (BOTH, conv(per_channel=False, bias=False)),
    "conv_uint8_weights": (BOTH, conv(weight_type=U8, per_channel=False, pads=PAD1)),
    "conv_relu": (BOTH, conv(pads=PAD1, activation="relu", relu_zero=True)),
    "conv_clip6": (BOTH, conv(pads=PAD1, activation=(0.0, 6.0), relu_zero=True)),
    "conv_relu_then_clip": (QOPERATOR, conv(pads=PAD1, activation="relu")),
    "conv_int8": (QOPERATOR, conv(pads=PAD1, dtype=S8)),
    "conv_depthwise_int8": (QOPERATOR, conv(ic=10, oc=10, group=10, pads=PAD1, dtype=S8)),
    "gemm_trans_b": (BOTH, gemm()),
    "gemm": (BOTH, gemm(trans_b=False)),
    "gemm_per_channel": (BOTH, gemm(per_channel=True)),
    "gemm_no_bias_relu": (BOTH, gemm(bias=False, relu=True)),
    "gemm_int8": (BOTH, gemm(dtype=S8)),
    "matmul": (BOTH, matmul()),
    "matmul_per_column": (BOTH, matmul(per_channel=True)),
    "matmul_two_inputs": (BOTH, matmul(dynamic=True)),
    "matmul_batch": (BOTH, matmul(dynamic=True, batch=(3,))),
    "matmul_with_bias": (QDQ, linear()),
    "matmul_int8": (QOPERATOR, matmul(dtype=S8)),
    "add": (BOTH, add()),
    "add_same_scales": (BOTH, add(same=True)),
    "add_relu": (BOTH, add(relu=True)),
    "add_int8": (BOTH, add(dtype=S8)),
    "max_pool_2x2": (BOTH, unary("max_pool", (2, 2), (2, 2))),
    "max_pool_3x3_stride2_pads": (BOTH, unary("max_pool", (3, 3), (2, 2), PAD1)),
    "max_pool_int8": (BOTH, unary("max_pool", (3, 2), (1, 2), (1, 0, 1, 1), dtype=S8)),
    "average_pool": (BOTH, unary("average_pool", (3, 3), (2, 2), out=(0.031, 101), pads=PAD1)),
    "average_pool_include_pad": (BOTH, unary("average_pool", (3, 3), (2, 2), out=(0.031, 101), pads=PAD1,
                                             count_include_pad=True)),
    "average_pool_same_scales": (BOTH, unary("average_pool", (2, 2), (2, 2), out="same")),
    "average_pool_int8": (BOTH, unary("average_pool", (2, 3), (1, 2), out=(0.033, 120), dtype=S8)),
    "global_average_pool": (BOTH, unary("global_average_pool", out=(0.011, 117))),
    "global_average_pool_int8": (BOTH, unary("global_average_pool", out=(0.011, 117), dtype=S8)),
    "sigmoid": (BOTH, unary("sigmoid", out=(1 / 256, 0), shape=(1, 16, 16))),
    "sigmoid_int8": (BOTH, unary("sigmoid", out=(1 / 256, 0), shape=(1, 16, 16), dtype=S8)),
    "relu": (BOTH, unary("clip", "relu", out="same")),
    "clip6": (BOTH, unary("clip", (0.0, 6.0), out="same")),
    "relu_rescale": (QDQ, unary("clip", "relu", out=(0.02, 0))),
    "softmax": (BOTH, unary("softmax", out=(1 / 256, 0), shape=(2, 7, 33))),
    "softmax_int8": (BOTH, unary("softmax", out=(1 / 256, 0), shape=(2, 7, 33), dtype=S8)),
    "reshape": (BOTH, unary("reshape", (1, 54, 7))),
    "flatten": (BOTH, unary("flatten")),
    "concat": (BOTH, concat()),
    "resize_nearest": (BOTH, unary("resize", scales=(2, 2), mode="nearest", nearest_mode="floor",
                                   coordinate_transformation_mode="asymmetric")),
    "resize_linear": (QOPERATOR, unary("resize", size=(13, 5), mode="linear")),
    "pad": (BOTH, unary("pad", (0, 0, 1, 2, 0, 0, 0, 3))),
    "pad_reflect": (BOTH, unary("pad", (0, 0, 1, 2, 0, 0, 0, 3), "reflect")),
    "pad_conv": (BOTH, padded_conv()),
    "gather": (BOTH, unary("gather", (3, 0, 5), 1)),
    "slice_steps": (BOTH, unary("slice", (0, 5, 0, 1), (1, 0, 9, 7), (1, -2, 2, 3))),
    "depth_to_space": (BOTH, unary("depth_to_space", 2, shape=(1, 8, 3, 5))),
    "hard_swish": (QDQ, unary("hard_swish", out=(0.03, 20))),
    "prelu": (QDQ, prelu()),
    "reduce_mean": (QDQ, unary("reduce_mean", (1, 3), False, out=(0.011, 117))),
}
