#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Networks of the size that people use, with random weights: too large for git, made on demand.

    large_networks.py NETWORK -o FILE.onnx [--size 224] [--form qdq]

run_conformance.py takes the file like any other. Shapes, strides and operator counts are those of the published
networks; the ranges come from one random image.
"""

import argparse
import os
import sys

import numpy as np
import onnx  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "models"))

from example_networks import Random  # noqa: E402
from gates import GatedNetwork  # noqa: E402
from network import Network  # noqa: E402
from transformer import Transformer  # noqa: E402

SIX = (0.0, 6.0)
# expansion, channels, repetitions, stride of the first
MOBILENET_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                (6, 320, 1, 1))

# kernel, expanded channels, channels, squeeze and excite, hard swish (else Relu), stride
MOBILENET_V3_LARGE = (
    (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1))
# expansion, channels, repetitions, kernel, stride of the first
EFFICIENTNET_B0 = ((1, 16, 1, 3, 1), (6, 24, 2, 3, 2), (6, 40, 2, 5, 2), (6, 80, 3, 3, 2), (6, 112, 3, 5, 1),
                   (6, 192, 4, 5, 2), (6, 320, 1, 3, 1))


def head(r, net, x):
    r.dense(net, net.flatten(net.global_average_pool(x)), 1000)


def mobilenet_v2(size):
    r, net = Random(2), Network("mobilenet_v2", (1, 3, size, size))
    same = (1, 1, 1, 1)
    x = r.conv(net, 0, 32, 3, strides=(2, 2), pads=same, activation=SIX)
    for expansion, channels, repetitions, stride in MOBILENET_V2:
        for i in range(repetitions):
            before, step = x, stride if i == 0 else 1
            wide = net.shapes[x][1] * expansion
            if expansion > 1:
                x = r.conv(net, x, wide, 1, activation=SIX)
            x = r.conv(net, x, wide, 3, strides=(step, step), pads=same, group=wide, activation=SIX)
            x = r.conv(net, x, channels, 1)
            if step == 1 and net.shapes[before] == net.shapes[x]:
                x = net.add(x, before)
    head(r, net, r.conv(net, x, 1280, 1, activation=SIX))
    return net


def resnet(name, size, blocks, bottleneck):
    r, net = Random(len(name)), Network(name, (1, 3, size, size))
    x = r.conv(net, 0, 64, 7, strides=(2, 2), pads=(3, 3, 3, 3), activation="relu")
    x = net.max_pool(x, (3, 3), (2, 2), (1, 1, 1, 1))
    same = (1, 1, 1, 1)
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for i in range(count):
            step = 2 if i == 0 and stage > 0 else 1
            before = x
            if bottleneck:
                x = r.conv(net, x, width, 1, activation="relu")
                x = r.conv(net, x, width, 3, strides=(step, step), pads=same, activation="relu")
                x = r.conv(net, x, 4 * width, 1)
            else:
                x = r.conv(net, x, width, 3, strides=(step, step), pads=same, activation="relu")
                x = r.conv(net, x, width, 3, pads=same)
            if net.shapes[before] != net.shapes[x]:
                before = r.conv(net, before, net.shapes[x][1], 1, strides=(step, step))
            x = net.add(x, before, activation="relu")
    head(r, net, x)
    return net


def mobilenet_v1(size):
    r, net = Random(1), Network("mobilenet_v1", (1, 3, size, size))
    same = (1, 1, 1, 1)
    x = r.conv(net, 0, 32, 3, strides=(2, 2), pads=same, activation="relu")
    for channels, step in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
                           (512, 1), (512, 1), (1024, 2), (1024, 1)):
        wide = net.shapes[x][1]
        x = r.conv(net, x, wide, 3, strides=(step, step), pads=same, group=wide, activation="relu")
        x = r.conv(net, x, channels, 1, activation="relu")
    head(r, net, x)
    return net


def squeeze_excite(r, net, x, squeezed, gate):
    y = r.conv(net, net.global_average_pool(x), squeezed, 1, activation="relu")
    return net.multiply(x, gate(r.conv(net, y, net.shapes[x][1], 1)))


def mobilenet_v3(size):
    """The large one."""
    r, net = Random(3), GatedNetwork("mobilenet_v3", (1, 3, size, size))

    def conv(x, channels, kernel, hard, **options):
        y = r.conv(net, x, channels, kernel, pads=(kernel // 2,) * 4, activation=None if hard else "relu", **options)
        return net.hard_swish(y) if hard else y

    x = conv(0, 16, 3, True, strides=(2, 2))
    for kernel, wide, channels, excite, hard, step in MOBILENET_V3_LARGE:
        y = x if wide == net.shapes[x][1] else conv(x, wide, 1, hard)
        y = conv(y, wide, kernel, hard, strides=(step, step), group=wide)
        if excite:
            y = squeeze_excite(r, net, y, max(8, (wide // 4 + 4) // 8 * 8), net.hard_sigmoid)
        y = r.conv(net, y, channels, 1)
        x = net.add(y, x) if net.shapes[x] == net.shapes[y] else y
    x = net.hard_swish(r.conv(net, net.global_average_pool(conv(x, 960, 1, True)), 1280, 1))
    r.dense(net, net.flatten(x), 1000)
    return net


def efficientnet_b0(size):
    r, net = Random(4), GatedNetwork("efficientnet_b0", (1, 3, size, size))

    def conv(x, channels, kernel, **options):
        return net.silu(r.conv(net, x, channels, kernel, pads=(kernel // 2,) * 4, **options))

    x = conv(0, 32, 3, strides=(2, 2))
    for expansion, channels, repetitions, kernel, stride in EFFICIENTNET_B0:
        for i in range(repetitions):
            narrow, step = net.shapes[x][1], stride if i == 0 else 1
            wide = narrow * expansion
            y = conv(x, wide, 1) if expansion > 1 else x
            y = conv(y, wide, kernel, strides=(step, step), group=wide)
            y = squeeze_excite(r, net, y, narrow // 4, net.sigmoid)
            y = r.conv(net, y, channels, 1)
            x = net.add(y, x) if net.shapes[x] == net.shapes[y] else y
    head(r, net, conv(x, 1280, 1))
    return net


def yolov5n(size):
    """Up to the three maps of boxes and classes."""
    r, net = Random(5), GatedNetwork("yolov5n", (1, 3, size, size))

    def conv(x, channels, kernel=1, step=1):
        return net.silu(r.conv(net, x, channels, kernel, strides=(step, step), pads=(kernel // 2,) * 4))

    def c3(x, channels, repetitions, add):
        y = conv(x, channels // 2)
        for _ in range(repetitions):
            z = conv(conv(y, channels // 2), channels // 2, 3)
            y = net.add(z, y) if add else z
        return conv(net.concat([y, conv(x, channels // 2)]), channels)

    def pool(x):
        return net.max_pool(x, (5, 5), (1, 1), (2, 2, 2, 2))

    x = net.silu(r.conv(net, 0, 16, 6, strides=(2, 2), pads=(2, 2, 2, 2)))
    levels = []
    for channels, repetitions in ((32, 1), (64, 2), (128, 3), (256, 1)):
        x = c3(conv(x, channels, 3, 2), channels, repetitions, True)
        levels.append(x)
    pools = [conv(x, 128)]
    for _ in range(3):
        pools.append(pool(pools[-1]))
    deep = conv(conv(net.concat(pools), 256), 128)
    middle = conv(c3(net.concat([net.upsample(deep), levels[2]]), 128, 1, False), 64)
    fine = c3(net.concat([net.upsample(middle), levels[1]]), 64, 1, False)
    medium = c3(net.concat([conv(fine, 64, 3, 2), middle]), 128, 1, False)
    coarse = c3(net.concat([conv(medium, 128, 3, 2), deep]), 256, 1, False)
    net.further_outputs = [r.conv(net, level, 3 * 85, 1) for level in (fine, medium)]
    r.conv(net, coarse, 3 * 85, 1)
    return net


def densenet121(size):
    """What a block joins has one quantization, as TFLite and PyTorch have it; so what the Relu before the first block
    bounds is joined by a table. BatchNormalization behind what is joined is a convolution of each channel."""
    r, net = Random(121), GatedNetwork("densenet121", (1, 3, size, size))

    def normalized(x):
        channels = net.shapes[x][1]
        return r.conv(net, x, channels, 1, group=channels, activation="relu")

    x = r.conv(net, 0, 64, 7, strides=(2, 2), pads=(3, 3, 3, 3), activation="relu")
    x = net.max_pool(x, (3, 3), (2, 2), (1, 1, 1, 1))
    for block, count in enumerate((6, 12, 24, 16)):
        parts, joined = [x], x
        alike = [x] if block > 0 else []
        for _ in range(count):
            y = r.conv(net, normalized(joined), 128, 1, activation="relu")
            parts.append(r.conv(net, y, 32, 3, pads=(1, 1, 1, 1)))
            joined = net.concat(parts)
            alike += [parts[-1], joined]
        net.ranges.update({layer: joined for layer in alike})
        x = normalized(joined)
        if block < 3:
            x = net.average_pool(r.conv(net, x, net.shapes[x][1] // 2, 1))
    head(r, net, x)
    return net


def resnet8():
    """MLPerf Tiny's image classifier: 32 x 32, three stages of one block each."""
    r, net = Random(8), Network("resnet8", (1, 3, 32, 32))
    same = (1, 1, 1, 1)
    x = r.conv(net, 0, 16, 3, pads=same, activation="relu")
    for channels, step in ((16, 1), (32, 2), (64, 2)):
        y = r.conv(net, x, channels, 3, strides=(step, step), pads=same, activation="relu")
        y = r.conv(net, y, channels, 3, pads=same)
        if step > 1:
            x = r.conv(net, x, channels, 1, strides=(step, step))
        x = net.add(y, x, activation="relu")
    r.dense(net, net.flatten(net.global_average_pool(x)), 10)
    return net


def ds_cnn():
    """MLPerf Tiny's keyword spotter: 49 x 10 features, four depthwise separable layers of 64 channels."""
    r, net = Random(64), Network("ds_cnn", (1, 1, 49, 10))
    x = net.conv(0, r.weights(64, 1, 10, 4), r.bias(64), strides=(2, 2), pads=(5, 1, 4, 1), activation="relu")
    for _ in range(4):
        x = r.conv(net, x, 64, 3, pads=(1, 1, 1, 1), group=64, activation="relu")
        x = r.conv(net, x, 64, 1, activation="relu")
    r.dense(net, net.flatten(net.global_average_pool(x)), 12)
    return net


def bert_layer(tokens):
    """One encoder layer of BERT-base."""
    net = Transformer("bert_layer", (1, tokens, 768))
    net.encoder_layer(np.random.default_rng(768), 0, heads=12, wide=3072)
    return net


NETWORKS = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
    "efficientnet_b0": efficientnet_b0,
    "yolov5n": yolov5n,
    "densenet121": densenet121,
    "resnet18": lambda size: resnet("resnet18", size, (2, 2, 2, 2), False),
    "resnet50": lambda size: resnet("resnet50", size, (3, 4, 6, 3), True),
    "resnet8": lambda _: resnet8(),
    "ds_cnn": lambda _: ds_cnn(),
    "bert_layer": bert_layer,
}


def make(name, size, path, form="qdq", batch=""):
    """`batch` is the name of a symbolic first dimension; without it the network is for one image."""
    net = NETWORKS[name](size)
    image = Random(7).rng.standard_normal(net.input_shape)
    net.quantized(net.calibrate(image), form).save(path)
    if batch:
        model = onnx.load(path)
        del model.graph.value_info[:]
        for value in [*model.graph.input, *model.graph.output]:
            value.type.tensor_type.shape.dim[0].dim_param = batch
        onnx.save(model, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--size", type=int, default=224, help="height and width of the image; tokens")
    parser.add_argument("--form", choices=("qdq", "qoperator"), default="qdq")
    args = parser.parse_args()
    make(args.network, args.size, args.output, args.form)


if __name__ == "__main__":
    main()
