# SPDX-License-Identifier: MIT
"""Encoder layers of transformers, in the manner of network.py: what BERT is made of."""

from math import erf

import numpy as np

from network import Network
from quantized_graph import quantize_weights

EPSILON = 1e-12  # BERT's


class Transformer(Network):
    """Tensors are [..., rows, features]."""

    def linear(self, x, weights, bias):
        """weights: [inputs, outputs]"""
        return self._layer("linear", (x,), self.shapes[x][:-1] + (weights.shape[1],), weights=weights, bias=bias)

    def product(self, a, b, divisor=None):
        """Of two computed operands."""
        return self._layer("product", (a, b), self.shapes[a][:-1] + self.shapes[b][-1:], divisor=divisor)

    def reshape(self, x, shape):
        return self._layer("reshape", (x,), shape, to=shape)

    def transpose(self, x, permutation):
        return self._layer("transpose", (x,), (self.shapes[x][i] for i in permutation), permutation=permutation)

    def softmax(self, x):
        return self._layer("softmax", (x,), self.shapes[x])

    def gelu(self, x):
        return self._layer("gelu", (x,), self.shapes[x])

    def layer_norm(self, x, gamma, beta):
        return self._layer("layer_norm", (x,), self.shapes[x], gamma=gamma, beta=beta)

    def encoder_layer(self, rng, x, heads, wide):
        """Attention and two linear layers, each with a residual and a layer normalization, random weights."""
        batch, rows, features = self.shapes[x]

        def linear(x, outputs):
            inputs = self.shapes[x][-1]
            return self.linear(x, rng.standard_normal((inputs, outputs)) / np.sqrt(inputs),
                               rng.standard_normal(outputs) * 0.1)

        def norm(x):
            return self.layer_norm(x, rng.normal(1, 0.2, features), rng.normal(0, 0.2, features))

        def split(x, permutation):
            return self.transpose(self.reshape(x, (batch, rows, heads, features // heads)), permutation)

        q, k, v = (linear(x, features) for _ in range(3))
        q, k, v = split(q, (0, 2, 1, 3)), split(k, (0, 2, 3, 1)), split(v, (0, 2, 1, 3))
        weights = self.softmax(self.product(q, k, np.sqrt(features / heads)))
        mixed = self.reshape(self.transpose(self.product(weights, v), (0, 2, 1, 3)), (batch, rows, features))
        x = norm(self.add(linear(mixed, features), x))
        return norm(self.add(linear(self.gelu(linear(x, wide)), features), x))

    # Float evaluation.

    def _forward_linear(self, x, options):
        return x @ options["weights"] + options["bias"]

    def _forward_product(self, a, b, options):
        return a @ b / (options["divisor"] or 1)

    def _forward_reshape(self, x, options):
        return x.reshape(options["to"])

    def _forward_transpose(self, x, options):
        return x.transpose(options["permutation"])

    def _forward_softmax(self, x, options):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def _forward_gelu(self, x, options):
        return 0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2)))

    def _forward_layer_norm(self, x, options):
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON) * options["gamma"] + options["beta"]

    # Quantization.

    def _quantized_linear(self, graph, args, options, quant):
        weights, scale = quantize_weights(options["weights"], 1)
        unit = np.float32(args[0].quant.scale) * scale
        bias = np.rint(options["bias"] / unit.astype(np.float64)).astype(np.int32)
        return graph.matmul(args[0], weights, scale, quant, bias=bias)

    def _quantized_product(self, graph, args, options, quant):
        return graph.matmul(*args, None, quant, divisor=options["divisor"])

    def _quantized_reshape(self, graph, args, options, quant):
        return graph.reshape(args[0], options["to"])

    def _quantized_transpose(self, graph, args, options, quant):
        return graph.transpose(args[0], options["permutation"])

    def _quantized_layer_norm(self, graph, args, options, quant):
        gamma, beta = (np.asarray(options[name], np.float32) for name in ("gamma", "beta"))
        return graph.layer_norm(args[0], gamma, beta, EPSILON, quant)
