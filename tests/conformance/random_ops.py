#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Random quantized models, single operators and small networks, each from one number.

    random_ops.py SEED -o DIR      writes DIR/model.onnx and its vectors, input_NAME.npy

A seed gives the same model and inputs everywhere. Only graphs are drawn that ONNX Runtime computes in
integers (docs/numerics.md), in QDQ and QOperator form, with uint8 and int8 activations; those that need
it say so in `fuse_int8_qdq`.
"""

import argparse
import os

import numpy as np

import bodies
import random_quant as rq
import reference
from quantized_graph import QUANT_RANGE, GraphBuilder, Quant, quantize
from random_layers import Layers

CHANNELS = (1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 70)  # around the arrays' sizes
SIZES = (1, 2, 3, 5, 7, 8, 9, 13, 16, 17, 21, 28)
VECTORS = 4


class Model(Layers):
    """A graph under construction that can also compute itself with reference.py."""

    def __init__(self, rng, name, form, dtype, float_edges=False):
        self.rng, self.form, self.dtype = rng, form, dtype
        self.float_edges = float_edges  # inputs and outputs of the graph are float32
        self.graph = GraphBuilder(name, form)
        self.inputs = []  # Values
        self.fuse_int8_qdq = form == "qdq" and dtype is np.int8
        self.tolerance = 0  # steps by which the runtime may differ, where it computes in float
        self.large = False  # too large for reference.py to be quick
        self._steps = []
        self._outputs = {}  # Values by name

    # Draws.

    def quant(self):
        return rq.quant(self.rng, self.dtype)

    def choice(self, options):
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability):
        return self.rng.random() < probability

    def _step(self, value, function, *operands):
        self._steps.append((value.name, function, [v.name for v in operands]))
        return value

    def input(self, shape, quant=None):
        declare = self.graph.float_input if self.float_edges else self.graph.input
        value = declare(f"input{len(self.inputs)}", shape, quant or self.quant())
        self.inputs.append(value)
        return value

    def output(self, *values):
        for i, value in enumerate(values):
            name = "output" if len(values) == 1 else f"output{i}"
            self._outputs[name] = value
            (self.graph.float_output if self.float_edges else self.graph.output)(value, name)
        return self

    def activation(self, quant):
        """(activation, output quantization): one that the quantization performs by itself, or in QOperator form any."""
        kind = self.choice((None, None, "relu", "relu", "clip"))
        if kind is None:
            return None, quant
        bottom = QUANT_RANGE[self.dtype][0]
        if self.form == "qoperator" and self.chance(0.5):
            high = float(np.float32(self.rng.uniform(20, 200) * quant.scale))
            return ("relu" if kind == "relu" else (0.0, high)), quant
        quant = Quant(quant.scale, bottom, self.dtype)
        return ("relu", quant) if kind == "relu" else ((0.0, float(np.float32(quant.scale * 260))), quant)

    @staticmethod
    def _clamp(values, activation, quant):
        if activation is None:
            return values
        low, high = (0.0, None) if activation == "relu" else activation
        values = np.maximum(values, quantize(low, quant))
        return values if high is None else np.minimum(values, quantize(high, quant))

    # Operators with random parameters.

    def conv(self, x, oc=None, kernel=None, group=1, strides=None, same=False):
        rng = self.rng
        n, ic, h, w = x.shape
        oc = oc or self.choice(CHANNELS) * 1
        kernel = kernel or tuple(int(k) for k in rng.integers(1, 6, 2))
        if same:
            kernel = self.choice(((1, 1), (3, 3), (5, 3)))
            strides, dilations = (1, 1), (1, 1)
            pads = (kernel[0] // 2, kernel[1] // 2) * 2
        else:
            strides = strides or tuple(int(s) for s in rng.choice((1, 1, 2, 3), 2))
            dilations = tuple(int(d) for d in rng.choice((1, 1, 1, 2, 3), 2))
            pads = tuple(int(rng.integers(0, k + 1)) for k in kernel * 2)
        # A window at least as large as a kernel: dilate and pad until it is.
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
        pads = list(pads)
        for axis, size in enumerate((h, w)):
            pads[axis] += max(0, spans[axis] - size - pads[axis] - pads[axis + 2])
        per_channel = self.chance(0.7)
        fan_in = ic // group * kernel[0] * kernel[1]
        weight_type = np.uint8 if self.dtype is np.uint8 and self.chance(0.15) else np.int8
        weights, scale, zero = rq.weights(rng, (oc, ic // group) + tuple(kernel), oc, weight_type, per_channel)
        bias = rq.bias(rng, oc, fan_in) if self.chance(0.8) else None
        activation, quant = self.activation(rq.product_output_quant(rng, self.dtype, x.quant, scale, fan_in))
        y = self.graph.conv(x, weights, scale, bias, quant, strides, pads, dilations, group, activation, zero)
        return self._step(y, lambda v: self._clamp(
            reference.conv(v, x.quant, weights, scale, zero, bias, quant, strides, pads, dilations, group),
            activation, quant), x)

    def window_conv(self, x, oc, kernel, stride, pads, group):
        """Of a square kernel, as networks have it."""
        fan_in = x.shape[1] // group * kernel * kernel
        weights, scale, zero = rq.weights(self.rng, (oc, x.shape[1] // group, kernel, kernel), oc)
        bias = rq.bias(self.rng, oc, fan_in)
        activation, quant = self.activation(rq.product_output_quant(self.rng, self.dtype, x.quant, scale, fan_in))
        strides, dilations = (stride, stride), (1, 1)
        y = self.graph.conv(x, weights, scale, bias, quant, strides, pads, dilations, group, activation, zero)
        return self._step(y, lambda v: self._clamp(
            reference.conv(v, x.quant, weights, scale, zero, bias, quant, strides, pads, dilations, group),
            activation, quant), x)

    def depthwise(self, x, same=False):
        channels = x.shape[1]
        return self.conv(x, channels * (1 if same else self.choice((1, 1, 1, 2))), group=channels, same=same)

    def gemm(self, x, n=None):
        rng = self.rng
        k, n = x.shape[1], n or self.choice(CHANNELS)
        weights, scale, _ = rq.weights(rng, (k, n), n, np.int8, self.chance(0.5))
        bias = rq.bias(rng, n, k) if self.chance(0.8) else None
        activation, quant = self.activation(rq.product_output_quant(rng, self.dtype, x.quant, scale, k))
        trans_b = self.chance(0.5)
        y = self.graph.gemm(x, weights.T.copy() if trans_b else weights, scale, bias, quant, trans_b, activation)
        return self._step(y, lambda v: self._clamp(
            reference.matmul(v, x.quant, weights, scale, 0, bias, quant), activation, quant), x)

    def matmul(self, x, n=None):
        k, n = x.shape[-1], n or self.choice(CHANNELS)
        weights, scale, _ = rq.weights(self.rng, (k, n), n, np.int8, self.chance(0.5))
        quant = rq.product_output_quant(self.rng, self.dtype, x.quant, scale, k)
        return self._step(self.graph.matmul(x, weights, scale, quant),
                          lambda v: reference.matmul(v, x.quant, weights, scale, 0, None, quant), x)

    def matmul_dynamic(self, a, b):
        quant = rq.product_output_quant(self.rng, self.dtype, a.quant, b.quant.scale, a.shape[-1])
        return self._step(
            self.graph.matmul(a, b, None, quant),
            lambda u, v: reference.matmul(u, a.quant, v, b.quant.scale, b.quant.zero_point, None, quant), a, b)

    def add(self, a, b):
        scale = (a.quant.scale + b.quant.scale) * self.choice((0.5, 1.0, float(self.rng.uniform(0.3, 1.5))))
        activation, quant = self.activation(Quant(float(np.float32(scale)), rq.zero_point(self.rng, self.dtype),
                                                  self.dtype))
        return self._step(self.graph.add(a, b, quant, activation),
                          lambda u, v: self._clamp(reference.add(u, a.quant, v, b.quant, quant), activation, quant), a, b)

    def multiply(self, a, b):
        scale = a.quant.scale * b.quant.scale * float(self.rng.uniform(20, 200))
        quant = Quant(float(np.float32(scale)), rq.zero_point(self.rng, self.dtype), self.dtype)
        return self._step(self.graph.multiply(a, b, quant),
                          lambda u, v: reference.multiply(u, a.quant, v, b.quant, quant), a, b)

    def _window(self, x):
        kernel = tuple(int(self.rng.integers(1, min(5, size) + 1)) for size in x.shape[2:])
        strides = tuple(int(s) for s in self.rng.integers(1, 4, 2))
        pads = tuple(int(self.rng.integers(0, kernel[i % 2])) if self.chance(0.5) else 0 for i in range(4))
        return kernel, strides, pads

    def max_pool(self, x):
        return self.max_pool_of(x, *self._window(x))

    def max_pool_of(self, x, kernel, strides, pads=(0, 0, 0, 0), ceil_mode=False):
        y = self.graph.max_pool(x, kernel, strides, pads, ceil_mode)
        # What the last window reaches beyond the padding makes no difference to a maximum.
        ends = [(n - 1) * s + k - size - p for n, s, k, size, p in
                zip(y.shape[2:], strides, kernel, x.shape[2:], pads)]
        reached = tuple(pads[:2]) + tuple(max(p, e) for p, e in zip(pads[2:], ends))
        return self._step(y, lambda v: reference.max_pool(v, x.quant, kernel, strides, reached)[
            :, :, :y.shape[2], :y.shape[3]], x)

    def window_max_pool(self, x, kernel):
        """Same size, stride 1: of spatial pyramid pooling."""
        return self.max_pool_of(x, (kernel, kernel), (1, 1), (kernel // 2,) * 4)

    def average_pool(self, x):
        kernel, strides, pads = self._window(x)
        include = self.chance(0.5)
        quant = rq.similar_quant(self.rng, x.quant, 0.1, 1.3)
        return self._step(self.graph.average_pool(x, kernel, strides, quant, pads, include),
                          lambda v: reference.average_pool(v, x.quant, quant, kernel, strides, pads, include), x)

    def global_average_pool(self, x):
        quant = rq.similar_quant(self.rng, x.quant, 0.05, 1.3)
        return self._step(self.graph.global_average_pool(x, quant),
                          lambda v: reference.global_average_pool(v, x.quant, quant), x)

    def sigmoid(self, x):
        quant = Quant(1 / 256, QUANT_RANGE[self.dtype][0], self.dtype)
        if self.chance(0.5):
            quant = rq.quant(self.rng, self.dtype, low=2.0**-9, high=2.0**-7)
        return self._step(self.graph.sigmoid(x, quant), lambda v: reference.sigmoid(v, x.quant, quant), x)

    def clip(self, x):
        activation = "relu" if self.chance(0.5) else (0.0, float(np.float32(x.quant.scale * self.rng.uniform(20, 200))))
        low, high = (0.0, np.inf) if activation == "relu" else activation
        quant = rq.similar_quant(self.rng, x.quant) if self.form == "qdq" else x.quant
        y = self.graph.clip(x, activation, quant)
        if y is x:
            return x
        return self._step(y, lambda v: reference.rescale(v, x.quant, quant, low, high), x)

    def softmax(self, x):
        # The runtime wraps an int8 result beyond 127: scales with which there is none.
        quant = Quant(1 / 256, QUANT_RANGE[self.dtype][0], self.dtype)
        if self.chance(0.3):
            quant = Quant(float(np.float32(self.rng.uniform(1, 3) / 255)), quant.zero_point, self.dtype)
        return self._step(self.graph.softmax(x, quant), lambda v: reference.softmax(v, x.quant, quant), x)

    def layer_norm(self, x):
        self.tolerance = 1
        n = x.shape[-1]
        gamma, beta = (self.rng.normal(mean, 0.3, n).astype(np.float32) for mean in (1, 0))
        # Not 1e-12: of a row of equal values the runtime would show how its float mean was rounded.
        epsilon = float(np.float32(self.choice((1e-5, 1e-3))))
        quant = rq.quant(self.rng, self.dtype, low=2.0**-7, high=2.0**-4)
        return self._step(self.graph.layer_norm(x, gamma, beta, epsilon, quant),
                          lambda v: reference.layer_norm(v, x.quant, gamma, beta, epsilon, quant), x)

    def gelu(self, x):
        self.tolerance = 1
        quant = rq.similar_quant(self.rng, x.quant)
        return self._step(self.graph.gelu(x, quant), lambda v: reference.gelu(v, x.quant, quant), x)

    def linear(self, x, n):
        """MatMul with a bias behind it in QDQ form, without one in the other."""
        weights, scale, _ = rq.weights(self.rng, (x.shape[-1], n), n, np.int8, self.chance(0.5))
        bias = rq.bias(self.rng, n, x.shape[-1]) if self.form == "qdq" else None
        quant = rq.product_output_quant(self.rng, self.dtype, x.quant, scale, x.shape[-1])
        return self._step(self.graph.matmul(x, weights, scale, quant, bias=bias),
                          lambda v: reference.matmul(v, x.quant, weights, scale, 0, bias, quant), x)

    def transpose(self, x, permutation):
        return self._step(self.graph.transpose(x, permutation), lambda v: v.transpose(permutation), x)

    def flatten(self, x):
        y = self.graph.flatten(x)
        return self._step(y, lambda v: v.reshape(y.shape), x)

    def reshape(self, x, shape):
        return self._step(self.graph.reshape(x, shape), lambda v: v.reshape(shape), x)

    # Execution.

    def allowed(self, name):
        """How far an element of the output may be off, in its own unit."""
        return self.tolerance * (self._outputs[name].quant.scale if self.float_edges else 1)

    def vectors(self, count=VECTORS):
        """Inputs by name, `count` stacked along the first dimension: random ones, then extremes."""
        low, high = QUANT_RANGE[self.dtype]
        stacks = {}
        for index, value in enumerate(self.inputs):
            parts = []
            for i in range(count):
                if i == 1:
                    part = self.rng.choice([low, high], value.shape)
                elif i == 2:
                    part = np.full(value.shape, self.choice((low, high, value.quant.zero_point)))
                else:
                    part = self.rng.integers(low, high + 1, value.shape)
                parts.append(part.astype(self.dtype))
            stack = np.concatenate(parts)
            stacks[f"input{index}"] = self._real(stack, value.quant) if self.float_edges else stack
        return stacks

    def _real(self, stack, quant):
        """Real numbers around the stored values: on them, in between, half way, and some far outside."""
        real = (stack.astype(np.float32) - np.float32(quant.zero_point)) * np.float32(quant.scale)
        offsets = self.rng.choice([0, 0.5, -0.5, self.rng.uniform(-0.5, 0.5)], stack.shape)
        real = real + offsets.astype(np.float32) * np.float32(quant.scale)
        return np.where(self.rng.random(stack.shape) < 0.02, np.sign(real) * np.float32(1e30), real).astype(np.float32)

    def evaluate(self, inputs):
        """The outputs by name, by reference.py; inputs: arrays of one vector, by name."""
        values = {}
        for index, value in enumerate(self.inputs):
            array = inputs[f"input{index}"]
            values[value.name] = reference.quantize_real(array, value.quant) if self.float_edges else array
        for name, function, operands in self._steps:
            values[name] = function(*(values[o] for o in operands))
        return {name: reference.dequantize(values[v.name], v.quant) if self.float_edges else values[v.name]
                for name, v in self._outputs.items()}


def _image(m, channels=None, sizes=SIZES):
    return m.input((1, channels or m.choice(CHANNELS), m.choice(sizes), m.choice(sizes)))


def _rows(m, most=9, k=None):
    return m.input((int(m.rng.integers(1, most + 1)), k or int(m.rng.integers(1, 400))))


def _conv(m):
    return m.conv(_image(m))


def _grouped_conv(m):
    group = m.choice((2, 3, 4, 8))
    x = _image(m, group * m.choice((1, 2, 3, 8, 17)))
    return m.conv(x, group * m.choice((1, 2, 5, 16)), group=group)


def _large_conv(m):
    """More than the small card's SRAM holds: tiles, and K in parts."""
    m.large = True
    x = m.input((1, m.choice((64, 96, 130)), m.choice((40, 57)), m.choice((40, 51))))
    return m.conv(x, m.choice((64, 100, 192)), m.choice(((3, 3), (1, 1), (5, 5))), strides=(1, 1))


def _large_gemm(m):
    m.large = True
    return m.gemm(_rows(m, 40, m.choice((1000, 2048, 5000))), m.choice((100, 1000, 1111)))


def _matmul_dynamic(m):
    rows, k, n = int(m.rng.integers(1, 40)), int(m.rng.integers(1, 200)), m.choice(CHANNELS)
    middle = int(sum(QUANT_RANGE[m.dtype]) // 2 + m.rng.integers(-5, 6))  # else nearly every sum saturates
    return m.matmul_dynamic(m.input((rows, k)), m.input((k, n), Quant(rq.scale(m.rng), middle, m.dtype)))


def _row_lengths(m):
    """Rows of features. Not of one, whose softmax the runtime gets wrong."""
    shape = (m.choice((1, 2)), int(m.rng.integers(1, 40)), m.choice((2, 3, 10, 33, 64, 128, 300)))
    return m.input(shape, rq.quant(m.rng, m.dtype, low=2.0**-8, high=2.0**-2))


def _attention(m):
    """Scores of every row of one tensor against those of another, softmax, mixture of a third; several heads."""
    rows, heads, size = int(m.rng.integers(2, 24)), m.choice((1, 2, 3)), m.choice((4, 8, 17, 32))
    middle = int(sum(QUANT_RANGE[m.dtype]) // 2)
    x = m.input((1, rows, m.choice((9, 32, 48))), Quant(rq.scale(m.rng), middle, m.dtype))

    def split(y, permutation):
        return m.transpose(m.reshape(y, (1, rows, heads, size)), permutation)

    q, k, v = (m.linear(x, heads * size) for _ in range(3))
    scores = m.matmul_dynamic(split(q, (0, 2, 1, 3)), split(k, (0, 2, 3, 1)))
    mixed = m.matmul_dynamic(m.softmax(scores), split(v, (0, 2, 1, 3)))
    return m.linear(m.reshape(m.transpose(mixed, (0, 2, 1, 3)), (1, rows, heads * size)), x.shape[-1])


def _add(m):
    a = _image(m)
    return m.add(a, m.input(a.shape, rq.similar_quant(m.rng, a.quant, 0.1, 8)))


def _broadcast(m):
    """An operand per channel, first or second, added or multiplied."""
    x = _image(m)
    y = m.input((1, x.shape[1], 1, 1), rq.similar_quant(m.rng, x.quant, 0.1, 8))
    a, b = (x, y) if m.chance(0.5) else (y, x)
    return m.add(a, b) if m.chance(0.6) else m.multiply(a, b)


def _multiply(m):
    a = _image(m)
    return m.multiply(a, m.input(a.shape))


def _classifier(m):
    """conv, pool, conv, flatten, dense."""
    x = m.conv(_image(m, m.choice((1, 3)), (13, 16, 21, 28)), m.choice((8, 16, 32)), (3, 3), strides=(1, 1))
    x = m.max_pool(x) if m.chance(0.7) else m.average_pool(x)
    x = m.conv(x, m.choice((16, 33, 64)))
    return m.gemm(m.gemm(m.flatten(x), m.choice((17, 64))), 10)


def _residual(m):
    """Two blocks, the second with a convolution in its shortcut, then the head."""
    x = _image(m, m.choice((8, 16, 24, 33)), (5, 7, 9, 14))
    y = m.conv(m.conv(x, m.choice((8, 16, 31)), same=True), x.shape[1], same=True)
    x = m.add(y, x) if m.chance(0.5) else m.add(x, y)
    y = m.conv(x, 16, same=True)
    x = m.add(m.conv(y, 24, same=True), m.conv(x, 24, same=True))
    return m.gemm(m.flatten(m.global_average_pool(x)), 10)


def _inverted_residual(m):
    x = _image(m, m.choice((8, 16, 24)), (7, 9, 14))
    y = m.depthwise(m.conv(x, x.shape[1] * 3, (1, 1), strides=(1, 1)), same=True)
    y = m.conv(y, x.shape[1], same=True) if y.shape[2:] == x.shape[2:] else y
    if y.shape == x.shape:
        y = m.add(y, x)
    return m.depthwise(m.conv(y, same=True))


def _mlp(m):
    x = _rows(m)
    for _ in range(int(m.rng.integers(1, 4))):
        x = m.gemm(x)
    return m.sigmoid(x) if m.chance(0.5) else m.matmul(x)


def _chain(m):
    """Anything after anything."""
    x = _image(m, sizes=(7, 9, 13, 17))
    for _ in range(int(m.rng.integers(2, 6))):
        x = m.choice((m.conv, m.depthwise, m.max_pool, m.average_pool, m.sigmoid, m.clip))(x)
    return m.reshape(x, (1, -1, x.shape[1])[:1] + (x.shape[1] * x.shape[2], x.shape[3]))


def _resize(m, linear):
    x = _image(m, m.choice((1, 3, 17, 64)), (1, 2, 5, 8, 13))
    y = m.resize(x, linear)
    return y if linear or m.chance(0.5) else m.conv(y, m.choice((3, 16)))


def _joined(m):
    """Pieces of one tensor, and a join of different quantizations."""
    x = _image(m, m.choice((4, 6, 16)))
    y = m.input((1, 3) + x.shape[2:])
    parts = [m.slice(x, (0, i, 0, 0), (1, x.shape[1], *x.shape[2:]), (1, 2, 1, 1)) for i in (0, 1)]
    return m.concat(parts + [y])


def _padded(m):
    """Alone, or in front of what may take the frame as its padding."""
    x = m.pad(_image(m, sizes=(4, 5, 8, 13)))
    return m.choice((lambda v: v, m.conv, m.depthwise, m.max_pool, m.average_pool))(x)


def _blocks(m):
    x = m.input((1, 8, 4 * m.choice((1, 2, 3)), 4 * m.choice((1, 2, 3))))
    x = m.window_conv(x, 12, 1, 1, (0, 0, 0, 0), 1)
    return m.depth_to_space(x) if m.chance(0.5) else m.space_to_depth(x)


def _transposed_conv(m):
    """Alone, in one or two dimensions, or with what follows it in a network."""
    if m.chance(0.3):
        return m.conv_transpose(m.input((m.choice((1, 2)), m.choice((1, 3, 16, 33)), m.choice(SIZES))))
    shape = (1, m.choice((1, 2, 8, 17, 33)), m.choice((1, 2, 5, 8, 13)), m.choice((1, 2, 5, 8, 13)))
    if m.chance(0.4):
        return m.conv_transpose(m.input(shape))
    x = m.input(shape, Quant(float(rq.power_of_two(rq.scale(m.rng))), rq.zero_point(m.rng, m.dtype), m.dtype))
    if m.chance(0.5):
        x = m.conv_transpose(x, exact=True)
    else:  # as networks have it
        x = m.conv_transpose(x, kernel=(2, 2), strides=(2, 2), group=1, exact=True)
    follow = m.choice((m.sigmoid, lambda v: m.add(v, m.input(v.shape)), lambda v: m.conv(v, 8, same=True), m.max_pool))
    return follow(x)


KINDS = {
    "conv": _conv,
    "depthwise": lambda m: m.depthwise(_image(m)),
    "grouped conv": _grouped_conv,
    "transposed conv": _transposed_conv,
    "gemm": lambda m: m.gemm(_rows(m)),
    "matmul": lambda m: m.matmul(_rows(m)),
    "matmul of two inputs": _matmul_dynamic,
    "max pool": lambda m: m.max_pool(_image(m)),
    "average pool": lambda m: m.average_pool(_image(m)),
    "global average pool": lambda m: m.global_average_pool(_image(m)),
    "add": _add,
    "broadcast": _broadcast,
    "multiply": _multiply,
    "clip": lambda m: m.flatten(m.clip(_image(m))),
    "sigmoid": lambda m: m.sigmoid(_image(m)),
    "softmax": lambda m: m.softmax(_row_lengths(m)),
    "layer norm": lambda m: m.layer_norm(_row_lengths(m)),
    "gelu": lambda m: m.gelu(_image(m)),
    "attention": _attention,
    "linear": lambda m: m.linear(_row_lengths(m), m.choice(CHANNELS)),
    "classifier": _classifier,
    "residual": _residual,
    "inverted residual": _inverted_residual,
    "mlp": _mlp,
    "chain": _chain,
    "large conv": _large_conv,
    "large gemm": _large_gemm,
    "resize nearest": lambda m: _resize(m, False),
    "resize linear": lambda m: _resize(m, True),
    "pad": _padded,
    "gather": lambda m: m.gather(_image(m)),
    "slice": lambda m: m.slice(_image(m)),
    "concat": _joined,
    "function": lambda m: m.function(_image(m)),
    "hard swish": lambda m: m.hard_swish(_image(m)),
    "prelu": lambda m: m.prelu(_image(m)),
    "reduce mean": lambda m: m.reduce_mean(_image(m)),
    "blocks": _blocks,
    "shuffle": lambda m: m.shuffle(m.conv(_image(m), m.choice((6, 16, 34)))),
    **bodies.BODIES,
}
VARIANTS = (("qdq", np.uint8), ("qoperator", np.uint8), ("qoperator", np.int8), ("qdq", np.int8))


def _variant(seed):
    return VARIANTS[seed // len(KINDS) % len(VARIANTS)]


def _float_edges(seed):
    return seed % 5 == 4


def random_name(seed):
    form, dtype = _variant(seed)
    edges = ", float edges" if _float_edges(seed) else ""
    return f"{list(KINDS)[seed % len(KINDS)]} {form} {dtype.__name__}{edges} seed {seed}"


def random_model(seed):
    """(name, Model); kinds take turns, so that any len(KINDS) seeds in a row have them all."""
    form, dtype = _variant(seed)
    model = Model(np.random.default_rng([seed, 0x4E5055]), "random", form, dtype, _float_edges(seed))
    build = list(KINDS.values())[seed % len(KINDS)]
    made = build(model)
    return random_name(seed), model.output(*made) if isinstance(made, list) else model.output(made)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", type=int)
    parser.add_argument("-o", "--output", required=True)
    args = parser.parse_args()
    name, model = random_model(args.seed)
    os.makedirs(args.output, exist_ok=True)
    model.graph.save(os.path.join(args.output, "model.onnx"))
    for tensor, stack in model.vectors().items():
        np.save(os.path.join(args.output, f"input_{tensor}.npy"), stack)
    print(name)


if __name__ == "__main__":
    main()
