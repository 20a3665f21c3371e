"""Which arrays of a layout are the matrices of `basis`, and which of them follow one another.

An array of two axes (inputs, outputs) is a matrix; of more, as a convolution's (taps, channels, outputs), all but
the last are its rows. A vector right behind a matrix, as long as its rows, is its bias. Two matrices are linked
if the rows of the later repeat the columns of the earlier a whole number of times, as after a convolution, or
after pooling by mean and maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from gossamer.compression.exact import MAX_SIDE, Matrix
from gossamer.compression.layout import Layout
from gossamer.compression.priors import SMOOTH_ROWS

MAX_BASIS = 1024
"""Columns of U and of V: orthogonalising more takes longer than a round's training. Beyond it, or beyond
`exact.MAX_SIDE` rows, a matrix keeps its own coordinates."""

Kind = Literal["matrix", "bias", "plain"]


@dataclass(frozen=True)
class Place:
    """Where a matrix lies in the vector, and what is around it.

    Args:
        start: first coordinate of ``rows * columns``.
        rank: rows of its coefficients.
        grid: of its rows, if they are sensors; empty otherwise.
        before, after: the linked matrices, by their position among all places.
        last: no matrix comes after it.
    """

    kind: Kind
    start: int
    rows: int
    columns: int
    rank: int
    grid: tuple[int, ...] = ()
    before: int | None = None
    after: int | None = None
    last: bool = False

    def cut(self, vector: npt.NDArray[np.generic]) -> Matrix:
        """Its part of a vector (d,), float64 (rows, columns)."""
        part = vector[self.start : self.start + self.rows * self.columns]
        return part.reshape(self.rows, self.columns).astype(np.float64)


@lru_cache(maxsize=32)
def places_of(layout: Layout) -> tuple[Place, ...]:
    """One place for every array of the layout, in order."""
    shapes = [shape for _, shape in layout.entries]
    grids = [dict(layout.axes).get(name, ()) for name, _ in layout.entries]
    kinds = [_kind(shapes, grids, i) for i in range(len(shapes))]
    weights = [i for i, shape in enumerate(shapes) if _is_weight(shape)]  # also those that stay as they are
    places, start = [], 0
    for i, shape in enumerate(shapes):
        size = math.prod(shape)
        if kinds[i] == "matrix":
            m, n = _sides(shape)
            at = weights.index(i)
            before = weights[at - 1] if at else None
            after = weights[at + 1] if at + 1 < len(weights) else None
            if before is not None and (kinds[before] != "matrix" or m % _sides(shapes[before])[1]):
                before = None
            last = after is None
            if after is not None and (kinds[after] != "matrix" or _sides(shapes[after])[0] % n):
                after = None
            rank = min(m, SMOOTH_ROWS) if _smooth(grids[i]) else m
            places.append(Place("matrix", start, m, n, rank, grids[i], before, after, last))
        else:
            places.append(Place(kinds[i], start, 1, size, 1))
        start += size
    return tuple(places)


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    return math.prod(shape[:-1]), shape[-1]


def _is_weight(shape: tuple[int, ...]) -> bool:
    return len(shape) >= 2 and math.prod(shape) > 0


def _smooth(grid: tuple[int, ...]) -> bool:
    return any(side > 1 for side in grid)


def _kind(shapes: list[tuple[int, ...]], grids: list[tuple[int, ...]], i: int) -> Kind:
    shape = shapes[i]
    if _is_weight(shape):
        m, n = _sides(shape)
        most = MAX_SIDE if _smooth(grids[i]) else MAX_BASIS
        return "matrix" if m <= most and n <= MAX_BASIS else "plain"
    behind_matrix = i > 0 and _is_weight(shapes[i - 1]) and _kind(shapes, grids, i - 1) == "matrix"
    return "bias" if behind_matrix and shape == shapes[i - 1][-1:] else "plain"


@lru_cache(maxsize=8)
def context_groups(places: tuple[Place, ...]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Fine and coarse context of every coefficient, int32 (D,) each, numbered from 0 without gaps; read-only.

    Fine: matrix, floor(log2(row + 1)), floor(log2(column + 1)). Coarse: matrix, half the larger octave, at most 3.
    """
    fine, coarse = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, place in enumerate(places):
        r = np.arange(place.rank) if place.kind == "matrix" else np.zeros(place.rank)
        c = np.arange(place.columns) if place.kind != "plain" else np.zeros(place.columns)
        # frexp gives the bit length of an integer exactly.
        row, column = np.meshgrid(np.frexp(r + 1)[1] - 1, np.frexp(c + 1)[1] - 1, indexing="ij")
        fine.append(((number * 64 + row) * 64 + column).reshape(-1))
        coarse.append((number * 4 + np.minimum(np.maximum(row, column) // 2, 3)).reshape(-1))
    numbered = tuple(np.unique(np.concatenate(ids), return_inverse=True)[1].astype(np.int32) for ids in (fine, coarse))
    for ids in numbered:
        ids.flags.writeable = False
    return numbered[0], numbered[1]
