#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Makes every model of this folder, its test vectors and the held-out digits.

    make_models.py [--out DIR]     writes DIR (default: this folder)
    make_models.py --check         makes all in a temporary folder and compares byte by byte
    make_models.py --train         first trains the digits network anew (digits/weights.npy)

Needs Debian's python3-numpy and python3-onnx, python3-sklearn for the digits, and for the test
vectors ONNX Runtime through build/bin/ort-run (--without-vectors leaves them out).
"""

import argparse
import filecmp
import os
import sys
import tempfile
import zlib

import numpy as np
from onnx import numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "tests", "conformance")]

import example_networks  # noqa: E402
import train_digits  # noqa: E402
from judge import Judge  # noqa: E402
from operator_models import OPERATORS  # noqa: E402
from quantized_graph import GraphBuilder  # noqa: E402

LARGEST_VECTOR = 10 * 1024  # bytes of one .pb file in git
NUMPY_TYPE = {2: np.uint8, 3: np.int8}  # by ONNX's element type


class Writer:
    def __init__(self, out, judge):
        self.out, self.judge = out, judge

    def model(self, folder, graphs, inputs=None):
        """graphs: {file stem: GraphBuilder}, all with the same inputs and the same outputs; inputs: arrays by
        name, random when not given."""
        path = os.path.join(self.out, folder)
        os.makedirs(path, exist_ok=True)
        for stem, graph in graphs.items():
            graph.save(os.path.join(path, stem + ".onnx"))
        first = next(iter(graphs.values()))
        inputs = inputs or self._random_inputs(folder, first)
        if self.judge is not None:
            self._vectors(path, graphs, inputs)

    @staticmethod
    def _random_inputs(folder, graph):
        rng = np.random.default_rng(zlib.crc32(folder.encode()))
        inputs = {}
        for info in graph.inputs:
            dtype = NUMPY_TYPE[info.type.tensor_type.elem_type]
            limits = np.iinfo(dtype)
            shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
            inputs[info.name] = rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
        return inputs

    def _vectors(self, path, graphs, inputs):
        """ONNX's own layout: test_data_set_0/input_N.pb, output_N.pb."""
        outputs = None
        for stem in graphs:
            got = self.judge.run(os.path.join(path, stem + ".onnx"), inputs)
            if outputs is not None and any(not np.array_equal(got[k], outputs[k]) for k in outputs):
                raise SystemExit(f"{path}: {stem} and its twin differ under ONNX Runtime")
            outputs = got
        folder = os.path.join(path, "test_data_set_0")
        os.makedirs(folder, exist_ok=True)
        for kind, arrays in (("input", inputs), ("output", outputs)):
            for i, (name, array) in enumerate(arrays.items()):
                data = numpy_helper.from_array(array, name).SerializeToString(deterministic=True)
                if len(data) > LARGEST_VECTOR:
                    raise SystemExit(f"{path}: {kind} {name} has {len(data)} bytes")
                with open(os.path.join(folder, f"{kind}_{i}.pb"), "wb") as f:
                    f.write(data)

    def digits(self, weights):
        train_images, _, images, labels = train_digits.load_split()
        net = example_networks.digits(weights)
        quants = net.calibrate(train_images[:512] / 16.0, np.uint8, example_networks.digits_input(np.uint8))
        self.model("digits", {"digits": net.quantized(quants), "digits_qoperator": net.quantized(quants, "qoperator")},
                   {"image": images[:1]})
        quants = net.calibrate(train_images[:512] / 16.0, np.int8, example_networks.digits_input(np.int8))
        self.model("digits_int8", {"digits_int8_qoperator": net.quantized(quants, "qoperator")},
                   {"image": images[:1].astype(np.int8)})
        if self.judge is not None:
            logits = self.judge.run(os.path.join(self.out, "digits", "digits.onnx"), {"image": images})["logits"]
            np.save(os.path.join(self.out, "digits", "logits.npy"), logits)
            print(f"digits: {np.mean(logits.argmax(axis=1) == labels):.4f} of {len(labels)} held-out images right")
        np.save(os.path.join(self.out, "digits", "images.npy"), images)
        np.save(os.path.join(self.out, "digits", "labels.npy"), labels)

    def networks(self, folder, makers):
        for maker in makers:
            net, calibration = maker()
            quants = net.calibrate(calibration)
            self.model(os.path.join(folder, net.name),
                       {net.name: net.quantized(quants), net.name + "_qoperator": net.quantized(quants, "qoperator")})

    def operators(self):
        for name, (forms, build) in OPERATORS.items():
            graphs = {}
            for form in forms:
                graph = GraphBuilder(name, form)
                build(graph, np.random.default_rng(zlib.crc32(name.encode())))
                graphs[name + ("" if form == "qdq" else "_qoperator")] = graph
            self.model(os.path.join("operators", name), graphs)


def files_of(folder):
    """What the script makes: models, arrays and vectors; not its own code or the trained weights."""
    found = set()
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith((".onnx", ".npy", ".pb")) and name != "weights.npy":
                found.add(os.path.relpath(os.path.join(parent, name), folder))
    return found


def make(out, weights, judge):
    writer = Writer(out, judge)
    writer.digits(weights)
    writer.networks("tutorials", example_networks.TUTORIALS)
    writer.networks("blocks", example_networks.BLOCKS)
    writer.operators()


def check(weights, judge):
    with tempfile.TemporaryDirectory(prefix="models") as out:
        make(out, weights, judge)
        made, kept = files_of(out), files_of(HERE)
        if judge is None:
            kept = {name for name in kept if not name.endswith((".pb", "logits.npy"))}
        wrong = sorted(made ^ kept)
        wrong += [n for n in sorted(made & kept)
                  if not filecmp.cmp(os.path.join(out, n), os.path.join(HERE, n), shallow=False)]
        for name in wrong:
            print(f"differs: {name}", file=sys.stderr)
        print(f"{len(made)} files made, {len(wrong)} differ")
        return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=HERE)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--without-vectors", action="store_true")
    parser.add_argument("--build", help="build folder with bin/ort-run (default: build)")
    args = parser.parse_args()
    judge = None if args.without_vectors else Judge(args.build)
    if judge is not None and judge.missing():
        raise SystemExit(f"make_models.py: {judge.missing()}; or --without-vectors")
    weights_file = os.path.join(HERE, "digits", "weights.npy")
    if args.train:
        os.makedirs(os.path.dirname(weights_file), exist_ok=True)
        images, labels, _, _ = train_digits.load_split()
        train_digits.save_weights(weights_file, train_digits.train(images, labels))
    weights = train_digits.load_weights(weights_file)
    if args.check:
        return check(weights, judge)
    make(args.out, weights, judge)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
