# SPDX-License-Identifier: MIT
"""The arithmetic of docs/numerics.md, written down once in NumPy.

Every function takes and returns stored (8-bit) arrays. It is the oracle that check_numerics.py holds
against ONNX Runtime; it shares no code with the compiler or the card.
"""

from math import erf

import numpy as np

F32 = np.float32


def fma(a, b, c):
    """binary32 fused multiply-add. The product is exact in 80-bit extended; the one rounding of the
    sum to 64 bits before the last can differ from a true fma only within 2^-40 of a tie."""
    wide = np.longdouble
    return (np.asarray(a, wide) * np.asarray(b, wide) + np.asarray(c, wide)).astype(F32)


def saturate(rounded, quant):
    low, high = quant.limits
    return np.clip(rounded, low, high).astype(quant.dtype)


def wrap32(acc):
    return np.asarray(acc, np.int64).astype(np.int32)


def requantize(acc, scale, quant):
    """zp + rint(clamp(f32(acc) * scale, qmin - zp, qmax - zp)); scale: binary32, broadcast over acc."""
    low, high = quant.limits
    real = np.clip(acc.astype(F32) * scale, F32(low - quant.zero_point), F32(high - quant.zero_point))
    return (np.rint(real).astype(np.int64) + quant.zero_point).astype(quant.dtype)


def requant_scale(x_scale, w_scale, y_scale):
    return (F32(x_scale) * np.asarray(w_scale, F32)) / F32(y_scale)


def windows(x, kernel, strides, pads, dilations, fill):
    """[n, c, kh, kw, oh, ow] of the windows of [n, c, h, w]; padding and beyond it is `fill`."""
    n, c, h, w = x.shape
    kh, kw = kernel
    oh = (h + pads[0] + pads[2] - dilations[0] * (kh - 1) - 1) // strides[0] + 1
    ow = (w + pads[1] + pads[3] - dilations[1] * (kw - 1) - 1) // strides[1] + 1
    padded = np.full((n, c, h + pads[0] + pads[2], w + pads[1] + pads[3]), fill, x.dtype)
    padded[:, :, pads[0]:pads[0] + h, pads[1]:pads[1] + w] = x
    out = np.empty((n, c, kh, kw, oh, ow), x.dtype)
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilations[0], j * dilations[1]
            out[:, :, i, j] = padded[:, :, top:top + oh * strides[0]:strides[0], left:left + ow * strides[1]:strides[1]]
    return out


def conv(x, x_quant, weights, weight_scale, weight_zp, bias, quant, strides, pads, dilations, group):
    oc, icg, kh, kw = weights.shape
    n = x.shape[0]
    taps = windows(x.astype(np.int64) - x_quant.zero_point, (kh, kw), strides, pads, dilations, 0)
    oh, ow = taps.shape[4:]
    taps = taps.reshape(n, group, icg * kh * kw, oh * ow)
    w = weights.astype(np.int64) - np.asarray(weight_zp, np.int64).reshape(-1, 1, 1, 1)
    w = w.reshape(group, oc // group, icg * kh * kw)
    acc = np.einsum("gok,ngkp->ngop", w, taps).reshape(n, oc, oh, ow)
    if bias is not None:
        acc = acc + bias.reshape(1, -1, 1, 1)
    scale = requant_scale(x_quant.scale, weight_scale, quant.scale)
    return requantize(wrap32(acc), scale.reshape(1, -1, 1, 1) if scale.ndim else scale, quant)


def conv_transpose(x, x_quant, weights, weight_scale, weight_zp, bias, quant, shape, strides, crops, dilations, group):
    """Weights [ic, oc / group, ...], scales by the second axis. crops: elements of the whole in front of the result."""
    ic, filters, *kernel = weights.shape
    real = x.astype(np.int64) - x_quant.zero_point
    parts = (1, -1) + (1,) * len(kernel)
    w = weights.astype(np.int64) - np.asarray(weight_zp, np.int64).reshape(parts if np.ndim(weight_zp) else ())
    ends = [max((n - 1) * s + (k - 1) * d + 1, c + o) for n, s, k, d, c, o in
            zip(x.shape[2:], strides, kernel, dilations, crops, shape[2:])]
    acc = np.zeros(tuple(shape[:2]) + tuple(ends), np.int64)
    for tap in np.ndindex(*kernel):
        where = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in
                      zip(tap, dilations, x.shape[2:], strides))
        for g in range(group):
            mine = slice(g * ic // group, (g + 1) * ic // group)
            product = np.einsum("io,ni...->no...", w[(mine, slice(None)) + tap], real[:, mine])
            acc[(slice(None), slice(g * filters, (g + 1) * filters)) + where] += product
    acc = acc[(slice(None), slice(None)) + tuple(slice(c, c + o) for c, o in zip(crops, shape[2:]))]
    if bias is not None:
        acc = acc + bias.reshape(parts)
    scale = requant_scale(x_quant.scale, np.tile(weight_scale, group) if np.ndim(weight_scale) else weight_scale,
                          quant.scale)
    return requantize(wrap32(acc), scale.reshape(parts) if scale.ndim else scale, quant)


def matmul(a, a_quant, b, b_scale, b_zp, bias, quant):
    """[..., M, K] x [..., K, N]; scale and zero point of b: scalar or one per column; bias s32 [N]."""
    acc = np.matmul(a.astype(np.int64) - a_quant.zero_point, b.astype(np.int64) - np.asarray(b_zp, np.int64))
    if bias is not None:
        acc = acc + bias
    return requantize(wrap32(acc), requant_scale(a_quant.scale, b_scale, quant.scale), quant)


def _repeated_innermost(shape, result):
    """Whether broadcasting repeats each element of the operand along the innermost dimension there is."""
    for i, size in enumerate(reversed(result), 1):
        if size > 1:
            return i > len(shape) or shape[-i] == 1
    return False


def add(a, a_quant, b, b_quant, quant):
    shape = np.broadcast_shapes(a.shape, b.shape)
    if _repeated_innermost(a.shape, shape) and not _repeated_innermost(b.shape, shape):
        a, a_quant, b, b_quant = b, b_quant, a, a_quant
    ra, rb = F32(a_quant.scale) / F32(quant.scale), F32(b_quant.scale) / F32(quant.scale)
    fix = F32(quant.zero_point) - fma(ra, F32(a_quant.zero_point), rb * F32(b_quant.zero_point))
    return saturate(np.rint(fma(a, ra, fma(b, rb, fix))), quant)


def multiply(a, a_quant, b, b_quant, quant):
    product = (a.astype(np.int32) - a_quant.zero_point) * (b.astype(np.int32) - b_quant.zero_point)
    scale = requant_scale(a_quant.scale, b_quant.scale, quant.scale)
    return saturate(np.rint(product.astype(F32) * scale + F32(quant.zero_point)), quant)


def max_pool(x, quant, kernel, strides, pads):
    return windows(x, kernel, strides, pads, (1, 1), quant.limits[0]).max(axis=(2, 3))


def average_pool(x, x_quant, quant, kernel, strides, pads, count_include_pad):
    """rint((sum / count) / sy + zp); the sum is of dequantized values in binary32, row by row over the
    taps that lie inside the input."""
    real = dequantize(x, x_quant)
    taps = windows(real, kernel, strides, pads, (1, 1), 0)
    inside = windows(np.ones(x.shape, np.int64), kernel, strides, pads, (1, 1), 0).sum(axis=(2, 3))
    total = np.zeros(taps.shape[:2] + taps.shape[4:], F32)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            total = total + taps[:, :, i, j]
    count = kernel[0] * kernel[1] if count_include_pad else inside
    mean = total / np.asarray(count, F32)
    return saturate(np.rint(mean / F32(quant.scale) + F32(quant.zero_point)), quant)


def average_pool_integer(x, x_quant, quant, kernel, strides, pads, count_include_pad):
    """The same from one exact integer sum: what average_pool would be without the roundings of its sum."""
    centred = x.astype(np.int64) - x_quant.zero_point
    total = windows(centred, kernel, strides, pads, (1, 1), 0).sum(axis=(2, 3))
    inside = windows(np.ones_like(centred), kernel, strides, pads, (1, 1), 0).sum(axis=(2, 3))
    count = kernel[0] * kernel[1] if count_include_pad else inside
    mean = total.astype(F32) * F32(x_quant.scale) / np.asarray(count, F32)
    return saturate(np.rint(mean / F32(quant.scale) + F32(quant.zero_point)), quant)


def global_average_pool(x, x_quant, quant):
    count = x.shape[2] * x.shape[3]
    total = x.astype(np.int64).sum(axis=(2, 3), keepdims=True) - count * x_quant.zero_point
    scale = F32(x_quant.scale) / (F32(quant.scale) * F32(count))
    return saturate(np.rint(total.astype(F32) * scale) + quant.zero_point, quant)


def dequantize(x, x_quant):
    return (x.astype(np.int32) - x_quant.zero_point).astype(F32) * F32(x_quant.scale)


def quantize_real(real, quant):
    return saturate(np.rint(real.astype(F32) / F32(quant.scale)) + quant.zero_point, quant)


def rescale(x, x_quant, quant, low=-np.inf, high=np.inf):
    """DequantizeLinear, a clamp of real values, QuantizeLinear."""
    return quantize_real(np.clip(dequantize(x, x_quant), F32(low), F32(high)), quant)


def logistic(real):
    """ONNX Runtime's binary32 logistic: a rational approximation evaluated with fma."""
    alpha = [4.37031012579801e-11, 1.15627324459942e-07, 6.08574864600143e-05, 8.51377133304701e-03,
             2.48287947061529e-01]
    beta = [6.10247389755681e-13, 5.76102136993427e-09, 6.29106785017040e-06, 1.70198817374094e-03,
            1.16817656904453e-01, 9.93151921023180e-01]
    v = np.clip(real.astype(F32), F32(-18), F32(18))
    squared = v * v
    p, q = F32(alpha[0]), F32(beta[0])
    for a in alpha[1:]:
        p = fma(p, squared, F32(a))
    for b in beta[1:]:
        q = fma(q, squared, F32(b))
    return np.clip(p * v / q + F32(0.5), F32(0), F32(1))


def sigmoid(x, x_quant, quant):
    return quantize_real(logistic(dequantize(x, x_quant)), quant)


def sigmoid_exact(x, x_quant, quant):
    real = dequantize(x, x_quant).astype(np.float64)
    return quantize_real((1 / (1 + np.exp(-real))).astype(F32), quant)


def gelu(x, x_quant, quant):
    real = dequantize(x, x_quant).astype(np.float64)
    return quantize_real((real * (1 + np.vectorize(erf)(real / np.sqrt(2))) / 2).astype(F32), quant)


def _softmax_index(x):
    x = x.astype(np.int64)
    return 255 - (x.max(axis=-1, keepdims=True) - x)


def softmax(x, x_quant, quant):
    """Over the last axis, as the runtime does it in binary32: a table with room for the sum, the sum
    value by value."""
    n = x.shape[-1]
    room = np.log(np.finfo(F32).max / F32(n))  # binary32
    shift = max(0.0, float(room) - 5.0) / np.float64(F32(x_quant.scale))
    table = np.exp((np.arange(256) - 255 + shift) * np.float64(F32(x_quant.scale))).astype(F32)
    e = table[_softmax_index(x)]
    total = np.zeros(x.shape[:-1] + (1,), F32)
    for i in range(n):
        total = total + e[..., i:i + 1]
    factor = F32(np.floor(F32(1) / F32(quant.scale)))
    return saturate(np.rint(e * factor / total) + quant.zero_point, quant)


def softmax_integer(x, x_quant, quant):
    """The same in integers: rounds half up, and its table has fewer digits."""
    n = x.shape[-1]
    largest = min(float(2**32 - 1) / n, float(2**23 - 1))
    table = np.floor(largest * np.exp((np.arange(256) - 255) * np.float64(F32(x_quant.scale)))).astype(np.int64)
    e = table[_softmax_index(x)]
    total = e.sum(axis=-1, keepdims=True)
    factor = int(np.floor(F32(1) / F32(quant.scale)))
    return saturate((e * factor + (total >> 1)) // total + quant.zero_point, quant)


def layer_norm(x, x_quant, gamma, beta, epsilon, quant):
    """Over the last axis: exact sums, binary64 up to the two numbers of a row, then binary32."""
    x = x.astype(np.int64)
    n, scale = x.shape[-1], np.float64(F32(x_quant.scale))
    total, squares = x.sum(axis=-1, keepdims=True), (x * x).sum(axis=-1, keepdims=True)
    variance = (n * squares - total * total) / np.float64(n * n)
    factor = scale / np.sqrt(variance * scale * scale + np.float64(F32(epsilon)))
    shift = -(total / np.float64(n) * factor)
    normal = fma(x.astype(F32), factor.astype(F32), shift.astype(F32))
    return saturate(np.rint(fma(normal, gamma.astype(F32), beta.astype(F32)) / F32(quant.scale)) + quant.zero_point, quant)


def resize_coordinates(size, out, scale, mode):
    """Where in the input the `out` elements of an axis lie, in binary32, operation by operation."""
    at = np.arange(out).astype(F32)
    if scale == F32(1):
        return at
    if mode == "asymmetric":
        return at / scale
    if mode == "align_corners":
        return at * F32(size - 1) / F32(out - 1) if out > 1 else at
    if mode == "pytorch_half_pixel" and out == 1:
        return at
    return (at + F32(0.5)) / scale - F32(0.5)  # half_pixel


def resize_nearest_index(size, out, scale, mode, nearest_mode):
    """The input element that each of the `out` elements of an axis copies."""
    at = resize_coordinates(size, out, scale, mode).astype(np.float64)
    if nearest_mode in ("floor", "ceil"):
        index = getattr(np, nearest_mode)(at)
    else:  # what is this close to the middle lies there
        middle = np.abs(at - np.floor(at) - 0.5) < 1e-6
        up = nearest_mode == "round_prefer_ceil"
        index = np.where(middle, np.floor(at) + up, np.floor(at + 0.5))
    return np.clip(index.astype(np.int64), 0, size - 1)


def resize_linear_entries(size, out, scale, mode):
    """(first, second, weight of second) for each of the `out` elements of an axis."""
    at = np.clip(resize_coordinates(size, out, scale, mode), F32(0), F32(size - 1))
    first = np.minimum(at.astype(np.int64), size - 1)
    second = np.minimum(first + 1, size - 1)
    return first, second, np.where(first == second, F32(0.5), at - first.astype(F32)).astype(F32)


def interpolate(real, size, scales, coordinates):
    """Bilinear, of binary32 [n, c, h, w]."""
    axes = zip(real.shape[2:], size, (F32(s) for s in scales))
    (y0, y1, r1), (x0, x1, c1) = (resize_linear_entries(*axis, coordinates) for axis in axes)
    r1, c1 = r1[:, None], c1[None, :]
    r0, c0 = F32(1) - r1, F32(1) - c1
    upper, lower = real[:, :, y0], real[:, :, y1]
    return c0 * r0 * upper[..., x0] + c1 * r0 * upper[..., x1] + c0 * r1 * lower[..., x0] + c1 * r1 * lower[..., x1]


def resize_nearest(x, size, scales, coordinates, nearest_mode):
    axes = zip(x.shape[2:], size, (F32(s) for s in scales))
    rows, columns = (resize_nearest_index(*axis, coordinates, nearest_mode) for axis in axes)
    return x[:, :, rows][:, :, :, columns]


def resize_linear(x, x_quant, quant, size, scales, coordinates):
    """Of real values but for their scale, which comes last."""
    total = interpolate((x.astype(np.int32) - x_quant.zero_point).astype(F32), size, scales, coordinates)
    return saturate(np.rint(total * (F32(x_quant.scale) / F32(quant.scale))) + quant.zero_point, quant)


def resize_truncated(x, size, scales, coordinates):
    """Of stored values, as the runtime's kernel on bytes does it."""
    return np.trunc(interpolate(x.astype(F32), size, scales, coordinates)).astype(x.dtype)
