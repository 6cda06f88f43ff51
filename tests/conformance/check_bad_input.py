#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What is wrong is refused: a message that names it on stderr, a documented exit status, no crash, no hang.

Feeds npu-compile and npu-run missing, truncated, corrupted and inconsistent files. Prints TAP.
"""

import os
import shutil
import subprocess
import sys
import tempfile

from tap import Tap, need_packages

need_packages("bad input")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from check_mutations import with_checksum  # noqa: E402
from judge import ROOT, Judge  # noqa: E402
from random_quant import stored  # noqa: E402, I001 (finds the next one)
from quantized_graph import GraphBuilder, Quant  # noqa: E402

TIMEOUT_SECONDS = 60
MEMORY_BYTES = 4 << 30  # of address space: a huge shape must not become a huge allocation
LAST_STATUS = 125  # beyond: the shell's and signals
CORRUPTIONS = 100


def conv_model(weights=None, scale=0.02, **attributes):
    """A quantized convolution whose node is called 'culprit', valid unless the arguments are not."""
    graph = GraphBuilder("bad")
    x = graph.input("input", (1, 4, 8, 8), Quant(0.02, 100))
    rng = np.random.default_rng(1)
    y = graph.conv(x, stored(rng, (6, 4, 3, 3), np.int8) if weights is None else weights, np.float32(0.01), None,
                   Quant(0.05, 120))
    graph.output(y, "output")
    model = graph.model()
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.name = "culprit"
            for name, value in attributes.items():
                for old in [a for a in node.attribute if a.name == name]:
                    node.attribute.remove(old)
                node.attribute.append(helper.make_attribute(name, value))
    for initializer in model.graph.initializer:
        if initializer.name.startswith("input_scale"):
            initializer.CopyFrom(numpy_helper.from_array(np.float32(scale), initializer.name))
    return model


def with_node(op, domain="", inputs=1, **attributes):
    """DequantizeLinear, `op` called 'culprit', QuantizeLinear."""
    graph = GraphBuilder("bad")
    x = graph.input("input", (1, 4, 8, 8), Quant(0.02, 100))
    real = graph._dequantize(x)
    graph._node(op, [real] * inputs, "unsupported", domain, **attributes)
    graph.nodes[-1].name = "culprit"
    graph.output(graph._quantize("unsupported", "y", (1, 4, 8, 8), Quant(0.02, 100)), "output")
    return graph.model()


def float_model():
    node = helper.make_node("Conv", ["input", "w"], ["output"], name="culprit", kernel_shape=[3, 3])
    graph = helper.make_graph(
        [node], "bad", [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 4, 8, 8))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 6, 6, 6))],
        [numpy_helper.from_array(np.ones((6, 4, 3, 3), np.float32), "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def edited(change):
    model = conv_model()
    change(model)
    return model


def set_input_shape(*dims):
    def change(model):
        shape = model.graph.input[0].type.tensor_type.shape
        del shape.dim[:]
        for d in dims:
            dim = shape.dim.add()
            if isinstance(d, str):
                dim.dim_param = d
            else:
                dim.dim_value = d
    return change


def drop_initializer(prefix):
    def change(model):
        kept = [i for i in model.graph.initializer if not i.name.startswith(prefix)]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
    return change


def make_cycle(model):
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]


def shorten_weights(model):
    for initializer in model.graph.initializer:
        if "_w_" in initializer.name and len(initializer.raw_data) > 100:
            initializer.raw_data = initializer.raw_data[:50]


def huge_weights(model):
    for initializer in model.graph.initializer:
        if len(initializer.raw_data) > 100:
            initializer.dims[0] = 2**40


CULPRIT = "culprit"
# name: (model, text that the message must hold)
BAD_GRAPHS = {
    "an operator that does not exist": (lambda: with_node("Frobnicate"), CULPRIT),
    "an operator that is not supported": (lambda: with_node("Sin"), CULPRIT),
    "an operator of an unknown domain": (lambda: with_node("Relu", "org.example"), CULPRIT),
    "a float network": (float_model, CULPRIT),
    "stride 0": (lambda: conv_model(strides=[0, 1]), CULPRIT),
    "negative stride": (lambda: conv_model(strides=[-1, 1]), CULPRIT),
    "dilation 0": (lambda: conv_model(dilations=[1, 0]), CULPRIT),
    "group 0": (lambda: conv_model(group=0), CULPRIT),
    "a group that does not divide the channels": (lambda: conv_model(group=3), CULPRIT),
    "negative pads": (lambda: conv_model(pads=[-1, 0, 0, 0]), CULPRIT),
    "three pads": (lambda: conv_model(pads=[0, 0, 0]), CULPRIT),
    "a huge pad": (lambda: conv_model(pads=[2**40, 0, 0, 0]), CULPRIT),
    "a kernel larger than the input": (lambda: conv_model(dilations=[9, 1]), CULPRIT),
    "another kernel_shape than the weights'": (lambda: conv_model(kernel_shape=[5, 5]), CULPRIT),
    "a string for a number": (lambda: conv_model(strides="big"), CULPRIT),
    "weights for other channels": (lambda: conv_model(np.ones((6, 5, 3, 3), np.int8)), CULPRIT),
    "scale 0": (lambda: conv_model(scale=0.0), ""),
    "a negative scale": (lambda: conv_model(scale=-1.0), ""),
    "scale NaN": (lambda: conv_model(scale=float("nan")), ""),
    "infinite scale": (lambda: conv_model(scale=float("inf")), ""),
    "an input without a size": (lambda: edited(set_input_shape("N", 4, 8, 8)), "input"),
    "an input of three dimensions": (lambda: edited(set_input_shape(4, 8, 8)), ""),
    "a negative size": (lambda: edited(set_input_shape(1, 4, -8, 8)), ""),
    "size 0": (lambda: edited(set_input_shape(1, 4, 0, 8)), ""),
    "a huge size": (lambda: edited(set_input_shape(1, 4, 2**31 - 1, 2**31 - 1)), ""),
    "a tensor that nothing makes": (lambda: edited(drop_initializer("conv_1_w_")), ""),
    "a circle": (lambda: edited(make_cycle), ""),
    "weights shorter than their shape": (lambda: edited(shorten_weights), ""),
    "weights with a huge shape": (lambda: edited(huge_weights), ""),
    "no graph": (lambda: onnx.ModelProto(ir_version=8), ""),
}


def limit_memory():
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Program:
    def __init__(self, build, tap):
        self.build, self.tap = build, tap

    def run(self, name, *arguments):
        """(status, stderr); status is a text where there is none."""
        command = [os.path.join(self.build, "bin", name), *map(str, arguments)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, preexec_fn=limit_memory)
        except subprocess.TimeoutExpired:
            return "no end in time", ""
        return done.returncode, done.stderr.decode(errors="replace")

    def refused(self, what, text, name, *arguments):
        status, stderr = self.run(name, *arguments)
        fine = isinstance(status, int) and 0 < status <= LAST_STATUS and stderr.strip() and text in stderr
        self.tap.result(fine, f"{name} refuses {what}",
                        f"exit status {status}; stderr: {stderr.strip()[:600]}" + (f"\nwanted in it: {text}" if text else ""))

    def survives(self, what, name, runs):
        """Each of many runs either works or is refused with a message."""
        wrong, refused = [], 0
        for label, arguments in runs:
            status, stderr = self.run(name, *arguments)
            refused += status != 0
            if not isinstance(status, int) or not 0 <= status <= LAST_STATUS or (status and not stderr.strip()):
                wrong.append(f"{label}: exit status {status}, stderr: {stderr.strip()[:200]}")
        self.tap.result(not wrong, f"{name} survives {what}", "\n".join([f"{refused} of {len(runs)} refused"] + wrong))


def mutations(data, rng, folder, suffix, finish=bytes):
    """Paths of copies with one to four bytes changed; finish: the last hand on a copy."""
    for i in range(CORRUPTIONS):
        copy = bytearray(data)
        for _ in range(int(rng.integers(1, 5))):
            copy[int(rng.integers(len(copy)))] = int(rng.integers(256))
        path = os.path.join(folder, f"corrupt{i}{suffix}")
        with open(path, "wb") as f:
            f.write(finish(copy))
        yield path


def truncations(data, folder, suffix, count=16):
    for i in range(count):
        path = os.path.join(folder, f"cut{i}{suffix}")
        with open(path, "wb") as f:
            f.write(data[:len(data) * i // count])
        yield path


def check_compile(program, folder, digits):
    out = os.path.join(folder, "out.npu")
    missing = os.path.join(folder, "missing.onnx")
    program.refused("a missing file", missing, "npu-compile", missing, "-o", out)
    program.refused("a folder", "", "npu-compile", folder, "-o", out)
    program.refused("no arguments", "", "npu-compile")
    program.refused("an unknown target", "nonsense", "npu-compile", digits, "-o", out, "--target", "nonsense")
    program.refused("an output that cannot be written", "", "npu-compile", digits, "-o",
                    os.path.join(folder, "no", "such", "folder.npu"))
    for name, (make, text) in BAD_GRAPHS.items():
        path = os.path.join(folder, "bad.onnx")
        with open(path, "wb") as f:
            f.write(make().SerializeToString())
        program.refused(name, text, "npu-compile", path, "-o", out)
    with open(digits, "rb") as f:
        data = f.read()
    for i, path in enumerate(truncations(data, folder, ".onnx")):
        program.refused(f"an ONNX file cut after {i}/16", "", "npu-compile", path, "-o", out)
    program.survives("corrupted ONNX files", "npu-compile",
                     [(path, (path, "-o", out)) for path in mutations(data, np.random.default_rng(3), folder, ".onnx")])


def check_tolerance(program, folder, run, tap):
    program.run(*run, "--output", folder)
    logits = np.load(os.path.join(folder, "logits.npy"))
    place = np.unravel_index(np.argmin(logits), logits.shape)
    for steps in (1, 2):
        off = logits.copy()
        off[place] += steps
        path = os.path.join(folder, f"off{steps}.npy")
        np.save(path, off)
        expect = (*run, "--expect", f"logits={path}")
        status, stderr = program.run(*expect, "--tolerance", str(steps))
        tap.result(status == 0, f"npu-run allows {steps} of {steps} steps", f"exit status {status}: {stderr}")
        program.refused(f"{steps} steps of {steps - 1}", "1 of 10 values differ", *expect, "--tolerance", str(steps - 1))
    program.refused("a tolerance of nothing", "--expect", *run, "--tolerance", "1")


def check_run(program, folder, digits, tap):
    good = os.path.join(folder, "digits.npu")
    status, stderr = program.run("npu-compile", digits, "-o", good)
    if status != 0:
        tap.result(False, "npu-run with bad input", f"the good model does not compile: {stderr}")
        return
    arrays = {
        "image": np.zeros((1, 1, 8, 8), np.uint8),
        "float64": np.zeros((1, 1, 8, 8), np.float64),
        "no number": np.full((1, 1, 8, 8), np.nan, np.float32),
        "int8": np.zeros((1, 1, 8, 8), np.int8),
        "shape": np.zeros((1, 1, 8, 7), np.uint8),
        "rank": np.zeros((64,), np.uint8),
        "empty": np.zeros((0, 1, 8, 8), np.uint8),
        "wrong": np.full((1, 10), 7, np.uint8),
    }
    files = {}
    for name, array in arrays.items():
        files[name] = os.path.join(folder, name + ".npy")
        np.save(files[name], array)
    with open(os.path.join(folder, "text.npy"), "w", encoding="utf-8") as f:
        f.write("not an array")
    run = ("npu-run", good, "--device", "sim")
    status, stderr = program.run(*run, "--input", f"image={files['image']}")
    tap.result(status == 0, "npu-run takes the good input", f"exit status {status}: {stderr}")
    missing = os.path.join(folder, "missing")
    program.refused("a missing model", missing, "npu-run", missing, "--device", "sim")
    program.refused("an ONNX file as a compiled model", "", "npu-run", digits, "--device", "sim")
    program.refused("no value for an input", "image", *run)
    program.refused("an input that the model does not have", "nonsense", *run, "--input", f"image={files['image']}",
                    "--input", f"nonsense={files['image']}")
    program.refused("a missing input file", missing, *run, "--input", f"image={missing}")
    program.refused("an input that is no array", "text.npy", *run, "--input", f"image={os.path.join(folder, 'text.npy')}")
    for kind in ("float64", "no number", "int8", "shape", "rank", "empty"):
        program.refused(f"an input of the wrong kind ({kind})", kind if kind == "float64" else "image", *run, "--input", f"image={files[kind]}")
    program.refused("an output other than expected", "logits", *run, "--input", f"image={files['image']}", "--expect",
                    f"logits={files['wrong']}")
    check_tolerance(program, folder, run + ("--input", f"image={files['image']}"), tap)
    for device in ("63", "/dev/accel/accel63", "/dev/null", "ffff:ff:1f.7"):
        program.refused(f"device {device}", device, "npu-run", good, "--device", device, "--input",
                        f"image={files['image']}")
    with open(good, "rb") as f:
        data = f.read()
    for i, path in enumerate(truncations(data, folder, ".npu")):
        program.refused(f"a compiled model cut after {i}/16", "", "npu-run", path, "--device", "sim", "--input",
                        f"image={files['image']}")
    program.survives("corrupted compiled models", "npu-run",
                     [(p, (p, "--device", "sim", "--input", f"image={files['image']}"))
                      for p in mutations(data, np.random.default_rng(4), folder, ".npu")])
    program.survives("corrupted compiled models with the right checksum", "npu-run",
                     [(p, (p, "--device", "sim", "--input", f"image={files['image']}"))
                      for p in mutations(data, np.random.default_rng(5), folder, ".npu", with_checksum)])


def main():
    tap = Tap()
    build = Judge().build
    program = Program(build, tap)
    for name in ("npu-compile", "npu-run"):
        if not os.path.exists(os.path.join(build, "bin", name)):
            tap.result(False, "bad input", f"{name} is not built")
            return tap.finish()
    with tempfile.TemporaryDirectory(prefix="bad-input") as folder:
        digits = os.path.join(folder, "digits.onnx")
        shutil.copy(os.path.join(ROOT, "models", "digits", "digits.onnx"), digits)
        check_compile(program, folder, digits)
        check_run(program, folder, digits, tap)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
