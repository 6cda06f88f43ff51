# SPDX-License-Identifier: MIT
"""Forms of operators that the random models do not draw: what ONNX Runtime writes when it optimizes (channels last),
and attributes of later operator sets. Models of one input `input` and one output `output`.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

MS = "com.microsoft"
IMAGE, LAST = (1, 6, 9, 11), (1, 9, 11, 6)
WINDOW = dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
BETWEEN = ("xs", "xz", "ys", "yz")


def _alone(op, shape, opset=13, domain="", constants=(), inputs=(), **attributes):
    """The operator on bytes; inputs: names behind `input`, of constants or quantizations."""
    return [helper.make_node(op, ["input", *inputs], ["output"], domain=domain, **attributes)], shape, opset, constants


def _between(op, shape, domain="", **attributes):
    """The operator between DequantizeLinear and QuantizeLinear."""
    nodes = [helper.make_node("DequantizeLinear", ["input", "xs", "xz"], ["real"]),
             helper.make_node(op, ["real"], ["made"], domain=domain, **attributes),
             helper.make_node("QuantizeLinear", ["made", "ys", "yz"], ["output"])]
    return nodes, shape, 13, ()


def _chain(shape, *operators, constants=()):
    """(type, further inputs, attributes) one behind the other between DequantizeLinear and QuantizeLinear."""
    nodes, last = [helper.make_node("DequantizeLinear", ["input", "xs", "xz"], ["real"])], "real"
    for i, (op, inputs, attributes) in enumerate(operators):
        nodes.append(helper.make_node(op, [last, *inputs], [f"made{i}"], **attributes))
        last = f"made{i}"
    nodes.append(helper.make_node("QuantizeLinear", [last, "ys", "yz"], ["output"]))
    return nodes, shape, 13, constants


def _framed(op, *inputs):
    """A frame of 1.5 behind a pool, and an operator behind that."""
    constants = (("pads", np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64)), ("fill", np.float32(1.5)),
                 ("half", np.float32(0.5)), ("one", np.float32(1)))
    return _chain(IMAGE, ("AveragePool", (), WINDOW), ("Pad", ("pads", "fill"), {}), (op, inputs, {}),
                  constants=constants)


def _old_resize(height, width):
    constants = (("scales", np.array([1, 1, height, width], np.float32)),)
    return _alone("Resize", IMAGE, 10, "", constants, ("scales",))


def _conv(shape, last):
    weights = np.random.default_rng(1).integers(-127, 128, (7, 6, 3, 3)).astype(np.int8)
    constants = (("w", weights), ("ws", np.float32(0.005)), ("wz", np.int8(0)))
    return _alone("QLinearConv", shape, 13, MS, constants, ("xs", "xz", "w", "ws", "wz", "ys", "yz"),
                  channels_last=last, **WINDOW)


def _resize(shape, scales, opset=13, **attributes):
    return _alone("Resize", shape, opset, "", (("scales", np.asarray(scales, np.float32)),), ("", "scales"),
                  **attributes)


# By name: (nodes, shape of the input, operator set, constants), and the steps that may be between.
FORMS = {
    "average pool, channels last": (_alone("QLinearAveragePool", LAST, 13, MS, (), BETWEEN, channels_last=1, **WINDOW), 0),
    "global average pool, channels last": (
        _alone("QLinearGlobalAveragePool", LAST, 13, MS, (), BETWEEN, channels_last=1), 0),
    "conv, channels last": (_conv(LAST, 1), 0),
    "conv of com.microsoft": (_conv(IMAGE, 0), 0),
    "max pool, channels last": (_alone("NhwcMaxPool", LAST, 13, MS, **WINDOW), 0),
    "global max pool": (_between("GlobalMaxPool", IMAGE), 0),
    "quick gelu": (_between("QuickGelu", (1, 256), MS), 1),
    "average pool, ceil mode": (
        _between("AveragePool", (1, 4, 8, 10), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), 0),
    "average pool, ceil mode, pads counted": (
        _between("AveragePool", IMAGE, ceil_mode=1, count_include_pad=1, **WINDOW), 0),
    "resize, channels last": (_resize(LAST, (1, 2, 2.5, 1), mode="nearest"), 0),
    "resize, channels last, linear": (_resize(LAST, (1, 2, 2.5, 1), mode="linear"), 1),
    "resize of rows, linear": (_resize((1, 9, 11), (1, 1, 2.5), mode="linear"), 1),
    "resize, half_pixel_symmetric": (
        _resize(IMAGE, (1, 1, 0.6, 2.7), 19, coordinate_transformation_mode="half_pixel_symmetric"), 0),
    "resize, tf_half_pixel_for_nn": (
        _resize(IMAGE, (1, 1, 1.3, 0.7), coordinate_transformation_mode="tf_half_pixel_for_nn"), 0),
    "resize of given axes": (
        _alone("Resize", IMAGE, 18, "", (("sizes", np.array([20, 5], np.int64)),), ("", "", "sizes"), axes=[3, 2]), 0),
    "resize of opset 10, smaller": (_old_resize(0.6, 0.3), 0),
    "resize of opset 10, smaller and larger": (_old_resize(0.7, 1.7), 0),
    "roots of negative numbers": (_between("Sqrt", (1, 256)), 0),
    "logarithms of negative numbers": (_between("Log", (1, 256)), 0),
    "frame, then Clip": (_framed("Clip", "half", "one"), 1),
    "frame, then Mul": (_framed("Mul", "half"), 1),
    "pad that cuts": (
        _alone("Pad", IMAGE, 13, "", (("p", np.array([0, 1, -1, 2, 0, 0, 3, -2], np.int64)), ("v", np.uint8(7))),
               ("p", "v")), 0),
    "pad of given axes": (
        _alone("Pad", IMAGE, 18, "", (("p", np.array([1, 2], np.int64)), ("v", np.uint8(7)),
                                      ("a", np.array([-1], np.int64))), ("p", "v", "a")), 0),
}


def make(name):
    """(the model, the steps by which the runtime may differ)"""
    (nodes, shape, opset, constants), steps = FORMS[name]
    quantization = (("xs", np.float32(0.03)), ("xz", np.uint8(100)), ("ys", np.float32(0.04)), ("yz", np.uint8(90)))
    used = {i for node in nodes for i in node.input}
    initializers = [numpy_helper.from_array(np.asarray(a), n) for n, a in (*quantization, *constants) if n in used]
    graph = helper.make_graph(nodes, "form", [helper.make_tensor_value_info("input", TensorProto.UINT8, shape)],
                              [helper.make_tensor_value_info("output", TensorProto.UINT8, None)], initializers)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8), steps
