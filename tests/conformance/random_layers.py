# SPDX-License-Identifier: MIT
"""Layers of random_ops.Model that move data or are functions of one value: random parameters, and what
reference.py makes of them."""

import numpy as np

import random_quant as rq
import reference
from quantized_graph import Quant

F32 = np.float32


def _logistic(v):
    return 1 / (1 + np.exp(-v))


def _softplus(v):
    return np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v)))


# Functions that the runtime has in float only: attributes, function in binary64, operator set.
FUNCTIONS = {
    "Elu": (dict(alpha=0.7), lambda v: np.where(v > 0, v, 0.7 * np.expm1(v)), 13),
    "Celu": (dict(alpha=1.7), lambda v: np.maximum(v, 0) + np.minimum(0, 1.7 * np.expm1(v / 1.7)), 13),
    "Selu": ({}, lambda v: 1.0507009873554805 * np.where(v > 0, v, 1.6732632423543772 * np.expm1(v)), 13),
    "Softplus": ({}, _softplus, 13),
    "Softsign": ({}, lambda v: v / (1 + np.abs(v)), 13),
    "Mish": ({}, lambda v: v * np.tanh(_softplus(v)), 18),
    "ThresholdedRelu": (dict(alpha=0.8), lambda v: np.where(v > F32(0.8), v, 0), 13),
    "HardSigmoid": ({}, lambda v: np.clip(0.2 * v + 0.5, 0, 1), 13),
    "HardSwish": ({}, lambda v: v * np.clip(v / 6 + 0.5, 0, 1), 14),
    "Abs": ({}, np.abs, 13),
    "Neg": ({}, np.negative, 13),
    "Exp": ({}, np.exp, 13),
    "LeakyRelu": (dict(alpha=0.1), lambda v: np.where(v >= 0, v, 0.1 * v), 13),
    "Tanh": ({}, np.tanh, 13),
}


def table(function, x_quant, quant):
    def evaluate(stored):
        real = ((stored.astype(np.int32) - x_quant.zero_point).astype(F32) * F32(x_quant.scale)).astype(np.float64)
        return reference.saturate(np.rint(function(real) / np.float64(F32(quant.scale))) + quant.zero_point, quant)
    return evaluate


class Layers:
    """A mixin of random_ops.Model."""

    def function(self, x, op=None):
        op = op or self.choice(sorted(FUNCTIONS))
        attributes, function, opset = FUNCTIONS[op]
        self.tolerance = 1
        quant = rq.similar_quant(self.rng, x.quant)
        return self._step(self.graph.function(op, x, quant, opset=opset, **attributes),
                          table(function, x.quant, quant), x)

    def hard_swish(self, x):
        self.tolerance = 1
        quant = rq.similar_quant(self.rng, x.quant, 0.5, 1)
        return self._step(self.graph.hard_swish(x, quant), table(FUNCTIONS["HardSwish"][1], x.quant, quant), x)

    def upsample(self, x):
        """By two, nearest, as detectors do it."""
        attributes = dict(coordinate_transformation_mode="asymmetric", nearest_mode="floor", mode="nearest")
        return self._step(self.graph.resize(x, scales=(2, 2), **attributes),
                          lambda v: v.repeat(2, axis=2).repeat(2, axis=3), x)

    def leaky_relu(self, x):
        quant = rq.similar_quant(self.rng, x.quant, 0.7, 1)
        real = table(FUNCTIONS["LeakyRelu"][1], x.quant, quant)
        return self._step(self.graph.leaky_relu(x, 0.1, quant), real, x)

    def silu(self, x):
        """As two operators."""
        gate = self.sigmoid(x)
        return self.multiply(x, gate)

    def prelu(self, x):
        self.tolerance = 1
        slopes = self.rng.normal(0.2, 0.3, x.shape[1]).astype(F32)
        quant = rq.similar_quant(self.rng, x.quant, 0.7, 2)
        by_channel = slopes.astype(np.float64).reshape((-1, 1, 1))
        return self._step(self.graph.prelu(x, slopes, quant),
                          table(lambda v: np.where(v < 0, v * by_channel, v), x.quant, quant), x)

    def resize(self, x, linear=False, scales=None):
        coordinates = self.choice(("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"))
        nearest = self.choice(("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"))
        attributes = dict(coordinate_transformation_mode=coordinates)
        if not linear:
            attributes["nearest_mode"] = nearest
        scales = scales or (None if self.chance(0.5) else self.choice(((2, 2), (2, 3), (1.3, 0.6), (0.5, 0.5))))
        if scales is not None and min(int(F32(n) * F32(s)) for n, s in zip(x.shape[2:], scales)) < 1:
            scales = (2, 2)
        quant = x.quant
        if linear and self.form == "qdq":
            self.tolerance = 1
            quant = rq.similar_quant(self.rng, x.quant)
        if scales is not None:
            y = self.graph.resize(x, scales=scales, quant=quant, mode="linear" if linear else "nearest", **attributes)
        else:
            size = [int(n) for n in self.rng.integers(1, 40, 2)]
            y = self.graph.resize(x, size=size, quant=quant, mode="linear" if linear else "nearest", **attributes)
            scales = [F32(a) / F32(b) for a, b in zip(size, x.shape[2:])]
        size = y.shape[2:]
        if not linear:
            return self._step(y, lambda v: reference.resize_nearest(v, size, scales, coordinates, nearest), x)
        if self.form == "qdq":
            return self._step(y, lambda v: reference.resize_linear(v, x.quant, quant, size, scales, coordinates), x)
        return self._step(y, lambda v: reference.resize_truncated(v, size, scales, coordinates), x)

    def concat(self, parts, axis=1, quant=None):
        quant = quant or rq.similar_quant(self.rng, parts[0].quant, 0.7, 2)

        def evaluate(*values):
            return np.concatenate([v if p.quant == quant else reference.rescale(v, p.quant, quant, -np.inf, np.inf)
                                   for v, p in zip(values, parts)], axis)
        return self._step(self.graph.concat(parts, axis, quant), evaluate, *parts)

    def slice(self, x, starts=None, ends=None, steps=None):
        if starts is None:
            starts, ends, steps = [], [], []
            for n in x.shape:
                step = self.choice((1, 1, 2, 3, -1))
                low = int(self.rng.integers(0, n))
                high = int(self.rng.integers(low + 1, n + 1))
                starts.append(low if step > 0 else high - 1)
                ends.append(high if step > 0 else (low - 1 if low else -n - 1))
                steps.append(step)
            starts[0], ends[0], steps[0] = 0, x.shape[0], 1
        where = tuple(slice(*bounds) for bounds in zip(starts, ends, steps or [1] * len(starts)))
        return self._step(self.graph.slice(x, starts, ends, steps), lambda v: v[where], x)

    def gather(self, x):
        axis = int(self.rng.integers(1, len(x.shape)))
        shape = self.choice(((3,), (7,), (2, 2), ()))
        indices = self.rng.integers(0, x.shape[axis], shape)
        if self.chance(0.3):
            indices = np.arange(0, x.shape[axis], 2)
        return self._step(self.graph.gather(x, indices, axis), lambda v: np.take(v, indices, axis), x)

    def pad(self, x, pads=None, mode=None):
        mode = mode or self.choice(("constant", "constant", "edge", "reflect"))
        if pads is None:
            most = [2 if mode == "constant" else 0] + [3] * (len(x.shape) - 1)
            if mode == "reflect":
                most = [0] + [min(3, n - 1) for n in x.shape[1:]]
            most[0] = 0
            pads = [int(self.rng.integers(0, m + 1)) for m in most + most]
        rank = len(x.shape)
        widths = list(zip(pads[:rank], pads[rank:]))
        options = dict(constant_values=x.quant.zero_point) if mode == "constant" else {}
        return self._step(self.graph.pad(x, pads, mode), lambda v: np.pad(v, widths, mode, **options), x)

    def shuffle(self, x, groups=2):
        """ShuffleNet's: channels of the groups take turns."""
        n, c, h, w = x.shape
        y = self.reshape(x, (n, groups, c // groups, h, w))
        return self.reshape(self.transpose(y, (0, 2, 1, 3, 4)), x.shape)

    def conv_transpose(self, x, oc=None, kernel=None, strides=None, group=None, exact=False):
        """One or two spatial axes; all the ways to say how large the result is, unless kernel and strides are given.
        exact: with scales with which the runtime, which computes it in float, does not round; x has one already."""
        rng, size, given = self.rng, x.shape[2:], kernel is not None
        ic, rank = x.shape[1], len(size)
        group = group or self.choice([1, 1, 1] + [g for g in (2, ic) if ic % g == 0])
        oc = group * self.choice((1, 1, 2, 3)) if group > 1 else oc or self.choice((1, 3, 8, 17, 33))
        strides = strides or tuple(int(s) for s in rng.choice((1, 2, 2, 3, 4), rank))
        kernel = kernel or tuple(int(k) for k in rng.integers(1, 6, rank))
        dilations = (1,) * rank if given else tuple(int(d) for d in rng.choice((1, 1, 1, 2, 3), rank))
        extra = (0,) * rank if given else tuple(int(rng.integers(0, s)) for s in strides)
        attributes = dict(kernel_shape=kernel, strides=strides, dilations=dilations, group=group, output_padding=extra)
        whole = [(n - 1) * s + e + (k - 1) * d + 1 for n, s, e, k, d in zip(size, strides, extra, kernel, dilations)]
        how = "whole" if given else self.choice(("pads", "pads", "SAME_UPPER", "SAME_LOWER", "output_shape", "whole"))
        if exact and how.startswith("SAME"):
            how = "whole"  # the runtime's kernel and its rule of shapes, which what follows must obey, may differ
        made, crops = whole, [0] * rank
        if how == "pads":
            crops = [int(rng.integers(0, min(5, n))) for n in whole]
            ends = [int(rng.integers(0, min(5, n - c))) for n, c in zip(whole, crops)]
            attributes["pads"] = crops + ends
            made = [n - c - e for n, c, e in zip(whole, crops, ends)]
        elif how != "whole":
            upper = how == "SAME_UPPER"
            if how == "output_shape":
                made = [max(1, n + int(rng.integers(-3, 1))) for n in whole]
                attributes["output_shape"] = made
            else:
                made = [min(w, n * s) for w, n, s in zip(whole, size, strides)]
                attributes["auto_pad"] = how
            cuts = [max(0, n - m) for n, m in zip(whole, made)]
            crops = [c // 2 if upper else c - c // 2 for c in cuts]
        shape = (x.shape[0], oc, *made)
        fan_in = max(1, ic // group * int(np.prod(kernel)) // int(np.prod(strides)))
        per_channel = self.chance(0.7)
        weight_type = np.uint8 if self.dtype is np.uint8 and self.chance(0.15) else np.int8
        weights, scale, zero = rq.weights(rng, (ic, oc // group) + tuple(kernel), oc // group, weight_type, per_channel)
        bias = rq.bias(rng, oc, fan_in) if self.chance(0.8) else None
        scale = rq.power_of_two(scale) if exact else scale
        activation, quant = self.activation(rq.product_output_quant(rng, self.dtype, x.quant, scale, fan_in))
        quant = Quant(float(rq.power_of_two(quant.scale)), quant.zero_point, quant.dtype) if exact else quant
        self.tolerance = max(self.tolerance, int(not exact))
        y = self.graph.conv_transpose(x, weights, scale, bias, quant, shape, activation, zero, **attributes)
        return self._step(y, lambda v: self._clamp(
            reference.conv_transpose(v, x.quant, weights, scale, zero, bias, quant, shape, strides, crops, dilations,
                                     group), activation, quant), x)

    def space_to_depth(self, x, block=2):
        n, c, h, w = x.shape
        cut = (n, c, h // block, block, w // block, block)
        y = self.graph.space_to_depth(x, block)
        return self._step(y, lambda v: v.reshape(cut).transpose(0, 3, 5, 1, 2, 4).reshape(y.shape), x)

    def depth_to_space(self, x, block=2):
        n, c, h, w = x.shape
        mode = self.choice(("DCR", "CRD"))
        depth = c // block**2
        cut = (n, block, block, depth, h, w) if mode == "DCR" else (n, depth, block, block, h, w)
        order = (0, 3, 4, 1, 5, 2) if mode == "DCR" else (0, 1, 4, 2, 5, 3)
        y = self.graph.depth_to_space(x, block, mode)
        return self._step(y, lambda v: v.reshape(cut).transpose(order).reshape(y.shape), x)

    def reduce_mean(self, x):
        axes = self.choice(((2, 3), (1,), (3,), (1, 2), (1, 3), (1, 2, 3)))
        keep = self.chance(0.5)
        self.tolerance = 1
        quant = rq.similar_quant(self.rng, x.quant, 0.05, 1)
        count = int(np.prod([x.shape[a] for a in axes]))

        def evaluate(v):
            total = v.astype(np.int64).sum(axis=axes, keepdims=keep) - count * x.quant.zero_point
            k = np.float64(F32(x.quant.scale)) / np.float64(F32(quant.scale)) / count
            return reference.saturate(np.rint(total * k) + quant.zero_point, quant)
        return self._step(self.graph.reduce_mean(x, axes, keep, quant), evaluate, x)
