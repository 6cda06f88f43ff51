# SPDX-License-Identifier: MIT
"""Trains the digits CNN in NumPy: conv16 - conv32 - pool - dense64 - dense10 on 8x8 images."""

import numpy as np

HELD_OUT = 450
EPOCHS = 30
BATCH = 32
LEARNING_RATE = 0.002
SEED = 20

SHAPES = {"conv1": (16, 1, 3, 3), "conv2": (32, 16, 3, 3), "dense1": (64, 512), "dense2": (10, 64)}


def load_split():
    """(train images, train labels, held-out images, held-out labels); images: uint8 0..16, [n, 1, 8, 8].
    Every class gives its share to the held-out set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = digits.target.astype(np.uint8)
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(labels))
    held_out = []
    for digit in range(10):
        mine = order[labels[order] == digit]
        held_out.extend(mine[:HELD_OUT // 10])
    held_out = np.sort(np.array(held_out))
    train = np.setdiff1d(np.arange(len(labels)), held_out)
    return images[train], labels[train], images[held_out], labels[held_out]


def _columns(x):
    """[n*h*w, c*9] of the 3x3 windows of [n, h, w, c], zero padded."""
    n, h, w, c = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # n, h, w, c, 3, 3
    return np.ascontiguousarray(view).reshape(n * h * w, c * 9)


def _columns_gradient(g, shape):
    n, h, w, c = shape
    g = g.reshape(n, h, w, c, 3, 3)
    padded = np.zeros((n, h + 2, w + 2, c), g.dtype)
    for i in range(3):
        for j in range(3):
            padded[:, i:i + h, j:j + w] += g[..., i, j]
    return padded[:, 1:-1, 1:-1]


class _Model:
    def __init__(self, rng):
        self.p = {}
        for name, shape in SHAPES.items():
            fan_in = int(np.prod(shape[1:]))
            self.p[name + "_w"] = (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
            self.p[name + "_b"] = np.zeros(shape[0], np.float32)

    def step(self, x, labels):
        """Loss and gradients of softmax cross entropy."""
        p, n = self.p, len(x)
        x = x.transpose(0, 2, 3, 1)
        col1 = _columns(x)
        a1 = np.maximum(col1 @ p["conv1_w"].reshape(16, -1).T + p["conv1_b"], 0).reshape(n, 8, 8, 16)
        col2 = _columns(a1)
        a2 = np.maximum(col2 @ p["conv2_w"].reshape(32, -1).T + p["conv2_b"], 0).reshape(n, 4, 2, 4, 2, 32)
        pooled = a2.max(axis=(2, 4))
        flat = pooled.transpose(0, 3, 1, 2).reshape(n, 512)
        a3 = np.maximum(flat @ p["dense1_w"].T + p["dense1_b"], 0)
        logits = a3 @ p["dense2_w"].T + p["dense2_b"]
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        prob = e / e.sum(axis=1, keepdims=True)
        loss = -np.log(prob[np.arange(n), labels]).mean()

        g = {}
        d = prob
        d[np.arange(n), labels] -= 1
        d /= n
        g["dense2_w"], g["dense2_b"] = d.T @ a3, d.sum(axis=0)
        d = (d @ p["dense2_w"]) * (a3 > 0)
        g["dense1_w"], g["dense1_b"] = d.T @ flat, d.sum(axis=0)
        d = (d @ p["dense1_w"]).reshape(n, 32, 4, 4).transpose(0, 2, 3, 1)
        winner = (a2 == pooled[:, :, None, :, None]) & (a2 > 0)
        d = (winner * d[:, :, None, :, None]).reshape(-1, 32)
        g["conv2_w"], g["conv2_b"] = (d.T @ col2).reshape(SHAPES["conv2"]), d.sum(axis=0)
        d = _columns_gradient(d @ p["conv2_w"].reshape(32, -1), a1.shape)
        d = (d * (a1 > 0)).reshape(-1, 16)
        g["conv1_w"], g["conv1_b"] = (d.T @ col1).reshape(SHAPES["conv1"]), d.sum(axis=0)
        return loss, g


def train(images, labels, log=print):
    """Weights by name, rounded to float16, which is how they are kept."""
    rng = np.random.default_rng(SEED)
    model = _Model(rng)
    x = images.astype(np.float32) / 16
    first = {k: np.zeros_like(v) for k, v in model.p.items()}
    second = {k: np.zeros_like(v) for k, v in model.p.items()}
    t = 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        total = 0.0
        for at in range(0, len(x), BATCH):
            chosen = order[at:at + BATCH]
            loss, gradients = model.step(x[chosen], labels[chosen])
            total += loss * len(chosen)
            t += 1
            for k, g in gradients.items():  # Adam
                first[k] += 0.1 * (g - first[k])
                second[k] += 0.001 * (g * g - second[k])
                model.p[k] -= (rate * (first[k] / (1 - 0.9**t)) /
                               (np.sqrt(second[k] / (1 - 0.999**t)) + 1e-8)).astype(np.float32)
        log(f"epoch {epoch + 1:2}: loss {total / len(x):.4f}")
    return {k: v.astype(np.float16) for k, v in model.p.items()}


def save_weights(path, weights):
    """One float16 vector, in the order of SHAPES, weights before biases."""
    parts = [weights[f"{name}_{kind}"].ravel() for name in SHAPES for kind in ("w", "b")]
    np.save(path, np.concatenate(parts).astype(np.float16))


def load_weights(path):
    flat = np.load(path).astype(np.float64)
    weights, at = {}, 0
    for name, shape in SHAPES.items():
        for kind, part in (("w", shape), ("b", shape[:1])):
            size = int(np.prod(part))
            weights[f"{name}_{kind}"] = flat[at:at + size].reshape(part)
            at += size
    if at != flat.size:
        raise ValueError(f"{path}: {flat.size} values where {at} are expected")
    return weights
