# SPDX-License-Identifier: MIT
"""The arithmetic of docs/numerics.md, written down once in NumPy.

Every function takes and returns stored (8-bit) arrays. It is the oracle that check_numerics.py holds
against ONNX Runtime; it shares no code with the compiler or the card.
"""

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
