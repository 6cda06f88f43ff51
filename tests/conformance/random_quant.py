# SPDX-License-Identifier: MIT
"""Random quantization parameters and stored values, weighted towards where mistakes hide."""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "models"))

from quantized_graph import QUANT_RANGE, Quant  # noqa: E402


def scale(rng, low=2.0**-9, high=0.5):
    """Log-uniform; one in four a power of two, where ties are common."""
    value = np.exp(rng.uniform(np.log(low), np.log(high)))
    if rng.random() < 0.25:
        value = 2.0 ** np.rint(np.log2(value))
    return float(np.float32(value))


def power_of_two(scale):
    """Near by, of one scale or many."""
    return (2.0 ** np.rint(np.log2(scale))).astype(np.float32)


def zero_point(rng, dtype):
    """Anywhere in the range; one in four at an end of it."""
    low, high = QUANT_RANGE[dtype]
    return int(rng.choice([low, high])) if rng.random() < 0.25 else int(rng.integers(low, high + 1))


def quant(rng, dtype, **scale_range):
    return Quant(scale(rng, **scale_range), zero_point(rng, dtype), dtype)


def stored(rng, shape, dtype):
    low, high = QUANT_RANGE[dtype]
    return rng.integers(low, high + 1, shape).astype(dtype)


def weights(rng, shape, channels, dtype=np.int8, per_channel=True):
    """Stored weights with full range, scales and one zero point (s8: 0)."""
    scales = np.array([scale(rng, 2.0**-10, 2.0**-5) for _ in range(channels if per_channel else 1)], np.float32)
    w_zero = 0 if dtype is np.int8 else int(rng.integers(0, 256))
    return stored(rng, shape, dtype), scales if per_channel else scales[0], w_zero


def bias(rng, channels, fan_in):
    limit = max(1, int(70 * 70 * np.sqrt(fan_in)))
    return rng.integers(-limit, limit + 1, channels).astype(np.int32)


def product_output_quant(rng, dtype, x_quant, w_scale, fan_in):
    """Spreads sums of fan_in random products over the output's range, some of them beyond it."""
    spread = np.sqrt(fan_in) * 74 * 74 * float(np.mean(w_scale)) * x_quant.scale
    value = spread / rng.uniform(30, 120)
    if rng.random() < 0.25:
        value = 2.0 ** np.rint(np.log2(value))
    return Quant(float(np.float32(value)), zero_point(rng, dtype), dtype)


def similar_quant(rng, x_quant, low=0.2, high=2.0):
    """Another quantization for about the same values; one in five the same one."""
    if rng.random() < 0.2:
        return x_quant
    return Quant(float(np.float32(x_quant.scale * rng.uniform(low, high))), zero_point(rng, x_quant.dtype),
                 x_quant.dtype)
