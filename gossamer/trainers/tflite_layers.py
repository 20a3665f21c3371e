"""Layers whose gradients convert to TFLite's builtin operations, for `gossamer.trainers.make_tflite`. Needs tensorflow.

TensorFlow's own gradients of relu, convolution, slices and broadcast addition become operations that the small
runtimes do not have (Flex: ReluGrad, Conv2DBackpropFilter, StridedSliceGrad, BroadcastGradientArgs). So each layer
here has its gradient by hand, in matrix products, additions, padding and comparisons:

* bias and product are one step, the bias's gradient a sum over rows;
* relu's mask is a comparison;
* a convolution over time unfolds its windows (strided slices side by side) and is one matrix product; back, each
  tap is spread by zeros, shifted and added;
* softmax and cross-entropy are one step, whose gradient is (p - y) / n.

A layer maps a tensor (n, ...) to a tensor; n may be unknown when the graph is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

from gossamer.errors import InputError

Tensor = Any
Shape = tuple[int, ...]


@tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
    """(n, a), (a, b), (b,) -> (n, b)."""

    def gradient(g: Tensor) -> tuple[Tensor, ...]:
        return tf.matmul(g, weight, transpose_b=True), tf.matmul(x, g, transpose_a=True), tf.reduce_sum(g, 0)

    return tf.matmul(x, weight) + bias, gradient


@tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
def relu(x: Tensor) -> Any:
    """Largest of x and 0."""
    return tf.maximum(x, 0.0), lambda g: g * tf.cast(x > 0, tf.float32)


@tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
def mean_and_maximum(x: Tensor) -> Any:
    """(n, t, c) -> (n, 2 c): mean and maximum over time; equals share the maximum's gradient."""
    steps, channels = x.shape[1], x.shape[2]
    top = tf.reduce_max(x, axis=1, keepdims=True)

    def gradient(g: Tensor) -> Tensor:
        mean, high = (tf.expand_dims(part, 1) for part in (g[:, :channels], g[:, channels:]))
        at = tf.cast(tf.equal(x, top), tf.float32)
        return mean * (1.0 / steps) + at * (high / tf.reduce_sum(at, axis=1, keepdims=True))

    return tf.concat([tf.reduce_mean(x, axis=1), top[:, 0]], axis=1), gradient


@tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
def cross_entropy(logits: Tensor, y: Tensor) -> Any:
    """(n, classes) and one-hot (n, classes) -> mean cross-entropy, a scalar."""
    shifted = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
    e = tf.exp(shifted)
    total = tf.reduce_sum(e, axis=-1, keepdims=True)
    loss = -tf.reduce_mean(tf.reduce_sum(y * (shifted - tf.math.log(total)), axis=-1))

    def gradient(g: Tensor) -> tuple[Tensor, None]:
        return g * (e / total - y) / tf.cast(tf.shape(y)[0], tf.float32), None

    return loss, gradient


@tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
def squared_error(outputs: Tensor, y: Tensor) -> Any:
    """Two tensors (n, k) -> mean squared difference, a scalar."""
    apart = outputs - y
    count = tf.cast(tf.size(outputs), tf.float32)

    def gradient(g: Tensor) -> tuple[Tensor, None]:
        return g * (2.0 * apart / count), None

    return tf.reduce_sum(apart * apart) / count, gradient


def unfold(x: Tensor, taps: int, stride: int) -> Tensor:
    """(n, t, c) -> (n, t', taps * c), row i the samples from i * stride on."""
    length, channels = x.shape[1], x.shape[2]
    steps = (length - taps) // stride + 1

    @tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
    def unfolded(x: Tensor) -> Any:
        columns = [x[:, tap : tap + stride * (steps - 1) + 1 : stride, :] for tap in range(taps)]
        return tf.concat(columns, axis=2), lambda g: _folded(g, taps, stride, length, channels)

    return unfolded(x)


def _folded(g: Tensor, taps: int, stride: int, length: int, channels: int) -> Tensor:
    """The adjoint of `unfold`."""
    steps = g.shape[1]
    total = None
    for tap in range(taps):
        part = g[:, :, tap * channels : (tap + 1) * channels]
        spread = steps * stride
        if stride > 1:
            zeros = [[0, 0], [0, 0], [0, stride - 1], [0, 0]]
            part = tf.reshape(tf.pad(tf.expand_dims(part, 2), zeros), (-1, spread, channels))
        behind = length - tap - spread
        part = part[:, : spread + behind] if behind < 0 else part  # only zeros of the last spread are cut
        part = tf.pad(part, [[0, 0], [tap, max(behind, 0)], [0, 0]])
        total = part if total is None else total + part
    return total


class Layer(Protocol):
    """One step of a network."""

    def shapes(self, incoming: Shape) -> dict[str, Shape]:
        """Names and shapes of its weights, for input of this shape without n."""
        ...

    def outgoing(self, incoming: Shape) -> Shape:
        """Shape of its output without n."""
        ...

    def apply(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """The step itself, without the relu behind it."""
        ...


@dataclass(frozen=True)
class Dense:
    """All inputs to ``units`` outputs."""

    units: int

    def shapes(self, incoming: Shape) -> dict[str, Shape]:
        """See `Layer`."""
        return {"weight": (_product(incoming), self.units), "bias": (self.units,)}

    def outgoing(self, incoming: Shape) -> Shape:  # noqa: ARG002 - a layer's form
        """See `Layer`."""
        return (self.units,)

    def apply(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """See `Layer`."""
        flat = x if len(x.shape) == 2 else tf.reshape(x, (-1, _product(tuple(x.shape[1:]))))
        return affine(flat, weights["weight"], weights["bias"])


@dataclass(frozen=True)
class Conv:
    """Convolution over time, without padding: (t, c) -> ((t - taps) // stride + 1, channels)."""

    channels: int
    taps: int
    stride: int = 1

    def shapes(self, incoming: Shape) -> dict[str, Shape]:
        """See `Layer`."""
        return {"weight": (self.taps * incoming[1], self.channels), "bias": (self.channels,)}

    def outgoing(self, incoming: Shape) -> Shape:
        """See `Layer`."""
        return ((incoming[0] - self.taps) // self.stride + 1, self.channels)

    def apply(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """See `Layer`."""
        columns = unfold(x, self.taps, self.stride)
        rows = tf.reshape(columns, (-1, self.taps * x.shape[2]))
        return tf.reshape(affine(rows, weights["weight"], weights["bias"]), (-1, columns.shape[1], self.channels))


@dataclass(frozen=True)
class Pool:
    """Mean and maximum over time: (t, c) -> (2 c,)."""

    def shapes(self, incoming: Shape) -> dict[str, Shape]:  # noqa: ARG002 - a layer's form
        """See `Layer`."""
        return {}

    def outgoing(self, incoming: Shape) -> Shape:
        """See `Layer`."""
        return (2 * incoming[1],)

    def apply(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:  # noqa: ARG002 - a layer's form
        """See `Layer`."""
        return mean_and_maximum(x)


@dataclass(frozen=True)
class Network:
    """What `make_tflite` makes a file of: named weights, and a function of them and a batch.

    ``forward(weights, x)`` maps a dict of tensors and x (n, ``*incoming``) to (n, ``outputs``); ``loss(outputs, y)`` to
    a scalar. One's own need gradients that convert: the functions of this module have them.
    """

    incoming: Shape
    outputs: int
    shapes: dict[str, Shape]
    forward: Callable[[dict[str, Tensor], Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy


def network(incoming: Shape, layers: list[Layer], loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy) -> Network:
    """The layers one after the other, a relu behind each that has weights but the last.

    Raises `InputError` where one's input is too short for the next.
    """
    shapes: dict[str, Shape] = {}
    shape = incoming
    for number, layer in enumerate(layers):
        shapes.update({f"layer{number}_{name}": each for name, each in layer.shapes(shape).items()})
        outgoing = layer.outgoing(shape)
        if min(outgoing) < 1:
            raise InputError(f"layer {number}: {layer} leaves nothing of an input of the shape {shape}")
        shape = outgoing
    if len(shape) != 1:
        raise InputError(f"the last layer gives the shape {shape}: expected one row of outputs; end with dense or pool")

    def forward(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        for number, layer in enumerate(layers):
            prefix = f"layer{number}_"
            own = {name.removeprefix(prefix): each for name, each in weights.items() if name.startswith(prefix)}
            x = layer.apply(x, own)
            if own and number < len(layers) - 1:
                x = relu(x)
        return x

    return Network(incoming, shape[0], shapes, forward, loss)


def _product(shape: Shape) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
