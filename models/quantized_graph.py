# SPDX-License-Identifier: MIT
"""Builds quantized ONNX graphs: one description, written in QDQ or in QOperator form.

Every tensor between operators is 8 bit with one scale and one zero point; graph inputs and outputs
are those 8-bit tensors themselves, so that a host never computes in float. In QDQ form each operator
is DequantizeLinear -> float operator -> QuantizeLinear; in QOperator form it is QLinearConv and its
kin (the com.microsoft ones where ONNX has none).
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
IR_VERSION = 8
QUANT_RANGE = {np.uint8: (0, 255), np.int8: (-128, 127)}
ONNX_TYPE = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}


@dataclass(frozen=True)
class Quant:
    """real = scale * (stored - zero_point)"""

    scale: float
    zero_point: int
    dtype: type = np.uint8

    @property
    def limits(self):
        return QUANT_RANGE[self.dtype]


@dataclass(frozen=True)
class Value:
    """An 8-bit tensor of the graph."""

    name: str
    shape: tuple
    quant: Quant


def quant_for_range(low, high, dtype=np.uint8):
    """Asymmetric for u8, symmetric with zero point 0 for s8; always holds 0 exactly."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if dtype is np.int8:
        return Quant(float(np.float32(max(-low, high, 1e-6) / 127)), 0, dtype)
    scale = float(np.float32(max(high - low, 1e-6) / 255))
    return Quant(scale, int(np.clip(np.rint(-low / scale), 0, 255)), dtype)


def quantize(real, quant):
    low, high = quant.limits
    stored = np.rint(np.asarray(real, np.float64) / quant.scale) + quant.zero_point
    return np.clip(stored, low, high).astype(quant.dtype)


def quantize_weights(real, axis, per_channel=True):
    """Symmetric s8 weights and their scales (a vector over `axis`, or one)."""
    real = np.asarray(real, np.float64)
    others = tuple(i for i in range(real.ndim) if i != axis) if per_channel else None
    limit = np.maximum(np.abs(real).max(axis=others), 1e-6)
    scales = (limit / 127).astype(np.float32)
    shape = [1] * real.ndim
    if per_channel:
        shape[axis] = -1
    stored = np.rint(real / scales.astype(np.float64).reshape(shape))
    return np.clip(stored, -127, 127).astype(np.int8), scales


def window_out(size, kernel, stride, pad_begin, pad_end, dilation=1, ceil_mode=False):
    span = size + pad_begin + pad_end - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return span // stride + 1
    out = -(-span // stride) + 1
    return out - 1 if (out - 1) * stride >= size + pad_begin else out


def pool_shape(shape, kernel, strides, pads, ceil_mode=False):
    n, c, h, w = shape
    return (n, c, window_out(h, kernel[0], strides[0], pads[0], pads[2], ceil_mode=ceil_mode),
            window_out(w, kernel[1], strides[1], pads[1], pads[3], ceil_mode=ceil_mode))


class GraphBuilder:
    def __init__(self, name, form="qdq"):
        if form not in ("qdq", "qoperator"):
            raise ValueError(form)
        self.name = name
        self.form = form
        self.opset = OPSET  # raised by operators that came later
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []
        self._count = 0

    @property
    def qdq(self):
        return self.form == "qdq"

    # Names, constants, edges.

    def _unique(self, stem):
        self._count += 1
        return f"{stem}_{self._count}"

    def _const(self, stem, array):
        name = self._unique(stem)
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def _node(self, op, inputs, output, domain="", **attributes):
        self.nodes.append(
            helper.make_node(op, inputs, [output], name=output + "_node", domain=domain, **attributes)
        )
        return output

    def _quant_consts(self, stem, quant):
        scale = self._const(stem + "_scale", np.float32(quant.scale))
        zero_point = self._const(stem + "_zp", quant.dtype(quant.zero_point))
        return [scale, zero_point]

    def _dequantize(self, value):
        out = self._unique(value.name + "_f")
        return self._node("DequantizeLinear", [value.name] + self._quant_consts(value.name, value.quant), out)

    def _quantize(self, real, stem, shape, quant):
        out = self._unique(stem)
        self._node("QuantizeLinear", [real] + self._quant_consts(out, quant), out)
        return Value(out, tuple(shape), quant)

    def input(self, name, shape, quant):
        self.inputs.append(helper.make_tensor_value_info(name, ONNX_TYPE[quant.dtype], shape))
        return Value(name, tuple(shape), quant)

    def float_input(self, name, shape, quant):
        """A float32 graph input, quantized at once."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return self._quantize(name, name + "_q", shape, quant)

    def float_output(self, value, name):
        """Declares the real values of `value` as the graph's output, float32."""
        self._node("DequantizeLinear", [value.name] + self._quant_consts(value.name, value.quant), name)
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))

    def output(self, value, name):
        """Declares `value` as an output of the graph under the name."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, old in enumerate(names):
                    if old == value.name:
                        names[i] = name
        self.outputs.append(helper.make_tensor_value_info(name, ONNX_TYPE[value.quant.dtype], value.shape))

    def _activation(self, real, stem, activation):
        """Relu or Clip as its own float node; activation: None, 'relu' or (low, high)."""
        if activation is None:
            return real
        out = self._unique(stem + "_act")
        if activation == "relu":
            return self._node("Relu", [real], out)
        bounds = [self._const("clip", np.float32(b)) for b in activation]
        return self._node("Clip", [real] + bounds, out)

    def _clamp_stored(self, value, activation):
        """QOperator form: an activation on stored values, where the range does not do it already."""
        if activation is None:
            return value
        low, high = (0.0, None) if activation == "relu" else activation
        qlow, qhigh = value.quant.limits
        stored = [int(quantize(b, value.quant)) for b in (low, high) if b is not None]
        if stored[0] <= qlow and (len(stored) < 2 or stored[1] >= qhigh):
            return value
        bounds = [self._const("clip", value.quant.dtype(b)) for b in stored]
        out = self._unique("clipped")
        self._node("Clip", [value.name] + bounds, out)
        return Value(out, value.shape, value.quant)

    # Operators. Weights come stored (s8 or u8), with their scales and zero points.

    def conv(self, x, weights, weight_scale, bias, quant, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1),
             group=1, activation=None, weight_zp=None):
        """pads: top, left, bottom, right. bias: s32 in units of x.scale * weight_scale, or None."""
        oc, _, kh, kw = weights.shape
        n, _, h, w = x.shape
        shape = (n, oc, window_out(h, kh, strides[0], pads[0], pads[2], dilations[0]),
                 window_out(w, kw, strides[1], pads[1], pads[3], dilations[1]))
        attributes = dict(kernel_shape=[kh, kw], strides=list(strides), pads=list(pads), dilations=list(dilations),
                          group=group)
        stem = self._unique("conv")
        if self.qdq:
            inputs = [self._dequantize(x), self._dequantize_weights(stem, weights, weight_scale, 0, weight_zp)]
            inputs += self._dequantize_bias(stem, bias, x, weight_scale)
            real = self._node("Conv", inputs, stem, **attributes)
            return self._quantize(self._activation(real, stem, activation), stem + "_q", shape, quant)
        inputs = [x.name] + self._quant_consts(x.name, x.quant)
        inputs += self._weight_consts(stem, weights, weight_scale, weight_zp)
        inputs += self._quant_consts(stem, quant)
        if bias is not None:
            inputs.append(self._const(stem + "_bias", np.asarray(bias, np.int32)))
        self._node("QLinearConv", inputs, stem, **attributes)
        return self._clamp_stored(Value(stem, shape, quant), activation)

    def conv_transpose(self, x, weights, weight_scale, bias, quant, shape, activation=None, weight_zp=None,
                       **attributes):
        """Of real values in both forms; weights [ic, oc / group, ...], scales along axis 1. shape: the result's."""
        stem = self._unique("deconv")
        inputs = [self._dequantize(x), self._dequantize_weights(stem, weights, weight_scale, 1, weight_zp)]
        groups = attributes.get("group", 1)
        per_output = np.tile(weight_scale, groups) if np.asarray(weight_scale).ndim else weight_scale
        inputs += self._dequantize_bias(stem, bias, x, per_output)
        real = self._node("ConvTranspose", inputs, stem, **attributes)
        return self._quantize(self._activation(real, stem, activation), stem + "_q", shape, quant)

    def gemm(self, x, weights, weight_scale, bias, quant, trans_b=True, activation=None, weight_zp=None):
        """weights: [outputs, inputs] with trans_b, else [inputs, outputs]."""
        channel_axis = 0 if trans_b else 1
        shape = (x.shape[0], weights.shape[channel_axis])
        stem = self._unique("gemm")
        attributes = dict(transB=int(trans_b))
        if self.qdq:
            inputs = [self._dequantize(x),
                      self._dequantize_weights(stem, weights, weight_scale, channel_axis, weight_zp)]
            inputs += self._dequantize_bias(stem, bias, x, weight_scale)
            real = self._node("Gemm", inputs, stem, **attributes)
            return self._quantize(self._activation(real, stem, activation), stem + "_q", shape, quant)
        inputs = [x.name] + self._quant_consts(x.name, x.quant)
        inputs += self._weight_consts(stem, weights, weight_scale, weight_zp)
        inputs.append("" if bias is None else self._const(stem + "_bias", np.asarray(bias, np.int32)))
        inputs += self._quant_consts(stem, quant)
        self._node("QGemm", inputs, stem, domain="com.microsoft", alpha=1.0, transA=0, **attributes)
        return self._clamp_stored(Value(stem, shape, quant), activation)

    def matmul(self, x, weights, weight_scale, quant, weight_zp=None, bias=None, divisor=None):
        """weights: a constant array [K, N], or another Value (then no scale). In QDQ form an Add of a bias
        per column may follow, s32 in units of x.scale * weight_scale, or a Div by a constant."""
        stem = self._unique("matmul")
        dynamic = isinstance(weights, Value)
        shape = x.shape[:-1] + (weights.shape[-1],)
        if self.qdq:
            b = self._dequantize(weights) if dynamic else self._dequantize_weights(
                stem, weights, weight_scale, 1, weight_zp)
            real = self._node("MatMul", [self._dequantize(x), b], stem)
            if bias is not None:
                real = self._node("Add", [real] + self._dequantize_bias(stem, bias, x, weight_scale), stem + "_sum")
            if divisor is not None:
                real = self._node("Div", [real, self._const(stem + "_divisor", np.float32(divisor))], stem + "_part")
            return self._quantize(real, stem + "_q", shape, quant)
        if bias is not None or divisor is not None:
            raise ValueError("QLinearMatMul has neither bias nor divisor")
        b = ([weights.name] + self._quant_consts(weights.name, weights.quant) if dynamic else
             self._weight_consts(stem, weights, weight_scale, weight_zp))
        inputs = [x.name] + self._quant_consts(x.name, x.quant) + b + self._quant_consts(stem, quant)
        self._node("QLinearMatMul", inputs, stem)
        return Value(stem, shape, quant)

    def add(self, a, b, quant, activation=None):
        return self._binary("Add", "QLinearAdd", a, b, quant, activation)

    def multiply(self, a, b, quant):
        return self._binary("Mul", "QLinearMul", a, b, quant, None)

    def _binary(self, op, quantized_op, a, b, quant, activation):
        stem = self._unique(op.lower())
        shape = np.broadcast_shapes(a.shape, b.shape)
        if self.qdq:
            real = self._node(op, [self._dequantize(a), self._dequantize(b)], stem)
            return self._quantize(self._activation(real, stem, activation), stem + "_q", shape, quant)
        inputs = [a.name] + self._quant_consts(a.name, a.quant) + [b.name] + self._quant_consts(b.name, b.quant)
        self._node(quantized_op, inputs + self._quant_consts(stem, quant), stem, domain="com.microsoft")
        return self._clamp_stored(Value(stem, shape, quant), activation)

    def max_pool(self, x, kernel, strides, pads=(0, 0, 0, 0), ceil_mode=False):
        """Keeps the quantization, as it must for a copy."""
        stem = self._unique("maxpool")
        shape = pool_shape(x.shape, kernel, strides, pads, ceil_mode)
        attributes = dict(kernel_shape=list(kernel), strides=list(strides), pads=list(pads), ceil_mode=int(ceil_mode))
        if self.qdq:
            real = self._node("MaxPool", [self._dequantize(x)], stem, **attributes)
            return self._quantize(real, stem + "_q", shape, x.quant)
        self._node("MaxPool", [x.name], stem, **attributes)
        return Value(stem, shape, x.quant)

    def average_pool(self, x, kernel, strides, quant, pads=(0, 0, 0, 0), count_include_pad=False, ceil_mode=False):
        stem = self._unique("avgpool")
        shape = pool_shape(x.shape, kernel, strides, pads, ceil_mode)
        attributes = dict(kernel_shape=list(kernel), strides=list(strides), pads=list(pads),
                          count_include_pad=int(count_include_pad), ceil_mode=int(ceil_mode))
        return self._unary(x, stem, shape, quant, "AveragePool", "QLinearAveragePool", **attributes)

    def global_average_pool(self, x, quant):
        shape = x.shape[:2] + (1, 1)
        return self._unary(x, self._unique("gap"), shape, quant, "GlobalAveragePool", "QLinearGlobalAveragePool",
                           qoperator_attributes=dict(channels_last=0))

    def sigmoid(self, x, quant):
        return self._unary(x, self._unique("sigmoid"), x.shape, quant, "Sigmoid", "QLinearSigmoid")

    def leaky_relu(self, x, alpha, quant):
        return self._unary(x, self._unique("leakyrelu"), x.shape, quant, "LeakyRelu", "QLinearLeakyRelu", alpha=alpha)

    def softmax(self, x, quant):
        """Over the last axis."""
        return self._unary(x, self._unique("softmax"), x.shape, quant, "Softmax", "QLinearSoftmax",
                           qoperator_attributes=dict(opset=self.opset), axis=-1)

    def gelu(self, x, quant):
        """As exporters write it before opset 20, in either form: ONNX Runtime has no operator on bytes."""
        stem = self._unique("gelu")
        real = self._dequantize(x)
        constants = [self._const(stem, np.float32(c)) for c in (np.sqrt(2.0), 1.0, 0.5)]
        scaled = self._node("Div", [real, constants[0]], stem + "_scaled")
        erf = self._node("Erf", [scaled], stem + "_erf")
        one = self._node("Add", [erf, constants[1]], stem + "_one")
        product = self._node("Mul", [real, one], stem + "_product")
        return self._quantize(self._node("Mul", [product, constants[2]], stem), stem + "_q", x.shape, quant)

    def layer_norm(self, x, gamma, beta, epsilon, quant):
        """Over the last axis, in float in either form."""
        self.opset = max(self.opset, 17)
        stem = self._unique("layernorm")
        inputs = [self._dequantize(x), self._const(stem + "_gamma", gamma), self._const(stem + "_beta", beta)]
        real = self._node("LayerNormalization", inputs, stem, axis=-1, epsilon=epsilon)
        return self._quantize(real, stem + "_q", x.shape, quant)

    def resize(self, x, size=None, scales=None, quant=None, **attributes):
        """Rows and columns to `size`, or by `scales`; keeps the quantization unless another is given (QDQ form)."""
        if size is not None:
            extra = ["", "", self._const("sizes", np.asarray(x.shape[:2] + tuple(size), np.int64))]
        else:
            extra = ["", self._const("scales", np.asarray((1, 1) + tuple(scales), np.float32))]
            size = [int(np.float32(n) * np.float32(s)) for n, s in zip(x.shape[2:], scales)]
        return self._copy(x, x.shape[:2] + tuple(size), "Resize", extra, quant, **attributes)

    def concat(self, parts, axis, quant):
        stem = self._unique("concat")
        shape = list(parts[0].shape)
        shape[axis] = sum(p.shape[axis] for p in parts)
        if self.qdq:
            real = self._node("Concat", [self._dequantize(p) for p in parts], stem, axis=axis)
            return self._quantize(real, stem + "_q", shape, quant)
        inputs = self._quant_consts(stem, quant)
        for part in parts:
            inputs += [part.name] + self._quant_consts(part.name, part.quant)
        self._node("QLinearConcat", inputs, stem, domain="com.microsoft", axis=axis)
        return Value(stem, tuple(shape), quant)

    def slice(self, x, starts, ends, steps=None):
        """One bound for every axis."""
        steps = steps or [1] * len(starts)
        lists = [self._const("slice", np.asarray(v, np.int64)) for v in (starts, ends, range(len(starts)), steps)]
        shape = np.empty(x.shape, bool)[tuple(slice(*bounds) for bounds in zip(starts, ends, steps))].shape
        return self._copy(x, shape, "Slice", lists)

    def gather(self, x, indices, axis):
        indices = np.asarray(indices, np.int64)
        shape = x.shape[:axis] + indices.shape + x.shape[axis + 1:]
        return self._copy(x, shape, "Gather", [self._const("indices", indices)], axis=axis)

    def pad(self, x, pads, mode="constant", value=None):
        """pads: in front of every axis, then behind; value: a real one, by default 0."""
        shape = tuple(n + a + b for n, a, b in zip(x.shape, pads, pads[len(x.shape):]))
        extra = [self._const("pads", np.asarray(pads, np.int64))]
        if mode == "constant":
            if self.qdq and value is not None:
                extra.append(self._const("fill", np.float32(value)))
            elif not self.qdq:
                extra.append(self._const("fill", x.quant.dtype(quantize(value or 0.0, x.quant))))
        return self._copy(x, shape, "Pad", extra, mode=mode)

    def depth_to_space(self, x, block, mode="DCR"):
        n, c, h, w = x.shape
        return self._copy(x, (n, c // block**2, h * block, w * block), "DepthToSpace", [], blocksize=block, mode=mode)

    def space_to_depth(self, x, block):
        n, c, h, w = x.shape
        return self._copy(x, (n, c * block**2, h // block, w // block), "SpaceToDepth", [], blocksize=block)

    def function(self, op, x, quant, constants=(), opset=OPSET, **attributes):
        """A function of one value that ONNX Runtime has in float only, in either form."""
        self.opset = max(self.opset, opset)
        stem = self._unique(op.lower())
        extra = [self._const(stem, np.float32(c)) for c in constants]
        real = self._node(op, [self._dequantize(x)] + extra, stem, **attributes)
        return self._quantize(real, stem + "_q", x.shape, quant)

    def hard_swish(self, x, quant):
        """x * Clip(x + 3, 0, 6) / 6, as exporters write it before opset 14."""
        stem = self._unique("hardswish")
        real = self._dequantize(x)
        three, zero, six = (self._const(stem, np.float32(c)) for c in (3, 0, 6))
        gate = self._node("Clip", [self._node("Add", [real, three], stem + "_sum"), zero, six], stem + "_gate")
        product = self._node("Mul", [real, gate], stem + "_product")
        return self._quantize(self._node("Div", [product, six], stem), stem + "_q", x.shape, quant)

    def prelu(self, x, slopes, quant):
        """slopes: real, one for each channel."""
        stem = self._unique("prelu")
        slope = self._const(stem + "_slope", np.asarray(slopes, np.float32).reshape(-1, 1, 1))
        real = self._node("PRelu", [self._dequantize(x), slope], stem)
        return self._quantize(real, stem + "_q", x.shape, quant)

    def reduce_mean(self, x, axes, keepdims, quant):
        stem = self._unique("mean")
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes)
        real = self._node("ReduceMean", [self._dequantize(x)], stem, axes=list(axes), keepdims=int(keepdims))
        return self._quantize(real, stem + "_q", shape, quant)

    def clip(self, x, activation, quant):
        """Relu or Clip as an operator between two quantizations."""
        stem = self._unique("clip")
        if self.qdq:
            real = self._activation(self._dequantize(x), stem, activation)
            return self._quantize(real, stem + "_q", x.shape, quant)
        if x.quant != quant:
            raise ValueError("QOperator form has no Clip that changes the quantization")
        return self._clamp_stored(x, activation)

    def reshape(self, x, shape):
        return self._copy(x, tuple(shape), "Reshape", [self._const("shape", np.asarray(shape, np.int64))])

    def transpose(self, x, permutation):
        return self._copy(x, tuple(x.shape[i] for i in permutation), "Transpose", [], perm=list(permutation))

    def flatten(self, x):
        return self._copy(x, (x.shape[0], int(np.prod(x.shape[1:]))), "Flatten", [], axis=1)

    # Shared shapes of the above.

    def _copy(self, x, shape, op, extra, quant=None, **attributes):
        stem = self._unique(op.lower())
        if self.qdq:
            real = self._node(op, [self._dequantize(x)] + extra, stem, **attributes)
            return self._quantize(real, stem + "_q", shape, quant or x.quant)
        self._node(op, [x.name] + extra, stem, **attributes)
        return Value(stem, shape, x.quant)

    def _unary(self, x, stem, shape, quant, op, quantized_op, qoperator_attributes=None, **attributes):
        if self.qdq:
            real = self._node(op, [self._dequantize(x)], stem, **attributes)
            return self._quantize(real, stem + "_q", shape, quant)
        inputs = [x.name] + self._quant_consts(x.name, x.quant) + self._quant_consts(stem, quant)
        self._node(quantized_op, inputs, stem, domain="com.microsoft", **attributes, **(qoperator_attributes or {}))
        return Value(stem, shape, quant)

    def _weight_consts(self, stem, weights, scale, zero_point):
        scale = np.asarray(scale, np.float32)
        if zero_point is None:
            zero_point = 0
        zero_points = np.broadcast_to(np.asarray(zero_point, weights.dtype), scale.shape).copy()
        return [self._const(stem + "_w", weights), self._const(stem + "_w_scale", scale),
                self._const(stem + "_w_zp", zero_points)]

    def _dequantize_weights(self, stem, weights, scale, axis, zero_point):
        attributes = {"axis": axis} if np.asarray(scale).ndim else {}
        return self._node("DequantizeLinear", self._weight_consts(stem, weights, scale, zero_point),
                          self._unique(stem + "_w_f"), **attributes)

    def _dequantize_bias(self, stem, bias, x, weight_scale):
        if bias is None:
            return []
        # The product in binary32: the scale that ONNX Runtime expects of a bias.
        scale = np.float32(x.quant.scale) * np.asarray(weight_scale, np.float32)
        inputs = [self._const(stem + "_bias", np.asarray(bias, np.int32)), self._const(stem + "_bias_scale", scale),
                  self._const(stem + "_bias_zp", np.zeros(scale.shape, np.int32))]
        attributes = {"axis": 0} if scale.ndim else {}
        return [self._node("DequantizeLinear", inputs, self._unique(stem + "_bias_f"), **attributes)]

    def model(self):
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        if not self.qdq:
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        return helper.make_model(graph, producer_name="npu-models", opset_imports=opsets, ir_version=IR_VERSION)

    def save(self, path):
        model = self.model()
        if self.qdq and self.opset <= onnx.defs.onnx_opset_version():
            onnx.checker.check_model(model)
        with open(path, "wb") as f:
            f.write(model.SerializeToString(deterministic=True))
