"""Updates that look like a training's, made from a layout and a seed: what body sizes are measured on.

They are gradients: made-up examples of a few kinds go forward through a model of that layout with first weights, and
their errors back through it,

    update (rows, columns) = inputs (n, rows)^T  errors (n, columns) / n

A matrix reads what the one before it puts out, if its rows are that one's columns, once or several times over (as
after pooling); else it reads noise. So an update has few strong directions, and they lie to the weights of its
neighbours as they do in training, which is what ``hist`` lives on. A convolution is taken for a dense layer of its
matrix. Inputs of a grid with declared axes are smooth along them. Only lengths of encoded bytes are taken from these
updates, and the share of their energy that a codec keeps; never an accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gossamer.compression.arrays import Vector
from gossamer.compression.context import Context
from gossamer.compression.lattice import to_lattice
from gossamer.compression.layout import Layout
from gossamer.compression.shared import SharedModel

EXAMPLES = 64
"""Rank of an update at most: the batches of a fit hardly add directions beyond this."""
KINDS = 10
"""Classes, or what else examples have in common: those of a kind look alike."""
LIKENESS = 0.8
"""Part of an example that is its kind's."""
STEP = np.float32(0.25)
"""Learning rate times the steps of a fit, as long as they agree: what real first rounds came to. It matters for the
lossless codec, whose deltas are integers."""
SMOOTHING = 5
"""Neighbouring sensors averaged along an axis that reads alike."""

Matrix = npt.NDArray[np.float32]


class UpdateMaker:
    """Updates of one model. ``update(number)`` is the same for the same layout, seed and number."""

    def __init__(self, layout: Layout, seed: int) -> None:
        self.layout = layout
        self._seed = seed

    def update(self, number: int) -> Vector:
        """float32 (d,)."""
        rng = np.random.default_rng([self._seed, number])
        matrices = [i for i, (_, shape) in enumerate(self.layout.entries) if len(shape) > 1 and math.prod(shape) > 0]
        weights = [self._weights[i].reshape(-1, self._weights[i].shape[-1]) for i in matrices]
        grids = dict(self.layout.axes)
        sides = [grids.get(self.layout.entries[i][0], ()) for i in matrices]
        inputs = _forward(rng, weights, sides)
        errors = _backward(rng, weights, inputs)
        gradients = {i: (x.T @ e).reshape(-1) for i, x, e in zip(matrices, inputs, errors, strict=True)}
        parts: list[Matrix] = []
        behind = np.zeros((EXAMPLES, 0), dtype=np.float32)  # errors of the last matrix: a bias behind it sums them
        for position, (_, shape) in enumerate(self.layout.entries):
            size = math.prod(shape)
            if position in gradients:
                behind = errors[matrices.index(position)]
                parts.append(gradients[position])
            else:
                own = behind if behind.shape[1] == size else rng.standard_normal((EXAMPLES, size))
                parts.append(own.sum(axis=0).astype(np.float32))
        whole: Vector = STEP / np.float32(EXAMPLES) * np.concatenate(parts).astype(np.float32)
        return whole

    @cached_property
    def first_model(self) -> SharedModel:
        """Version 0 of such a model, with history."""
        return SharedModel.first(self.layout, to_lattice(self.layout.flatten(self._weights)), 1 << 10)

    @property
    def context(self) -> Context:
        """What encoder and decoder of an update know."""
        return self.first_model.context(upward=True)

    @cached_property
    def _weights(self) -> list[Matrix]:
        """Matrices uniform in +-sqrt(6 / rows), vectors zero."""
        rng = np.random.default_rng([self._seed, 1 << 30])
        arrays = []
        for _, shape in self.layout.entries:
            limit = math.sqrt(6 / max(1, math.prod(shape[:-1]))) if len(shape) > 1 else 0.0
            arrays.append((rng.uniform(-1, 1, shape) * limit).astype(np.float32))
        return arrays


def _forward(rng: np.random.Generator, weights: Sequence[Matrix], sides: Sequence[tuple[int, ...]]) -> list[Matrix]:
    """What each matrix reads: (EXAMPLES, rows)."""
    inputs: list[Matrix] = []
    for i, matrix in enumerate(weights):
        rows = len(matrix)
        if i and rows % weights[i - 1].shape[1] == 0:
            out = np.maximum(inputs[-1] @ weights[i - 1], 0)
            inputs.append(np.tile(out, rows // out.shape[1]))
        else:
            inputs.append(_examples(rng, rows, sides[i]))
    return inputs


def _backward(rng: np.random.Generator, weights: Sequence[Matrix], inputs: Sequence[Matrix]) -> list[Matrix]:
    """What flows back to each matrix's outputs: (EXAMPLES, columns)."""
    errors: list[Matrix] = []
    for i in range(len(weights) - 1, -1, -1):
        columns = weights[i].shape[1]
        if i + 1 < len(weights) and len(weights[i + 1]) % columns == 0:
            back = (errors[-1] @ weights[i + 1].T) * (inputs[i + 1] > 0)
            errors.append(back.reshape(EXAMPLES, -1, columns).sum(axis=1))
        elif i + 1 == len(weights):
            errors.append(_misjudged(inputs[i] @ weights[i]))
        else:
            errors.append(rng.laplace(size=(EXAMPLES, columns)).astype(np.float32))
    return errors[::-1]


def _misjudged(outputs: Matrix) -> Matrix:
    """Gradient of the cross-entropy, each kind of examples being a class of its own as far as there are classes."""
    columns = outputs.shape[1]
    if columns == 1:
        return outputs - np.where(np.arange(EXAMPLES) % 2, 1, -1)[:, None].astype(np.float32)
    e = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    gradient: Matrix = e / e.sum(axis=1, keepdims=True)
    gradient[np.arange(EXAMPLES), np.arange(EXAMPLES) % min(KINDS, columns)] -= 1
    return gradient


def _examples(rng: np.random.Generator, rows: int, sides: tuple[int, ...]) -> Matrix:
    """(EXAMPLES, rows) of unit variance: kinds, and what differs within them."""
    kinds = rng.standard_normal((KINDS, rows))[np.arange(EXAMPLES) % KINDS]
    x = np.sqrt(LIKENESS) * kinds + np.sqrt(1 - LIKENESS) * rng.standard_normal((EXAMPLES, rows))
    if sides:
        grid = x.reshape(EXAMPLES, *(abs(side) for side in sides))
        for axis, side in enumerate(sides, start=1):
            if side > 1:
                grid = np.mean([np.roll(grid, shift, axis) for shift in range(SMOOTHING)], axis=0)
        x = grid.reshape(EXAMPLES, rows) / max(float(grid.std()), 1e-9)
    made: Matrix = x.astype(np.float32)
    return made
