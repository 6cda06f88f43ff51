# SPDX-License-Identifier: MIT
"""A small float network that can be evaluated, calibrated and written as a quantized graph."""

import numpy as np

from quantized_graph import QUANT_RANGE, GraphBuilder, Quant, pool_shape, quant_for_range, quantize_weights, window_out

SCALE_BITS = 12  # significant bits kept of a calibrated scale


def _rounded_scale(quant, rounding=np.ceil):
    """Rounds the scale to SCALE_BITS significant bits, so that the last bits of a float sum, which
    depend on the order of addition, do not decide the bytes of a model."""
    mantissa, exponent = np.frexp(quant.scale)
    nudge = -1e-6 if rounding is np.ceil else 1e-6
    scale = np.ldexp(rounding(mantissa * 2**SCALE_BITS + nudge) / 2**SCALE_BITS, exponent)
    return Quant(float(np.float32(scale)), quant.zero_point, quant.dtype)


class Network:
    """Layers in order of execution; a layer is named by its index, the input is 0."""

    COPIES = ("max_pool", "flatten", "reshape", "transpose")  # keep their input's quantization

    def __init__(self, name, input_shape, input_name="input", output_name="output"):
        self.name, self.input_shape = name, tuple(input_shape)
        self.input_name, self.output_name = input_name, output_name
        self.further_outputs = []  # layers besides the last one
        self.ranges = {}  # layers that are quantized by the extremes of another one
        self.layers = [("input", (), {})]
        self.shapes = [self.input_shape]

    def _layer(self, kind, operands, shape, **options):
        self.layers.append((kind, operands, options))
        self.shapes.append(tuple(shape))
        return len(self.layers) - 1

    def conv(self, x, weights, bias, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1, activation=None):
        n, _, h, w = self.shapes[x]
        oc, _, kh, kw = weights.shape
        shape = (n, oc, window_out(h, kh, strides[0], pads[0], pads[2], dilations[0]),
                 window_out(w, kw, strides[1], pads[1], pads[3], dilations[1]))
        return self._layer("conv", (x,), shape, weights=weights, bias=bias, strides=strides, pads=pads,
                           dilations=dilations, group=group, activation=activation)

    def dense(self, x, weights, bias, activation=None):
        """weights: [outputs, inputs]"""
        return self._layer("dense", (x,), (self.shapes[x][0], weights.shape[0]), weights=weights, bias=bias,
                           activation=activation)

    def max_pool(self, x, kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0)):
        shape = pool_shape(self.shapes[x], kernel, strides, pads)
        return self._layer("max_pool", (x,), shape, kernel=kernel, strides=strides, pads=pads)

    def global_average_pool(self, x):
        return self._layer("global_average_pool", (x,), self.shapes[x][:2] + (1, 1))

    def add(self, a, b, activation=None):
        return self._layer("add", (a, b), self.shapes[a], activation=activation)

    def sigmoid(self, x):
        return self._layer("sigmoid", (x,), self.shapes[x])

    def flatten(self, x):
        return self._layer("flatten", (x,), (self.shapes[x][0], int(np.prod(self.shapes[x][1:]))))

    # Float evaluation, batched.

    def forward(self, batch):
        values = []
        for kind, operands, options in self.layers:
            args = [values[i] for i in operands] if operands else [np.asarray(batch, np.float64)]
            out = getattr(self, "_forward_" + kind)(*args, options)
            activation = options.get("activation")
            if activation is not None:
                low, high = (0.0, np.inf) if activation == "relu" else activation
                out = np.clip(out, low, high)
            values.append(out)
        return values

    @staticmethod
    def _windows(x, kernel, strides, pads, dilations=(1, 1), fill=0.0):
        """[n, c, oh, ow, kh, kw], a view of the padded input."""
        padded = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])), constant_values=fill)
        span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
        view = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(2, 3))
        return view[:, :, ::strides[0], ::strides[1], ::dilations[0], ::dilations[1]]

    def _forward_input(self, x, options):
        return x

    def _forward_conv(self, x, options):
        w = np.asarray(options["weights"], np.float64)
        oc, icg, kh, kw = w.shape
        taps = self._windows(x, (kh, kw), options["strides"], options["pads"], options["dilations"])
        n, c, oh, ow = taps.shape[:4]
        taps = taps.reshape(n, options["group"], icg, oh, ow, kh, kw)
        w = w.reshape(options["group"], oc // options["group"], icg, kh, kw)
        out = np.einsum("ngchwij,gocij->ngohw", taps, w, optimize=True)
        return out.reshape(n, oc, oh, ow) + np.asarray(options["bias"], np.float64).reshape(1, -1, 1, 1)

    def _forward_dense(self, x, options):
        return x @ np.asarray(options["weights"], np.float64).T + np.asarray(options["bias"], np.float64)

    def _forward_max_pool(self, x, options):
        return self._windows(x, options["kernel"], options["strides"], options["pads"], fill=-np.inf).max(axis=(4, 5))

    def _forward_global_average_pool(self, x, options):
        return x.mean(axis=(2, 3), keepdims=True)

    def _forward_add(self, a, b, options):
        return a + b

    def _forward_sigmoid(self, x, options):
        return 1 / (1 + np.exp(-x))

    def _forward_flatten(self, x, options):
        return x.reshape(x.shape[0], -1)

    # Quantization.

    def calibrate(self, batch, dtype=np.uint8, input_quant=None):
        """One Quant per layer, from the extremes that the layer takes on the batch."""
        quants = []
        forward = self.forward(batch)
        for i, (kind, operands, options) in enumerate(self.layers):
            values = forward[self.ranges.get(i, i)]
            if kind in self.COPIES:
                quants.append(quants[operands[0]])
            elif kind == "input" and input_quant is not None:
                quants.append(input_quant)
            elif kind in ("sigmoid", "hard_sigmoid", "softmax"):
                quants.append(Quant(1 / 256, 0 if dtype is np.uint8 else -128, dtype))
            elif options.get("activation") is not None:
                # Nothing below zero: the whole range for the rest, so that the quantization is the activation.
                # Where there is an upper bound, the range must not reach beyond it either.
                wide = quant_for_range(0.0, values.max(), np.uint8)
                rounding = np.ceil if options["activation"] == "relu" else np.floor
                quants.append(_rounded_scale(Quant(wide.scale, QUANT_RANGE[dtype][0], dtype), rounding))
            else:
                quants.append(_rounded_scale(quant_for_range(values.min(), values.max(), dtype)))
        return quants

    def quantized(self, quants, form="qdq", per_channel=True):
        """The graph as a GraphBuilder."""
        graph = GraphBuilder(self.name, form)
        values = []
        for i, (kind, operands, options) in enumerate(self.layers):
            args = [values[j] for j in operands]
            if kind == "input":
                value = graph.input(self.input_name, self.input_shape, quants[0])
            elif kind in ("conv", "dense"):
                weights, scale = quantize_weights(options["weights"], 0, per_channel)
                unit = np.float32(args[0].quant.scale) * scale
                bias = np.rint(np.asarray(options["bias"], np.float64) / unit.astype(np.float64)).astype(np.int32)
                if kind == "conv":
                    value = graph.conv(args[0], weights, scale, bias, quants[i], options["strides"], options["pads"],
                                       options["dilations"], options["group"], options["activation"])
                else:
                    value = graph.gemm(args[0], weights, scale, bias, quants[i], True, options["activation"])
            elif kind == "max_pool":
                value = graph.max_pool(args[0], options["kernel"], options["strides"], options["pads"])
            elif kind == "add":
                value = graph.add(*args, quants[i], options["activation"])
            elif kind == "flatten":
                value = graph.flatten(args[0])
            elif hasattr(self, "_quantized_" + kind):
                value = getattr(self, "_quantized_" + kind)(graph, args, options, quants[i])
            else:
                value = getattr(graph, kind)(args[0], quants[i])
            values.append(value)
        for layer in self.further_outputs:
            graph.output(values[layer], f"{self.output_name}{layer}")
        graph.output(values[-1], self.output_name)
        return graph

