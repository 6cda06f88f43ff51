# SPDX-License-Identifier: MIT
"""Bodies of the networks that people run, small but with the published topology: how operators meet, and in which
order tensors are kept. Each takes a random_ops.Model and returns its outputs.
"""


def _image(m, channels, size):
    return m.input((1, channels, size, size))


def _conv(m, x, channels, kernel=1, stride=1, group=1):
    pad = kernel // 2
    return m.window_conv(x, channels, kernel, stride, (pad,) * 4, group)


def _act(m, x, channels, kernel=1, stride=1):
    """Convolution and SiLU, as YOLOv5 has it."""
    return m.silu(_conv(m, x, channels, kernel, stride))


def _bottleneck(m, x, channels, add):
    y = _act(m, _act(m, x, channels), channels, 3)
    return m.add(y, x) if add else y


def _csp(m, x, channels, add=True):
    """YOLOv5's C3: two ways, joined."""
    half = channels // 2
    a = _bottleneck(m, _act(m, x, half), half, add)
    return _act(m, m.concat([a, _act(m, x, half)]), channels)


def yolov5(m):
    """Focus, C3, SPP, upsampling necks, two heads with their boxes rearranged."""
    x = _image(m, 3, 32)
    parts = [m.slice(x, (0, 0, i, j), (1, 3, 32, 32), (1, 1, 2, 2)) for j in (0, 1) for i in (0, 1)]
    x = _act(m, m.concat(parts), 8, 3)
    fine = _csp(m, _act(m, x, 16, 3, 2), 16)
    x = _act(m, fine, 24, 3, 2)
    y = _act(m, x, 12)
    pools = [m.window_max_pool(y, k) for k in (5, 9, 13)]
    x = _act(m, m.concat([y] + pools), 24)
    top = _act(m, _csp(m, x, 24, add=False), 16)
    x = _csp(m, m.concat([m.upsample(top), fine]), 16, add=False)
    coarse = _csp(m, m.concat([_act(m, x, 16, 3, 2), top]), 24, add=False)
    return [_boxes(m, _conv(m, level, 2 * 7), 2) for level in (x, coarse)]


def _boxes(m, x, anchors):
    n, c, h, w = x.shape
    y = m.transpose(m.reshape(x, (n, anchors, c // anchors, h, w)), (0, 1, 3, 4, 2))
    return m.sigmoid(y)


def yolov3_tiny(m):
    """LeakyRelu, pools down to one of stride 1 with a pad in front of it, upsampling, two heads."""
    x = _image(m, 3, 32)
    route = None
    for i, channels in enumerate((8, 12, 16, 24)):
        x = m.leaky_relu(_conv(m, x, channels, 3))
        route = x if i == 2 else route
        if i < 3:
            x = m.max_pool_of(x, (2, 2), (2, 2))
    # The framework's "same": one row and column more at the end.
    x = m.max_pool_of(m.pad(x, (0, 0, 0, 0, 0, 0, 1, 1), "edge"), (2, 2), (1, 1))
    x = m.leaky_relu(_conv(m, x, 32, 3))
    low = m.leaky_relu(_conv(m, x, 16))
    first = _conv(m, m.leaky_relu(_conv(m, low, 32, 3)), 14)
    up = m.upsample(m.leaky_relu(_conv(m, low, 8)))
    second = _conv(m, m.leaky_relu(_conv(m, m.concat([up, route]), 16, 3)), 14)
    return [first, second]


def ssd_mobilenet(m):
    """Depthwise separable layers, extra ones that shrink, and for each size boxes and classes, all joined."""
    x = _conv(m, _image(m, 3, 32), 8, 3, 2)
    levels = []
    for channels, stride in ((16, 1), (24, 2), (32, 2)):
        wide = x.shape[1]
        x = _conv(m, _conv(m, x, wide, 3, stride, wide), channels)
        if channels >= 24:
            levels.append(x)
    levels.append(_conv(m, _conv(m, x, 12), 24, 3, 2))
    outputs = []
    for per_anchor in (4, 6):
        rows = []
        for level in levels:
            y = m.transpose(_conv(m, level, 3 * per_anchor, 3), (0, 2, 3, 1))
            rows.append(m.reshape(y, (1, y.shape[1] * y.shape[2] * 3, per_anchor)))
        outputs.append(m.concat(rows, 1))
    return [outputs[0], m.sigmoid(outputs[1])]


def _squeeze_excite(m, x, hard):
    y = _conv(m, m.global_average_pool(x), max(4, x.shape[1] // 4))
    y = _conv(m, y, x.shape[1])
    return m.multiply(x, m.function(y, "HardSigmoid") if hard else m.sigmoid(y))


def mobilenet_v3(m):
    """Expand, depthwise 5 x 5, squeeze and excite with its hard gate, hard swish, project, add; the head."""
    x = m.hard_swish(_conv(m, _image(m, 3, 28), 8, 3, 2))
    for channels, wide, kernel, stride in ((8, 24, 3, 1), (16, 32, 5, 2)):
        y = m.hard_swish(_conv(m, x, wide))
        y = m.hard_swish(_conv(m, y, wide, kernel, stride, wide))
        y = _conv(m, _squeeze_excite(m, y, True), channels)
        x = m.add(y, x) if y.shape == x.shape else y
    x = m.hard_swish(_conv(m, m.global_average_pool(m.hard_swish(_conv(m, x, 40))), 48))
    return [_conv(m, x, 10)]


def efficientnet(m):
    """MBConv with SiLU and squeeze and excite."""
    x = m.silu(_conv(m, _image(m, 3, 28), 8, 3, 2))
    for channels, expansion, kernel, stride in ((8, 1, 3, 1), (12, 4, 3, 2), (12, 4, 5, 1)):
        wide = x.shape[1] * expansion
        y = m.silu(_conv(m, x, wide)) if expansion > 1 else x
        y = m.silu(_conv(m, y, wide, kernel, stride, wide))
        y = _conv(m, _squeeze_excite(m, y, False), channels)
        x = m.add(y, x) if y.shape == x.shape else y
    x = m.global_average_pool(m.silu(_conv(m, x, 48)))
    return [m.gemm(m.flatten(x), 10)]


def efficientnet_lite(m):
    """Without either: pads as TensorFlow has them, on one side."""
    x = _image(m, 3, 28)
    x = m.window_conv(m.pad(x, (0, 0, 0, 0, 0, 0, 1, 1), "constant"), 8, 3, 2, (0, 0, 0, 0), 1)
    for channels, stride in ((8, 1), (12, 2), (12, 1)):
        wide = x.shape[1] * 4
        y = _conv(m, x, wide)
        if stride == 2:
            y = m.window_conv(m.pad(y, (0, 0, 0, 0, 0, 0, 1, 1), "constant"), wide, 3, 2, (0, 0, 0, 0), wide)
        else:
            y = _conv(m, y, wide, 3, 1, wide)
        y = _conv(m, y, channels)
        x = m.add(y, x) if y.shape == x.shape else y
    return [m.gemm(m.flatten(m.global_average_pool(x)), 10)]


def squeezenet(m):
    """Fire modules, pools that round up, the head as a convolution."""
    x = m.max_pool_of(_conv(m, _image(m, 3, 29), 16, 3, 2), (3, 3), (2, 2), ceil_mode=True)
    for squeeze, expand in ((4, 8), (6, 12)):
        y = _conv(m, x, squeeze)
        x = m.concat([_conv(m, y, expand), _conv(m, y, expand, 3)])
        x = m.max_pool_of(x, (3, 3), (2, 2), ceil_mode=True)
    return [m.flatten(m.global_average_pool(_conv(m, x, 10)))]


def shufflenet_v2(m):
    """Half of the channels stay, the other half is convolved; joined and shuffled."""
    x = m.max_pool_of(_conv(m, _image(m, 3, 32), 8, 3, 2), (3, 3), (2, 2), (1, 1, 1, 1))
    n, c, h, w = x.shape
    left = _conv(m, _conv(m, x, c, 3, 2, c), 8)
    right = _conv(m, _conv(m, _conv(m, x, 8), 8, 3, 2, 8), 8)
    x = m.shuffle(m.concat([left, right]))
    for _ in range(2):
        n, c, h, w = x.shape
        left = m.slice(x, (0, 0, 0, 0), (n, c // 2, h, w))
        right = m.slice(x, (0, c // 2, 0, 0), (n, c, h, w))
        right = _conv(m, _conv(m, _conv(m, right, c // 2), c // 2, 3, 1, c // 2), c // 2)
        x = m.shuffle(m.concat([left, right]))
    return [m.gemm(m.flatten(m.global_average_pool(x)), 10)]


BODIES = {
    "yolov5": yolov5,
    "yolov3-tiny": yolov3_tiny,
    "ssd-mobilenet": ssd_mobilenet,
    "mobilenet v3": mobilenet_v3,
    "efficientnet": efficientnet,
    "efficientnet-lite": efficientnet_lite,
    "squeezenet": squeezenet,
    "shufflenet v2": shufflenet_v2,
}
