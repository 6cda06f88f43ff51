# SPDX-License-Identifier: MIT
"""Gates, joins and what else mobile networks and detectors are made of, in the manner of network.py."""

import numpy as np

from network import Network


class GatedNetwork(Network):
    """Images [n, c, h, w]."""

    COPIES = Network.COPIES + ("upsample",)

    def multiply(self, a, b):
        """b may be one value per channel."""
        return self._layer("multiply", (a, b), self.shapes[a])

    def hard_sigmoid(self, x):
        return self._layer("hard_sigmoid", (x,), self.shapes[x])

    def hard_swish(self, x):
        return self._layer("hard_swish", (x,), self.shapes[x])

    def silu(self, x):
        """As quantizers write it: a Sigmoid with a quantization of its own, and a product."""
        return self.multiply(x, self.sigmoid(x))

    def concat(self, parts):
        """Along the channels."""
        n, _, h, w = self.shapes[parts[0]]
        return self._layer("concat", tuple(parts), (n, sum(self.shapes[p][1] for p in parts), h, w))

    def average_pool(self, x):
        """By two."""
        n, c, h, w = self.shapes[x]
        return self._layer("average_pool", (x,), (n, c, h // 2, w // 2))

    def upsample(self, x):
        """By two, nearest."""
        n, c, h, w = self.shapes[x]
        return self._layer("upsample", (x,), (n, c, 2 * h, 2 * w))

    def _forward_multiply(self, a, b, options):
        return a * b

    def _forward_hard_sigmoid(self, x, options):
        return np.clip(0.2 * x + 0.5, 0, 1)  # ONNX's slope

    def _forward_hard_swish(self, x, options):
        return x * np.clip(x + 3, 0, 6) / 6

    def _forward_concat(self, *parts):
        return np.concatenate(parts[:-1], axis=1)

    def _forward_average_pool(self, x, options):
        return self._windows(x, (2, 2), (2, 2), (0, 0, 0, 0)).mean(axis=(4, 5))

    def _forward_upsample(self, x, options):
        return x.repeat(2, axis=2).repeat(2, axis=3)

    def _quantized_multiply(self, graph, args, options, quant):
        return graph.multiply(*args, quant)

    def _quantized_hard_sigmoid(self, graph, args, options, quant):
        return graph.function("HardSigmoid", args[0], quant)

    def _quantized_concat(self, graph, args, options, quant):
        return graph.concat(args, 1, quant)

    def _quantized_average_pool(self, graph, args, options, quant):
        return graph.average_pool(args[0], (2, 2), (2, 2), quant)

    def _quantized_upsample(self, graph, args, options, quant):
        return graph.resize(args[0], scales=(2, 2), mode="nearest", coordinate_transformation_mode="asymmetric",
                            nearest_mode="floor")
