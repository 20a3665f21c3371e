"""The demo's two models in numpy, with gradients by hand; all arithmetic float32.

Their first weights come from integer random bits, multiplications and square roots, which IEEE 754 fixes to
the bit: x86 and ARM start from the same model, so version 0 never has to travel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.agent.trainer import Array, Weights

PREDICT_BATCH = 256  # examples at a time in predict: bounds the memory of evaluation to a few megabytes


def uniform_weights(shapes: list[tuple[int, ...]], seed: int) -> Weights:
    """Matrices uniform in +-sqrt(6 / rows) (He 2015, for ReLU), vectors zero.

    A matrix is (inputs, outputs). ``random`` divides 24 random bits by 2^24, exactly.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    weights: Weights = []
    for shape in shapes:
        if len(shape) == 1:
            weights.append(np.zeros(shape, dtype=np.float32))
            continue
        limit = np.sqrt(np.float32(6) / np.float32(shape[0]))
        weights.append((rng.random(shape, dtype=np.float32) * np.float32(2) - np.float32(1)) * limit)
    return weights


def softmax_loss(logits: Array, y: Array) -> tuple[float, Array]:
    """Mean cross-entropy and its gradient (n, classes) by the logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    loss = float(np.mean(np.log(total[:, 0]) - shifted[rows, y]))
    gradient = e / total
    gradient[rows, y] -= np.float32(1)
    return loss, gradient / np.float32(len(y))


class Classifier:
    """What both models share: class = position of the largest logit."""

    def logits(self, weights: Weights, x: Array) -> Array:
        """(n, ...) -> (n, classes)."""
        raise NotImplementedError

    def predict(self, weights: Weights, x: Array) -> Array:
        """(n, ...) -> (n,) int64."""
        parts = [x[i : i + PREDICT_BATCH] for i in range(0, len(x), PREDICT_BATCH)]
        return np.asarray(np.concatenate([self.logits(weights, part).argmax(axis=1) for part in parts]))


@dataclass(frozen=True)
class Conv1d:
    """Valid 1-D convolution as one matrix product over unfolded windows (im2col)."""

    taps: int
    stride: int

    def unfold(self, x: Array) -> Array:
        """(n, t, c) -> (n, t', taps * c)."""
        n, t, c = x.shape
        steps = (t - self.taps) // self.stride + 1
        s0, s1, s2 = x.strides
        view = np.lib.stride_tricks.as_strided(
            x, (n, steps, self.taps, c), (s0, s1 * self.stride, s1, s2), writeable=False
        )
        return np.asarray(view.reshape(n, steps, self.taps * c))

    def fold(self, columns: Array, t: int) -> Array:
        """Adjoint of :meth:`unfold`: (n, t', taps * c) -> (n, t, c), overlaps added."""
        n, steps, width = columns.shape
        c = width // self.taps
        out = np.zeros((n, t, c), dtype=columns.dtype)
        for tap in range(self.taps):
            stop = tap + self.stride * (steps - 1) + 1
            out[:, tap : stop : self.stride] += columns[:, :, tap * c : (tap + 1) * c]
        return out


class WatchCNN(Classifier):
    """Two convolutions with ReLU; mean and maximum over time; dense: (n, 100, 6) -> 7 classes.

    The mean says how much of a motion there is, the maximum how clear it gets; either alone is 1 to 3 points
    worse.
    """

    conv1 = Conv1d(taps=5, stride=2)
    conv2 = Conv1d(taps=5, stride=2)

    def __init__(self, axes: int = 6, channels1: int = 24, channels2: int = 19, classes: int = 7) -> None:
        self.axes = {0: (self.conv1.taps, -axes)}  # the first array's inputs: taps in time, and sensors side by side
        self.shapes: list[tuple[int, ...]] = [
            (self.conv1.taps * axes, channels1),
            (channels1,),
            (self.conv2.taps * channels1, channels2),
            (channels2,),
            (2 * channels2, classes),
            (classes,),
        ]

    def init(self, seed: int) -> Weights:
        """See :func:`uniform_weights`."""
        return uniform_weights(self.shapes, seed)

    def logits(self, weights: Weights, x: Array) -> Array:
        """(n, 100, 6) -> (n, 7)."""
        return self._forward(weights, x)[-1]

    def _forward(self, weights: Weights, x: Array) -> tuple[Array, ...]:
        w1, b1, w2, b2, w3, b3 = weights
        columns1 = self.conv1.unfold(x)
        a1 = np.maximum(columns1 @ w1 + b1, 0)
        columns2 = self.conv2.unfold(a1)
        a2 = np.maximum(columns2 @ w2 + b2, 0)
        pooled = np.concatenate([a2.mean(axis=1), a2.max(axis=1)], axis=1)
        return columns1, a1, columns2, a2, pooled, pooled @ w3 + b3

    def loss_and_gradients(self, weights: Weights, x: Array, y: Array) -> tuple[float, Weights]:
        """Mean cross-entropy of the batch and its gradients."""
        _, _, w2, _, w3, _ = weights
        columns1, a1, columns2, a2, pooled, logits = self._forward(weights, x)
        loss, d_logits = softmax_loss(logits, y)
        d2 = unpool(d_logits @ w3.T, a2) * (a2 > 0)
        d1 = self.conv2.fold(d2 @ w2.T, a1.shape[1]) * (a1 > 0)
        return loss, [
            *dense_gradient(columns1, d1),
            *dense_gradient(columns2, d2),
            *dense_gradient(pooled, d_logits),
        ]


def unpool(d_pooled: Array, activations: Array) -> Array:
    """Gradient of (mean, maximum) over time: (n, 2 c) and (n, t, c) -> (n, t, c); of equals the first counts."""
    _, t, c = activations.shape
    gradient = np.repeat(d_pooled[:, None, :c] / np.float32(t), t, axis=1)
    where = activations.argmax(axis=1)[:, None, :]
    at_maximum = np.take_along_axis(gradient, where, axis=1) + d_pooled[:, None, c:]
    np.put_along_axis(gradient, where, at_maximum, axis=1)
    return gradient


class MLP(Classifier):
    """Dense, ReLU, dense: the digits' model."""

    def __init__(self, inputs: int = 64, hidden: int = 64, classes: int = 10) -> None:
        self.shapes: list[tuple[int, ...]] = [(inputs, hidden), (hidden,), (hidden, classes), (classes,)]

    def init(self, seed: int) -> Weights:
        """See :func:`uniform_weights`."""
        return uniform_weights(self.shapes, seed)

    def logits(self, weights: Weights, x: Array) -> Array:
        """(n, inputs) -> (n, classes)."""
        w1, b1, w2, b2 = weights
        return np.asarray(np.maximum(x @ w1 + b1, 0) @ w2 + b2)

    def loss_and_gradients(self, weights: Weights, x: Array, y: Array) -> tuple[float, Weights]:
        """Mean cross-entropy of the batch and its gradients."""
        w1, b1, w2, b2 = weights
        a1 = np.maximum(x @ w1 + b1, 0)
        loss, d_logits = softmax_loss(a1 @ w2 + b2, y)
        d1 = (d_logits @ w2.T) * (a1 > 0)
        return loss, [*dense_gradient(x, d1), *dense_gradient(a1, d_logits)]


def dense_gradient(inputs: Array, d_outputs: Array) -> tuple[Array, Array]:
    """Gradients of weight (in, out) and bias (out,) of inputs @ weight + bias, over all leading axes."""
    flat_in = inputs.reshape(-1, inputs.shape[-1])
    flat_out = d_outputs.reshape(-1, d_outputs.shape[-1])
    return flat_in.T @ flat_out, flat_out.sum(axis=0)
