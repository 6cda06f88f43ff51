# SPDX-License-Identifier: MIT
"""The whole networks: digits, the tutorials' MLPs and CNNs, a residual and an inverted residual block."""

import numpy as np

from network import Network
from quantized_graph import Quant


def digits(weights):
    net = Network("digits", (1, 1, 8, 8), "image", "logits")
    x = net.conv(0, weights["conv1_w"], weights["conv1_b"], pads=(1, 1, 1, 1), activation="relu")
    x = net.conv(x, weights["conv2_w"], weights["conv2_b"], pads=(1, 1, 1, 1), activation="relu")
    x = net.flatten(net.max_pool(x))
    x = net.dense(x, weights["dense1_w"], weights["dense1_b"], activation="relu")
    net.dense(x, weights["dense2_w"], weights["dense2_b"])
    return net


def digits_input(dtype):
    """A pixel of 0..16 is its own stored value."""
    return Quant(1 / 16, 0, dtype)


class Random:
    """He-initialised weights from a fixed seed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def weights(self, *shape):
        return self.rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))

    def bias(self, n):
        return self.rng.standard_normal(n) * 0.1

    def conv(self, net, x, oc, kernel, **options):
        ic = net.shapes[x][1] // options.get("group", 1)
        return net.conv(x, self.weights(oc, ic, kernel, kernel), self.bias(oc), **options)

    def dense(self, net, x, n, **options):
        return net.dense(x, self.weights(n, net.shapes[x][1]), self.bias(n), **options)

    def images(self, count, shape):
        return self.rng.random((count,) + shape[1:])


def mlp_2_64_64_1():
    r, net = Random(264641), Network("mlp_2_64_64_1", (1, 2))
    x = r.dense(net, 0, 64, activation="relu")
    x = r.dense(net, x, 64, activation="relu")
    net.sigmoid(r.dense(net, x, 1))
    return net, r.rng.uniform(-1, 1, (256, 2))


def mlp_784_128_64_10():
    r, net = Random(7841), Network("mlp_784_128_64_10", (1, 784))
    x = r.dense(net, 0, 128, activation="relu")
    x = r.dense(net, x, 64, activation="relu")
    r.dense(net, x, 10)
    return net, r.images(64, (1, 784))


def cnn_conv32_pool_dense():
    r, net = Random(32), Network("cnn_conv32_pool_dense", (1, 1, 28, 28))
    x = net.max_pool(r.conv(net, 0, 32, 3, activation="relu"))
    r.dense(net, net.flatten(x), 10)
    return net, r.images(32, (1, 1, 28, 28))


def cnn_conv32_pool_conv64_pool_dense64_dense10():
    r, net = Random(3264), Network("cnn_conv32_pool_conv64_pool_dense64_dense10", (1, 1, 28, 28))
    x = net.max_pool(r.conv(net, 0, 32, 3, activation="relu"))
    x = net.max_pool(r.conv(net, x, 64, 3, activation="relu"))
    x = r.dense(net, net.flatten(x), 64, activation="relu")
    r.dense(net, x, 10)
    return net, r.images(32, (1, 1, 28, 28))


def resnet_block():
    """A strided residual block with a projection, an identity block, the classifier's head."""
    r, net = Random(50), Network("resnet_block", (1, 16, 12, 12))
    same = (1, 1, 1, 1)
    x = r.conv(net, 0, 24, 3, strides=(2, 2), pads=same, activation="relu")
    x = r.conv(net, x, 24, 3, pads=same)
    shortcut = r.conv(net, 0, 24, 1, strides=(2, 2))
    x = net.add(x, shortcut, activation="relu")
    y = r.conv(net, x, 12, 1, activation="relu")
    y = r.conv(net, y, 12, 3, pads=same, activation="relu")
    y = r.conv(net, y, 24, 1)
    x = net.add(y, x, activation="relu")
    r.dense(net, net.flatten(net.global_average_pool(x)), 10)
    return net, r.rng.standard_normal((16, 16, 12, 12))


def inverted_residual_block():
    """MobileNetV2's: expand, depthwise, project, add; then one with stride 2."""
    r, net = Random(1802), Network("inverted_residual_block", (1, 8, 14, 14))
    six = (0.0, 6.0)
    x = r.conv(net, 0, 48, 1, activation=six)
    x = r.conv(net, x, 48, 3, pads=(1, 1, 1, 1), group=48, activation=six)
    x = net.add(r.conv(net, x, 8, 1), 0)
    x = r.conv(net, x, 48, 1, activation=six)
    x = r.conv(net, x, 48, 3, strides=(2, 2), pads=(0, 0, 1, 1), group=48, activation=six)
    r.conv(net, x, 16, 1)
    return net, r.rng.standard_normal((16, 8, 14, 14))


TUTORIALS = (mlp_2_64_64_1, mlp_784_128_64_10, cnn_conv32_pool_dense, cnn_conv32_pool_conv64_pool_dense64_dense10)
BLOCKS = (resnet_block, inverted_residual_block)
