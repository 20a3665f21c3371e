"""Euclidean norms with the same bits for any block size, machine and thread count.

A float sum depends on its order, so the order is fixed here: squares of ``SUB_BLOCK`` coordinates are
added by halving (a binary tree of elementwise adds, the same on every CPU, which ``np.sum`` does not
promise), and the partial sums are added in ascending order of coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SUB_BLOCK = 1 << 12
"""Coordinates of one partial sum. A constant of the format: changing it changes model digests."""

READ_COORDINATES = SUB_BLOCK << 4
"""Read at once; any multiple of SUB_BLOCK gives the same bits."""


def tree_sums(values: NDArray[np.float64]) -> list[float]:
    """Sums of consecutive SUB_BLOCKs of float64 (b,); the last is padded with zeros, which add exactly."""
    padded = np.zeros(-(-len(values) // SUB_BLOCK) * SUB_BLOCK)
    padded[: len(values)] = values
    tree = padded.reshape(-1, SUB_BLOCK)
    while tree.shape[1] > 1:
        half = tree.shape[1] // 2
        tree = tree[:, :half] + tree[:, half:]
    return [float(total) for total in tree[:, 0]]


def add_squares(total: float, values: NDArray[np.floating]) -> float:
    """``total`` plus the squares of ``values`` (b,), which must begin at a multiple of SUB_BLOCK."""
    x = values.astype(np.float64)
    for partial in tree_sums(x * x):
        total += partial
    return total


def norm_of(read: Callable[[int, int], NDArray[np.floating]], d: int) -> float:
    """Euclidean norm of the d coordinates that ``read(start, stop)`` gives, in float64."""
    total = 0.0
    for start in range(0, d, READ_COORDINATES):
        total = add_squares(total, read(start, min(start + READ_COORDINATES, d)))
    return math.sqrt(total)


def vector_norm(vector: NDArray[np.floating]) -> float:
    """Euclidean norm of a vector (d,) in memory.

    >>> import numpy as np
    >>> vector_norm(np.array([3.0, 4.0]))
    5.0
    """
    return norm_of(lambda start, stop: vector[start:stop], len(vector))
