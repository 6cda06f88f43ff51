# SPDX-License-Identifier: MIT
"""Fused groups of a quantized network as models of their own, in QOperator form.

What the compiler runs as one layer, e.g. a convolution with its Relu, the addition behind it and the QuantizeLinear
nodes between, becomes QLinearConv -> QLinearAdd on the bytes that the group reads. Each byte tensor in it is
an output of the model, so that the runtime computes each node alone. What ONNX has no operator on bytes for, such as
LayerNormalization, stays DequantizeLinear -> float -> QuantizeLinear: `exact` is then False.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
VIEWS = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Identity", "Dropout"}
ON_BYTES = VIEWS | {"MaxPool"}  # also where the tensor is float: they commute with quantization
BYTES = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8}


class NoInteger(Exception):
    """No operator on bytes does this."""


class Group:
    def __init__(self, layers):
        self.nodes = {n for layer in layers for n in [layer["node"], *layer["does_also"]]}
        self.name = layers[0]["node"]
        self.operation = " ".join(layer["operation"] for layer in layers)
        self.output = None


class Network:
    """A quantized ONNX model and what the compiler's report says runs together."""

    def __init__(self, path):
        self.model = onnx.load(path)
        graph = self.model.graph
        self.constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.producer = {name: node for node in graph.node for name in node.output}
        self.inputs = [i.name for i in graph.input if i.name not in self.constants]
        self.types = {i.name: i.type.tensor_type.elem_type for i in graph.input}
        self.users = {}
        for node in graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)

    def dtype(self, name):
        """numpy's type of an 8-bit tensor, or None."""
        node = self.producer.get(name)
        if node is None:
            kind = {TensorProto.UINT8: np.uint8, TensorProto.INT8: np.int8}.get(self.types.get(name))
            return np.dtype(kind) if kind else None
        if node.op_type in ("QuantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm") or node.op_type.startswith("QLinear"):
            zero = {"QLinearConv": 7, "QLinearMatMul": 7, "QGemm": 8, "QLinearAdd": 7, "QLinearMul": 7,
                    "QLinearConcat": 1}.get(node.op_type, 2 if node.op_type == "QuantizeLinear" else 4)
            name = node.input[zero] if zero < len(node.input) else ""
            return self.constants[name].dtype if name else np.dtype(np.uint8)
        if node.op_type in ON_BYTES or node.op_type == "Clip":
            return self.dtype(node.input[0])
        return None

    def groups(self, report_path):
        """Of a report.json, in the order in which they run."""
        with open(report_path, encoding="utf-8") as f:
            layers = json.load(f)["layers"]
        by_node = {}
        for layer in layers:
            by_node.setdefault(layer["node_index"], []).append(layer)
        found = [Group(group) for group in by_node.values()]
        for group in found:
            group.output = self._output_of(group)
        return found

    def _output_of(self, group):
        """The 8-bit tensor that leaves the group: the last one, or behind float views the one that they become."""
        nodes = [n for n in self.model.graph.node if n.name in group.nodes]
        if not nodes:
            raise ValueError(f"no node is called {group.name}")
        name = nodes[-1].output[0]
        while self.dtype(name) is None:
            users = self.users.get(name, [])
            if len(users) != 1 or users[0].op_type not in VIEWS | {"QuantizeLinear"}:
                raise ValueError(f"what group {group.name} makes is not quantized")
            name = users[0].output[0]
        return name

    def with_outputs(self, names):
        """The model with 8-bit tensors as further graph outputs."""
        model = onnx.ModelProto.FromString(self.model.SerializeToString())
        present = {o.name for o in model.graph.output}
        for name in names:
            if name not in present:
                model.graph.output.append(helper.make_tensor_value_info(name, BYTES[self.dtype(name)], None))
        return model

    def rewrite(self, group, shapes):
        """The group as a Rewriter, whose inputs are 8-bit tensors of those whose shapes are given."""
        return Rewriter(self, {n: s for n, s in shapes.items() if n != group.output}).run(group.output)


class Rewriter:
    def __init__(self, network, shapes):
        self.network, self.shapes = network, shapes
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []
        self.exact = True
        self._stored, self._real, self._count = {}, {}, 0

    def run(self, output):
        self.result = self.stored(output)
        graph = helper.make_graph(self.nodes, "group", self.inputs, self.outputs, self.initializers)
        opsets = [*self.network.model.opset_import]
        if not any(o.domain == MICROSOFT for o in opsets):
            opsets.append(helper.make_opsetid(MICROSOFT, 1))
        self.model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return self

    # Building.

    def const(self, array):
        self._count += 1
        name = f"constant_{self._count}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def emit(self, op, inputs, dtype, domain="", attributes=(), **more):
        """dtype: None of a float result."""
        self._count += 1
        name = f"{op}_{self._count}"
        node = helper.make_node(op, inputs, [name], name=name + "_node", domain=domain, **more)
        node.attribute.extend(attributes)
        self.nodes.append(node)
        if dtype is not None:
            self.outputs.append(helper.make_tensor_value_info(name, BYTES[np.dtype(dtype)], None))
        return name

    def array(self, name):
        """A constant, or None."""
        return self.network.constants.get(name)

    def quant(self, node, at):
        """Scale and zero point of a (De)QuantizeLinear."""
        scale = np.asarray(self.array(node.input[at]), np.float32)
        zero = self.array(node.input[at + 1]) if len(node.input) > at + 1 and node.input[at + 1] else None
        return scale, zero

    # What 8-bit tensors are in the new model.

    def stored(self, name):
        if name in self._stored:
            return self._stored[name]
        node = self.network.producer.get(name)
        if name in self.shapes:
            self.inputs.append(helper.make_tensor_value_info(name, BYTES[self.network.dtype(name)], self.shapes[name]))
            out = name
        elif node.op_type == "QuantizeLinear":
            out = self.quantize(node)
        else:  # on bytes already
            inputs = [self.stored(i) if i and self.array(i) is None and self.network.dtype(i) is not None else
                      self.const(self.array(i)) if i else "" for i in node.input]
            out = self.emit(node.op_type, inputs, self.network.dtype(name), node.domain, node.attribute)
        self._stored[name] = out
        return out

    def bytes_of(self, real):
        """(name in the new model, scale, zero point) of a float tensor that stands for bytes."""
        node = self.network.producer.get(real)
        if node is None:
            raise NoInteger
        if node.op_type == "DequantizeLinear" and self.array(node.input[0]) is None:
            scale, zero = self.quant(node, 1)
            dtype = self.network.dtype(node.input[0])
            return self.stored(node.input[0]), scale, np.zeros((), dtype) if zero is None else zero
        if node.op_type in ON_BYTES:
            name, scale, zero = self.bytes_of(node.input[0])
            inputs = [name] + [self.const(self.array(i)) if i else "" for i in node.input[1:]]
            return self.emit(node.op_type, inputs, zero.dtype, node.domain, node.attribute), scale, zero
        raise NoInteger

    def weights_of(self, real):
        """(stored, scales, zero points) of constant weights."""
        node = self.network.producer.get(real)
        if node is None or node.op_type != "DequantizeLinear" or self.array(node.input[0]) is None:
            raise NoInteger
        scale, zero = self.quant(node, 1)
        stored = self.array(node.input[0])
        return stored, scale, np.zeros(scale.shape, stored.dtype) if zero is None else zero

    def bias_of(self, real, unit):
        node = self.network.producer.get(real)
        if node is not None and node.op_type == "DequantizeLinear":
            return self.array(node.input[0]).reshape(-1)
        if self.array(real) is None:
            raise NoInteger
        return np.rint(self.array(real).reshape(-1) / np.asarray(unit, np.float64)).astype(np.int32)

    # QuantizeLinear and the float nodes before it.

    def quantize(self, node):
        scale, zero = self.quant(node, 1)
        if zero is None:
            zero = np.zeros((), np.uint8)
        real, clamps = node.input[0], []
        before = (len(self.nodes), len(self.initializers), len(self.outputs), len(self.inputs), dict(self._stored))
        while (source := self.network.producer.get(real)) is not None and source.op_type in ("Relu", "Clip"):
            clamps.append(source)
            real = source.input[0]
        try:
            out = self.integer(source, real, scale, zero)
            for clamp in reversed(clamps):
                out = self.clamp(out, clamp, scale, zero)
            return out
        except NoInteger:
            nodes, initializers, outputs, inputs, self._stored = before
            del self.nodes[nodes:], self.initializers[initializers:], self.outputs[outputs:], self.inputs[inputs:]
            self._real = {}
            self.exact = False
            return self.emit("QuantizeLinear", [self.real(node.input[0]), self.const(scale), self.const(zero)],
                             zero.dtype)

    def clamp(self, name, node, scale, zero):
        limits = np.iinfo(zero.dtype)
        bounds = [0.0, None] if node.op_type == "Relu" else [
            float(self.array(i)) if i else None for i in (list(node.input[1:]) + ["", ""])[:2]]
        for attribute in node.attribute:  # before opset 11
            bounds[attribute.name == "max"] = attribute.f
        ends = [limits.min, limits.max]
        stored = [end if b is None else int(np.clip(np.rint(np.float32(b) / scale) + int(zero), *ends))
                  for b, end in zip(bounds, ends)]
        if stored == ends:
            return name
        return self.emit("Clip", [name] + [self.const(zero.dtype.type(s)) for s in stored], zero.dtype)

    def integer(self, node, real, scale, zero):
        """The bytes of `real`, which `node` makes."""
        if node is None:
            raise NoInteger
        y = [self.const(scale), self.const(zero)]
        kind = node.op_type
        if kind == "DequantizeLinear" or kind in ON_BYTES:
            name, own_scale, own_zero = self.bytes_of(real)
            if own_scale != scale or own_zero != zero or own_zero.dtype != zero.dtype:
                raise NoInteger
            return self.emit("Identity", [name], zero.dtype)
        if kind == "Conv":
            stored, w_scale, w_zero = self.weights_of(node.input[1])
            name, x_scale, x_zero = self.bytes_of(node.input[0])
            inputs = [name, self.const(x_scale), self.const(x_zero), self.const(stored), self.const(w_scale),
                      self.const(w_zero), *y]
            if len(node.input) > 2 and node.input[2]:
                inputs.append(self.const(self.bias_of(node.input[2], x_scale * w_scale)))
            return self.emit("QLinearConv", inputs, zero.dtype, "", node.attribute)
        if kind == "Gemm":
            return self.gemm(node.input[0], node.input[1], node.input[2] if len(node.input) > 2 else "", y, zero,
                             node.attribute)
        if kind == "MatMul":
            return self.matmul(node, y, zero)
        if kind == "Add":
            for at in (0, 1):  # a product and its bias
                product = self.network.producer.get(node.input[at])
                if product is not None and product.op_type == "MatMul":
                    return self.rows(product, node.input[1 - at], y, zero)
        if kind in ("Add", "Mul"):
            inputs = []
            for operand in node.input:
                name, own_scale, own_zero = self.bytes_of(operand)
                inputs += [name, self.const(own_scale), self.const(own_zero)]
            return self.emit("QLinear" + kind, inputs + y, zero.dtype, MICROSOFT)
        if kind == "Concat":
            inputs = []
            for operand in node.input:
                name, own_scale, own_zero = self.bytes_of(operand)
                inputs += [name, self.const(own_scale), self.const(own_zero)]
            return self.emit("QLinearConcat", y + inputs, zero.dtype, MICROSOFT, node.attribute)
        extra = {"AveragePool": {}, "GlobalAveragePool": {"channels_last": 0}, "Sigmoid": {}, "LeakyRelu": {},
                 "Softmax": {"opset": self.network.model.opset_import[0].version}}.get(kind)
        if extra is None:
            raise NoInteger
        name, own_scale, own_zero = self.bytes_of(node.input[0])
        return self.emit("QLinear" + kind, [name, self.const(own_scale), self.const(own_zero), *y], zero.dtype,
                         MICROSOFT, node.attribute, **extra)

    def gemm(self, a, b, bias, y, zero, attributes):
        stored, w_scale, w_zero = self.weights_of(b)
        name, x_scale, x_zero = self.bytes_of(a)
        bias = self.const(self.bias_of(bias, x_scale * w_scale)) if bias else ""
        kept = [a for a in attributes if a.name != "beta"]
        return self.emit("QGemm", [name, self.const(x_scale), self.const(x_zero), self.const(stored),
                                   self.const(w_scale), self.const(w_zero), bias, *y], zero.dtype, MICROSOFT, kept)

    def matmul(self, node, y, zero):
        name, x_scale, x_zero = self.bytes_of(node.input[0])
        try:
            stored, w_scale, w_zero = self.weights_of(node.input[1])
            b = [self.const(stored), self.const(w_scale), self.const(w_zero)]
        except NoInteger:
            other, w_scale, w_zero = self.bytes_of(node.input[1])
            b = [other, self.const(w_scale), self.const(w_zero)]
        return self.emit("QLinearMatMul", [name, self.const(x_scale), self.const(x_zero), *b, *y], zero.dtype)

    def rows(self, product, bias, y, zero):
        """A MatMul with a bias per column as QGemm, which has two dimensions."""
        stored, w_scale, w_zero = self.weights_of(product.input[1])
        name, x_scale, x_zero = self.bytes_of(product.input[0])
        flat = self.emit("Reshape", [name, self.const(np.array([-1, stored.shape[0]], np.int64))], x_zero.dtype)
        out = self.emit("QGemm", [flat, self.const(x_scale), self.const(x_zero), self.const(stored), self.const(w_scale),
                                  self.const(w_zero), self.const(self.bias_of(bias, x_scale * w_scale)), *y],
                        zero.dtype, MICROSOFT)
        shape = self.emit("Shape", [name], None)
        lead = self.emit("Slice", [shape, *(self.const(np.array([v], np.int64)) for v in (0, -1))], None)
        full = self.emit("Concat", [lead, self.const(np.array([stored.shape[1]], np.int64))], None, axis=0)
        return self.emit("Reshape", [out, full], zero.dtype)

    def real(self, name):
        """A float tensor, computed in float."""
        if name not in self._real:
            node = self.network.producer.get(name)
            if name in self.network.constants:
                self._real[name] = self.const(self.array(name))
            elif node.op_type == "DequantizeLinear":
                source = (self.const(self.array(node.input[0])) if self.array(node.input[0]) is not None
                          else self.stored(node.input[0]))
                inputs = [source] + [self.const(self.array(i)) if i else "" for i in node.input[1:]]
                self._real[name] = self.emit("DequantizeLinear", inputs, None, node.domain, node.attribute)
            else:
                inputs = [self.real(i) if i else "" for i in node.input]
                self._real[name] = self.emit(node.op_type, inputs, None, node.domain, node.attribute)
        return self._real[name]
