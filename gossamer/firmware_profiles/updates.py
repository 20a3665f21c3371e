"""Updates that look like a training's, made from a layout and a seed: what body sizes are measured on.

The gradient of a dense layer is a sum of products of its inputs and of what flows back to its outputs,

    update (rows, columns) = inputs (n, rows)^T  errors (n, columns) / n

so it has few strong directions, whole rows and columns that hardly move, and heavy tails. Inputs of a grid with
declared axes are smooth along them; those behind another layer are rectified, so some rows are exactly zero. Only
lengths of encoded bytes are taken from these updates, and the share of their energy that a codec keeps; never an
accuracy.
"""

from __future__ import annotations

import math
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
STEP = np.float32(0.01)
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
        axes = dict(self.layout.axes)
        parts: list[Matrix] = []
        errors = np.zeros((EXAMPLES, 1), dtype=np.float32)
        for position, (name, shape) in enumerate(self.layout.entries):
            size = math.prod(shape)
            if len(shape) < 2:  # a bias sums the errors of the matrix before it
                own = errors if errors.shape[1] == size else _errors(rng, size)
                parts.append(own.mean(axis=0))
                continue
            rows = math.prod(shape[:-1])
            inputs = _inputs(rng, rows, axes.get(name, ()), first=position == 0)
            errors = _errors(rng, shape[-1])
            parts.append((inputs.T @ errors / np.float32(EXAMPLES)).reshape(-1))
        whole: Vector = STEP * np.concatenate([part.reshape(-1) for part in parts]).astype(np.float32)
        return whole

    @cached_property
    def first_model(self) -> SharedModel:
        """Version 0 of such a model, with history: matrices uniform in +-sqrt(6 / rows), vectors zero."""
        rng = np.random.default_rng([self._seed, 1 << 30])
        arrays = []
        for _, shape in self.layout.entries:
            limit = math.sqrt(6 / max(1, math.prod(shape[:-1]))) if len(shape) > 1 else 0.0
            arrays.append((rng.uniform(-1, 1, shape) * limit).astype(np.float32))
        return SharedModel.first(self.layout, to_lattice(self.layout.flatten(arrays)), 1 << 10)

    @property
    def context(self) -> Context:
        """What encoder and decoder of an update know."""
        return self.first_model.context(upward=True)


def _inputs(rng: np.random.Generator, rows: int, sides: tuple[int, ...], *, first: bool) -> Matrix:
    """(EXAMPLES, rows): what a layer reads."""
    x = rng.standard_normal((EXAMPLES, rows)).astype(np.float32)
    if sides:
        grid = x.reshape(EXAMPLES, *(abs(side) for side in sides))
        for axis, side in enumerate(sides, start=1):
            if side > 1:
                grid = np.mean([np.roll(grid, shift, axis) for shift in range(SMOOTHING)], axis=0, dtype=np.float32)
        x = grid.reshape(EXAMPLES, rows)
    strength = np.exp(rng.standard_normal(rows)).astype(np.float32)
    return x * strength if first else np.maximum(x - np.float32(0.5), 0) * strength


def _errors(rng: np.random.Generator, columns: int) -> Matrix:
    """(EXAMPLES, columns): what flows back; most examples are learned already, a few are not."""
    weight = np.exp(1.5 * rng.standard_normal((EXAMPLES, 1)))
    return (weight * rng.laplace(size=(EXAMPLES, columns))).astype(np.float32)
