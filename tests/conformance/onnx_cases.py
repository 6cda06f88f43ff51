# SPDX-License-Identifier: MIT
"""ONNX's own operator cases as quantized models.

A float case becomes DequantizeLinear -> the node as it is -> QuantizeLinear, with ranges from the case's own data;
weights become int8, biases int32. A case that is quantized already gets its scales and zero points as
constants, which the node tests have as graph inputs.
"""

import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from random_quant import Quant  # first: it finds the next one
from quantized_graph import quant_for_range, quantize, quantize_weights

FLOAT = TensorProto.FLOAT
# Results that are bytes of the input: they keep its quantization.
COPIES = ("Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity", "MaxPool", "Pad",
          "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze")
# Operators that the runtime computes in float: within one step.
IN_FLOAT = ("Abs", "Ceil", "Celu", "ConvTranspose", "Div", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "LayerNormalization",
            "Log", "Neg", "PRelu", "Pow", "Reciprocal", "ReduceMean", "Resize", "Selu", "Sign", "Softplus", "Softsign",
            "Sqrt", "Sub", "Tanh", "ThresholdedRelu")
# The results beyond these are left away: they are for training.
OUTPUTS = {"LayerNormalization": 1}
# Operands that are weights, by operator and position; all other float operands are inputs of the graph.
WEIGHTS = {("Conv", 1): 0, ("ConvTranspose", 1): 1, ("Gemm", 1): None}
BIASES = {("Conv", 2), ("ConvTranspose", 2), ("Gemm", 2)}
# Positions of the inputs of a case that is quantized already; None: all.
QUANTIZED_INPUTS = {"QLinearConv": (0,), "QLinearMatMul": (0, 3), "Clip": (0,)}
CONSTANT_FLOATS = {("Clip", 1), ("Clip", 2), ("Pad", 2), ("PRelu", 1), ("Resize", 1), ("Resize", 2), ("Upsample", 1),
                   ("Max", 1), ("Min", 1), ("LayerNormalization", 1), ("LayerNormalization", 2), ("Pow", 1), ("Div", 1),
                   ("Sub", 1), ("Dropout", 1)}


def node_of(model):
    """The node that a case is about, if it is the only one that is no constant; else None."""
    nodes = [n for n in model.graph.node if n.op_type != "Constant"] or list(model.graph.node)
    return nodes[0] if len(nodes) == 1 else None


def operator_of(model):
    """That node's operator as `npu-compile --list-ops` names it."""
    node = node_of(model)
    return node and (f"{node.domain}.{node.op_type}" if node.domain else node.op_type)


class Case:
    def __init__(self, folder):
        self.model = onnx.load(os.path.join(folder, "model.onnx"))
        graph = self.model.graph
        self.node = node_of(self.model)
        data = os.path.join(folder, "test_data_set_0")
        self.inputs = {v.name: self._tensor(data, f"input_{i}.pb") for i, v in enumerate(graph.input)}
        self.inputs |= {n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in graph.node
                        if n.op_type == "Constant"}
        self.outputs = {v.name: self._tensor(data, f"output_{i}.pb") for i, v in enumerate(graph.output)}

    @staticmethod
    def _tensor(folder, name):
        with open(os.path.join(folder, name), "rb") as f:
            return numpy_helper.to_array(TensorProto.FromString(f.read()))

    def quantized(self):
        """(model, inputs by name)"""
        kinds = {a.dtype for a in self.inputs.values()} | {a.dtype for a in self.outputs.values()}
        if self.node.op_type.startswith("QLinear") or np.dtype(np.float32) not in kinds:
            return self._bound()
        return self._wrapped()

    def _finish(self, nodes, inputs, outputs, initializers):
        graph = helper.make_graph(nodes, "case", inputs, outputs, initializers)
        model = helper.make_model(graph, opset_imports=list(self.model.opset_import), ir_version=8)
        # Per-axis quantization needs opset 13; these use one scale per tensor, which 10 has.
        model.opset_import[0].version = max(model.opset_import[0].version, 10)
        return model

    def _bound(self):
        """Scales, zero points, weights and everything but the activations become constants."""
        inputs, initializers, values = [], [], {}
        graph = self.model.graph
        positions = QUANTIZED_INPUTS.get(self.node.op_type)
        for i, info in enumerate(graph.input):
            array = self.inputs[info.name]
            if array.dtype in (np.uint8, np.int8) and (positions is None or i in positions):
                inputs.append(info)
                values[info.name] = array
            else:
                initializers.append(numpy_helper.from_array(array, info.name))
        return self._finish([self.node], inputs, list(graph.output), initializers), values

    def _wrapped(self):
        nodes, inputs, initializers, values = [], [], [], {}
        node = onnx.NodeProto.FromString(self.node.SerializeToString())
        node.name = "case"
        scales = {}

        def constant(name, array):
            initializers.append(numpy_helper.from_array(np.asarray(array), name))
            return name

        def dequantized(name, quant, source):
            arguments = [source, constant(name + "_scale", np.float32(quant.scale)),
                         constant(name + "_zp", quant.dtype(quant.zero_point))]
            nodes.append(helper.make_node("DequantizeLinear", arguments, [name + "_f"], name=name + "_dq"))
            return name + "_f"

        first = None
        for i, name in enumerate(self.node.input):
            if not name:
                continue
            array, key = self.inputs[name], (self.node.op_type, i)
            if array.dtype != np.float32 or key in CONSTANT_FLOATS:
                constant(name, array)
            elif key in WEIGHTS:
                stored, scale = quantize_weights(array, 0, per_channel=False)
                scales[i] = scale
                constant(name, stored)
                node.input[i] = dequantized(name, Quant(float(scale), 0, np.int8), name)
            elif key in BIASES:
                unit = np.float32(scales[0]) * np.float32(scales[1])
                constant(name, np.rint(array / np.float64(unit)).astype(np.int32))
                constant(name + "_scale", unit)
                nodes.append(helper.make_node("DequantizeLinear", [name, name + "_scale"], [name + "_f"],
                                              name=name + "_dq"))
                node.input[i] = name + "_f"
            else:
                quant = quant_for_range(array.min(), array.max()) if array.size else Quant(1.0, 0)
                if first is not None and node.op_type in COPIES:
                    quant = first
                scales[i] = quant.scale
                first = first or quant
                inputs.append(helper.make_tensor_value_info(name, TensorProto.UINT8, array.shape))
                values[name] = quantize(array, quant)
                node.input[i] = dequantized(name, quant, name)
        nodes.append(node)
        outputs = []
        del node.output[OUTPUTS.get(node.op_type, len(node.output)):]
        for i, name in enumerate(node.output):
            if not name:
                continue
            array = self.outputs[name]
            if array.dtype == np.float32:
                quant = first if node.op_type in COPIES else quant_for_range(array.min(), array.max())
                node.output[i] = name + "_f"
                arguments = [name + "_f", constant(name + "_scale", np.float32(quant.scale)),
                             constant(name + "_zp", np.uint8(quant.zero_point))]
                nodes.append(helper.make_node("QuantizeLinear", arguments, [name], name=name + "_q"))
                outputs.append(helper.make_tensor_value_info(name, TensorProto.UINT8, array.shape))
            else:
                outputs.append(helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(array.dtype) if hasattr(helper, "np_dtype_to_tensor_dtype")
                    else onnx.mapping.NP_TYPE_TO_TENSOR_TYPE[array.dtype], array.shape))
        return self._finish(nodes, inputs, outputs, initializers), values
