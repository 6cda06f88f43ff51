#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""npu-compile --calibrate on float models: ONNX Runtime takes the QDQ model that it writes, which is about as good
as the float one, and the compiled model computes the same bytes. Prints TAP.

The float models are made here: the digits network from its weights, and random ones with what exporters write.
"""

import json
import os
import subprocess
import sys
import tempfile

from tap import Tap, need_packages, skip_all

need_packages("calibration")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from judge import ROOT, Judge, file_name  # noqa: E402

sys.path.append(os.path.join(ROOT, "models"))
import train_digits  # noqa: E402

CALIBRATION_IMAGES = 100  # of the held-out ones; the other 350 judge
TIMEOUT_SECONDS = 300


class FloatGraph:
    """Nodes and constants of a float model, in the order of execution."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []

    def const(self, array):
        name = f"const_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op, inputs, **attributes):
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name + "_node", **attributes))
        return name

    def input(self, name, shape):
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, tensor, name, shape=None):
        """The shape where onnx does not infer it."""
        for node in self.nodes:
            node.output[:] = [name if t == tensor else t for t in node.output]
            node.input[:] = [name if t == tensor else t for t in node.input]
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def floats(self, *shape, scale=1.0):
        return self.const((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def conv(self, x, inputs, outputs, kernel, bias=False, group=1, **attributes):
        depth = inputs // group
        weights = self.floats(outputs, depth, kernel, kernel, scale=np.sqrt(2 / (depth * kernel * kernel)))
        operands = [x, weights] + ([self.floats(outputs, scale=0.1)] if bias else [])
        return self.node("Conv", operands, group=group, pads=[kernel // 2] * 4, **attributes)

    def batch_norm(self, x, channels):
        positive = [self.const(self.rng.uniform(0.5, 1.5, channels).astype(np.float32)) for _ in range(2)]
        return self.node("BatchNormalization", [x, positive[0], self.floats(channels, scale=0.1),
                                                self.floats(channels, scale=0.1), positive[1]])

    def save(self, path, opset=13):
        graph = helper.make_graph(self.nodes, "float", self.inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        model = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def digits():
    weights = train_digits.load_weights(os.path.join(ROOT, "models", "digits", "weights.npy"))
    g = FloatGraph()
    w = {name: g.const(array.astype(np.float32)) for name, array in weights.items()}
    x = g.input("image", [1, 1, 8, 8])
    for i in (1, 2):
        x = g.node("Relu", [g.node("Conv", [x, w[f"conv{i}_w"], w[f"conv{i}_b"]], pads=[1, 1, 1, 1])])
    x = g.node("Flatten", [g.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])])
    x = g.node("Relu", [g.node("Gemm", [x, w["dense1_w"], w["dense1_b"]], transB=1)])
    g.output(g.node("Gemm", [x, w["dense2_w"], w["dense2_b"]], transB=1), "logits")
    return g, [1, 1, 8, 8]


def mobile_block():
    """Inverted residuals as exported from training: BatchNormalization behind each convolution, Relu6 as Clip."""
    g = FloatGraph(18)
    six = [g.const(np.float32(0)), g.const(np.float32(6))]

    def unit(x, inputs, outputs, kernel, clip=True, **attributes):
        x = g.batch_norm(g.conv(x, inputs, outputs, kernel, **attributes), outputs)
        return g.node("Clip", [x] + six) if clip else x

    x = unit(g.input("input", [1, 3, 16, 16]), 3, 8, 3, strides=[2, 2])
    for stride in (1, 2):
        y = unit(x, 8, 24, 1)
        y = unit(y, 24, 24, 3, group=24, strides=[stride, stride])
        y = unit(y, 24, 8, 1, clip=False)
        x = g.node("Add", [x, y]) if stride == 1 else y
    x = g.node("ReduceMean", [x], axes=[2, 3], keepdims=0)
    g.output(g.node("Gemm", [x, g.floats(8, 10, scale=0.5), g.floats(10)], alpha=0.5), "output")
    return g, [1, 3, 16, 16]


def gated():
    """Gates, a concatenation, a division by a constant per channel; operators that become tables."""
    g = FloatGraph(7)
    x = g.input("input", [1, 4, 10, 10])
    scale = g.const(np.array([2, 4, 1, 3], np.float32).reshape(4, 1, 1))
    x = g.node("Div", [g.node("Sub", [x, g.floats(4, 1, 1)]), scale])
    a = g.conv(x, 4, 8, 3, bias=True)
    a = g.node("Mul", [a, g.node("Sigmoid", [a])])
    b = g.node("HardSwish", [g.conv(x, 4, 8, 1, bias=True)])
    c = g.node("MaxPool", [g.node("Relu", [g.conv(x, 4, 4, 1)])], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    x = g.node("Concat", [a, b, c], axis=1)
    squeezed = g.node("GlobalAveragePool", [x])
    gate = g.node("HardSigmoid", [g.conv(squeezed, 20, 20, 1, bias=True)], alpha=1 / 6, beta=0.5)
    x = g.node("Mul", [x, gate])
    x = g.node("LeakyRelu", [g.conv(x, 20, 6, 3, strides=[2, 2])], alpha=0.1)
    x = g.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
    g.output(g.node("Tanh", [x]), "output")
    return g, [1, 4, 10, 10]


def detector():
    """What PyTorch exports for a feature pyramid: sizes computed from shapes, a pad with an operator of its own, a
    frame, slopes per channel, a mean over two axes."""
    g = FloatGraph(11)
    numbers = {n: g.const(np.array([n], np.int64)) for n in (0, 1, 2, 4)}
    x = g.input("input", [1, 3, 16, 16])
    x = g.node("Pad", [x, g.const(np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64)), g.const(np.float32(0))])
    fine = g.conv(x, 3, 8, 3, bias=True, strides=[2, 2])
    fine = g.node("PRelu", [fine, g.floats(8, 1, 1, scale=0.3)])
    fine = g.node("Slice", [fine, numbers[0], g.const(np.array([8], np.int64)), numbers[2]])
    fine = g.node("Slice", [fine, numbers[0], g.const(np.array([8], np.int64)), g.const(np.array([3], np.int64))])
    coarse = g.conv(fine, 8, 8, 3, bias=True, strides=[2, 2])
    coarse = g.node("Mul", [coarse, g.node("Tanh", [g.node("Softplus", [coarse])])])  # Mish
    shape = g.node("Shape", [coarse])
    space = g.node("Slice", [shape, numbers[2], numbers[4]])
    space = g.node("Cast", [space], to=TensorProto.FLOAT)
    space = g.node("Floor", [g.node("Mul", [space, g.const(np.array([2], np.float32))])])
    sizes = g.node("Concat", [g.node("Slice", [shape, numbers[0], numbers[2]]),
                              g.node("Cast", [space], to=TensorProto.INT64)], axis=0)
    up = g.node("Resize", [coarse, "", "", sizes], mode="nearest", coordinate_transformation_mode="asymmetric",
                nearest_mode="floor")
    x = g.node("Concat", [up, g.node("Max", [fine, g.const(np.float32(-1))])], axis=1)
    x = g.node("Pad", [x, g.const(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))], mode="reflect")
    x = g.node("Elu", [g.conv(x, 16, 8, 1)])
    x = g.node("DepthToSpace", [x], blocksize=2)
    first = g.node("Gather", [g.node("Shape", [x]), g.const(np.int64(0))])
    first = g.node("Unsqueeze", [first, numbers[0]])
    x = g.node("ReduceMean", [x], axes=[1, 2], keepdims=0)
    x = g.node("Reshape", [x, g.node("Concat", [first, g.const(np.array([-1], np.int64))], axis=0)])
    g.output(g.node("Gemm", [x, g.floats(20, 10, scale=0.5)]), "output", [1, 10])
    return g, [1, 3, 16, 16]


def encoder():
    """A transformer's layer as exported for operator sets before 17: layer normalization and GELU by their parts."""
    g = FloatGraph(5)
    tokens, width, heads = 12, 32, 4

    def linear(x, inputs, outputs):
        x = g.node("MatMul", [x, g.floats(inputs, outputs, scale=inputs**-0.5)])
        return g.node("Add", [x, g.floats(outputs, scale=0.1)])

    def normalized(x, squared):
        centred = g.node("Sub", [x, g.node("ReduceMean", [x], axes=[-1])])
        square = squared(centred)
        deviation = g.node("Sqrt", [g.node("Add", [g.node("ReduceMean", [square], axes=[2]), g.const(np.float32(1e-5))])])
        x = g.node("Mul", [g.node("Div", [centred, deviation]), g.const(g.rng.uniform(0.5, 1.5, width).astype(np.float32))])
        return g.node("Add", [x, g.floats(1, 1, width, scale=0.2)])

    def split(x, permutation):
        x = g.node("Reshape", [x, g.const(np.array([1, tokens, heads, width // heads], np.int64))])
        return g.node("Transpose", [x], perm=permutation)

    x = g.input("input", [1, tokens, width])
    y = normalized(x, lambda centred: g.node("Pow", [centred, g.const(np.float32(2))]))
    q = split(linear(y, width, width), [0, 2, 1, 3])
    k = split(linear(y, width, width), [0, 2, 3, 1])
    v = split(linear(y, width, width), [0, 2, 1, 3])
    scores = g.node("Mul", [g.node("MatMul", [q, k]), g.const(np.float32((width // heads) ** -0.5))])
    y = g.node("Transpose", [g.node("MatMul", [g.node("Softmax", [scores], axis=3), v])], perm=[0, 2, 1, 3])
    y = g.node("Reshape", [y, g.const(np.array([1, tokens, width], np.int64))])
    x = g.node("Add", [x, linear(y, width, width)])
    y = linear(normalized(x, lambda centred: g.node("Mul", [centred, centred])), width, 2 * width)
    error = g.node("Erf", [g.node("Div", [y, g.const(np.float32(2**0.5))])])
    y = g.node("Mul", [g.node("Mul", [y, g.node("Add", [error, g.const(np.float32(1))])]), g.const(np.float32(0.5))])
    g.output(g.node("Add", [x, linear(y, 2 * width, width)]), "output")
    return g, [1, tokens, width]


def text_detector():
    """Down, and up again by transposed convolutions: a head as text detectors have it, its map of one channel."""
    g = FloatGraph(52)

    def up(x, inputs, outputs, bias, **attributes):
        operands = [x, g.floats(inputs, outputs, 2, 2, scale=inputs**-0.5)]
        return g.node("ConvTranspose", operands + ([g.floats(outputs, scale=0.1)] if bias else []), strides=[2, 2],
                      **attributes)

    x = g.input("input", [1, 3, 24, 32])
    x = g.node("Relu", [g.batch_norm(g.conv(x, 3, 16, 3, strides=[2, 2]), 16)])
    y = g.node("Relu", [g.batch_norm(g.conv(x, 16, 24, 3, strides=[2, 2]), 24)])
    y = g.node("ConvTranspose", [y, g.floats(24, 8, 3, 3, scale=0.1)], strides=[2, 2], pads=[1, 1, 1, 1],
               output_padding=[1, 1], group=2)
    x = g.node("Add", [x, g.batch_norm(y, 16)])
    x = g.node("Relu", [g.batch_norm(up(x, 16, 12, bias=True), 12)])
    g.output(g.node("Sigmoid", [up(x, 12, 1, bias=True)]), "output", [1, 1, 48, 64])
    return g, [1, 3, 24, 32]


def dense_blocks():
    """Layers that read what all before them made: joined anew, as torchvision does, and joined to what was."""
    g = FloatGraph(121)
    x, channels = g.node("Relu", [g.conv(g.input("input", [1, 3, 16, 16]), 3, 12, 3)]), 12

    def unit(x, inputs, outputs, kernel):
        return g.conv(g.node("Relu", [g.batch_norm(x, inputs)]), inputs, outputs, kernel)

    for nested in (False, True):
        parts, joined = [x], x
        for _ in range(3):
            parts.append(unit(unit(joined, channels, 16, 1), 16, 8, 3))
            channels += 8
            joined = g.node("Concat", [joined, parts[-1]] if nested else parts, axis=1)
        x = g.node("AveragePool", [unit(joined, channels, 12, 1)], kernel_shape=[2, 2], strides=[2, 2])
        channels = 12
    g.output(g.node("Flatten", [g.node("GlobalAveragePool", [unit(x, 12, 10, 1)])]), "output")
    return g, [1, 3, 16, 16]


class Compiler:
    def __init__(self, folder, build):
        self.folder, self.programs = folder, os.path.join(build, "bin")

    def run(self, program, *arguments):
        done = subprocess.run([os.path.join(self.programs, program), *arguments], capture_output=True, text=True,
                              timeout=TIMEOUT_SECONDS)
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.returncode}\n{done.stderr.strip()}")
        return done

    def quantize(self, model, samples, *options):
        """(the QDQ model, the compiled one, layers of calibration.json)"""
        folder = os.path.join(self.folder, "samples")
        os.makedirs(folder, exist_ok=True)
        np.save(os.path.join(folder, "samples.npy"), samples)
        paths = [os.path.join(self.folder, name) for name in ("qdq.onnx", "model.npu", "report")]
        self.run("npu-compile", model, "--calibrate", folder, "--write-qdq", paths[0], "-o", paths[1], "--report",
                 paths[2], *options)
        with open(os.path.join(paths[2], "calibration.json")) as f:
            return paths[0], paths[1], json.load(f)

    def simulate(self, compiled, name, stack, output):
        path, folder = os.path.join(self.folder, "input.npy"), os.path.join(self.folder, "out")
        os.makedirs(folder, exist_ok=True)
        np.save(path, stack)
        self.run("npu-run", compiled, "--device", "sim", "--input", f"{name}={path}", "--real", "--output", folder)
        return np.load(os.path.join(folder, file_name(output)))


def check_equal(tap, name, ours, theirs, allowed=0):
    different = np.count_nonzero(ours != theirs)
    tap.result(ours.shape == theirs.shape and different <= allowed * theirs.size,
               f"{name}: the compiled model equals ONNX Runtime on the QDQ file",
               f"{different} of {theirs.size} values differ")


def check_digits(tap, compiler, judge, model, options):
    images = (np.load(os.path.join(ROOT, "models", "digits", "images.npy")) / 16).astype(np.float32)
    labels = np.load(os.path.join(ROOT, "models", "digits", "labels.npy"))
    order = np.random.default_rng(1).permutation(len(images))
    calibration, held_out = order[:CALIBRATION_IMAGES], order[CALIBRATION_IMAGES:]
    name = " ".join(("digits",) + options)
    qdq, compiled, report = compiler.quantize(model, images[calibration], *options)
    inputs = {"image": images[held_out]}
    right = [np.mean(judge.run(path, inputs, fuse_int8_qdq=True)["logits"].argmax(axis=1) == labels[held_out])
             for path in (model, qdq)]
    tap.result(right[1] >= right[0] - 0.01, f"{name}: at most 1 % of accuracy lost", f"float {right[0]:.4f}, "
               f"quantized {right[1]:.4f} of {len(held_out)} held-out images")
    tap.result(report["samples"] == CALIBRATION_IMAGES and report["layers"][-1]["sqnr_db"] > 25,
               f"{name}: the report tells the samples and the errors", report["layers"][-1])
    ours = compiler.simulate(compiled, "image", inputs["image"], "logits")
    check_equal(tap, name, ours, judge.run(qdq, inputs, fuse_int8_qdq=True)["logits"])


def check_refused(tap, compiler, model):
    """Each folder of samples that is no good, by name."""
    good = np.zeros((1, 1, 8, 8), np.float32)
    cases = {"an empty folder": (None, "holds no .npy or .pb"), "another shape": (good[..., :7], "float32[1,1,8,8]"),
             "another type": (good.astype(np.uint8), "uint8"), "NaN": (good + np.nan, "not a finite number"),
             "infinity": (good - np.inf, "element 0"), "nothing in it": (good[:0], "does not fit")}
    for name, (array, text) in cases.items():
        folder = os.path.join(compiler.folder, name)
        os.makedirs(folder)
        if array is not None:
            np.save(os.path.join(folder, "sample.npy"), array)
        done = subprocess.run([os.path.join(compiler.programs, "npu-compile"), model, "--calibrate", folder,
                               "--write-qdq", os.path.join(folder, "out.onnx")], capture_output=True, text=True,
                              timeout=TIMEOUT_SECONDS)
        tap.result(done.returncode == 9 and text in done.stderr and not os.path.exists(os.path.join(folder, "out.onnx")),
                   f"samples: {name}: refused", f"exit status {done.returncode}: {done.stderr.strip()}")


def check_two_inputs(tap, compiler):
    g = FloatGraph(2)
    g.output(g.node("Add", [g.input("left/a", [1, 4]), g.input("right", [1, 4])]), "sum")
    model, folder = (os.path.join(compiler.folder, n) for n in ("two.onnx", "two"))
    g.save(model)
    for name, count in (("left_a", 2), ("right", 2)):
        os.makedirs(os.path.join(folder, name))
        for i in range(count):
            np.save(os.path.join(folder, name, f"{i}.npy"), np.full((1, 4), i + 1, np.float32))
    command = [model, "--calibrate", folder, "--write-qdq", os.path.join(folder, "out.onnx")]
    done = compiler.run("npu-compile", *command)
    tap.result("2 samples in 4 files" in done.stderr, "two inputs: a folder for each", done.stderr)
    os.remove(os.path.join(folder, "right", "1.npy"))
    try:
        compiler.run("npu-compile", *command)
        tap.result(False, "two inputs: as many samples of each")
    except RuntimeError as error:
        tap.result("1 samples of 'right'" in str(error), "two inputs: as many samples of each", error)


def check_random(tap, compiler, judge, name, build, options=(), allowed=0):
    """allowed: share of outputs that may differ, where ONNX Runtime computes in float."""
    graph, shape = build()
    model = os.path.join(compiler.folder, "float.onnx")
    graph.save(model, 14 if name == "gated" else 13)
    rng = np.random.default_rng(3)
    qdq, compiled, report = compiler.quantize(model, rng.standard_normal([32] + shape[1:]).astype(np.float32), *options)
    onnx.checker.check_model(onnx.load(qdq), full_check=True)
    name = " ".join((name,) + options)
    x = rng.standard_normal([64] + shape[1:]).astype(np.float32)
    real = judge.run(model, {"input": x})["output"]
    stored = judge.run(qdq, {"input": x}, fuse_int8_qdq=True)["output"]
    noise = 10 * np.log10(np.sum(np.square(real)) / np.sum(np.square(real - stored)))
    tap.result(noise > 20, f"{name}: the error of the QDQ model is 20 dB below the values", f"{noise:.1f} dB; least of a "
               f"layer: {min(l['sqnr_db'] for l in report['layers']):.1f} dB")
    check_equal(tap, name, compiler.simulate(compiled, "input", x, "output"), stored, allowed)


def main():
    judge = Judge()
    if judge.missing():
        skip_all("calibration of float models", judge.missing())
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix="calibration") as folder:
        compiler = Compiler(folder, judge.build)
        model = os.path.join(folder, "digits.onnx")
        digits()[0].save(model)
        for options in ((), ("--percentile", "99.99"), ("--activations", "s8")):
            check_digits(tap, compiler, judge, model, options)
        check_refused(tap, compiler, model)
        check_two_inputs(tap, compiler)
        check_random(tap, compiler, judge, "mobile block", mobile_block)
        check_random(tap, compiler, judge, "mobile block", mobile_block, ("--activations", "s8"))
        check_random(tap, compiler, judge, "gated", gated)
        check_random(tap, compiler, judge, "detector", detector)
        check_random(tap, compiler, judge, "encoder", encoder, allowed=0.001)
        check_random(tap, compiler, judge, "text detector", text_detector, allowed=0.001)
        check_random(tap, compiler, judge, "dense blocks", dense_blocks)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
