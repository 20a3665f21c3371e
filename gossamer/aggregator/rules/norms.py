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

from gossamer.aggregator.rules.parallel import in_order
from gossamer.aggregator.rules.updates import GRID, Updates

SUB_BLOCK = 1 << 12
"""Coordinates of one partial sum. A constant of the format: changing it changes model digests."""

READ_COORDINATES = SUB_BLOCK << 4
"""Read at once; any multiple of SUB_BLOCK gives the same bits."""

FLOAT32_SUMS = 128
"""Sums that are still float32 in :func:`tree_rows`: adding two of a few is as exact as they are."""


def tree_sums(values: NDArray[np.float64]) -> list[float]:
    """Sums of consecutive SUB_BLOCKs of float64 (b,); the last is padded with zeros, which add exactly."""
    short = -len(values) % SUB_BLOCK
    padded = np.pad(values, (0, short)) if short else values
    tree = padded.reshape(-1, SUB_BLOCK)
    while tree.shape[1] > 1:
        half = tree.shape[1] // 2
        tree = tree[:, :half] + tree[:, half:]
    return [float(total) for total in tree[:, 0]]


def sub_squares(values: NDArray[np.floating]) -> list[float]:
    """Sums of squares of consecutive SUB_BLOCKs of (b,)."""
    x = values.astype(np.float64, copy=False)
    return tree_sums(x * x)


def add_squares(total: float, values: NDArray[np.floating]) -> float:
    """``total`` plus the squares of ``values`` (b,), which must begin at a multiple of SUB_BLOCK."""
    for partial in sub_squares(values):
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


def block_squares(block: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sums of squares of every ``GRID`` coordinates of rows float32 (n, b): float64 (ceil(b / GRID), n).

    By BLAS in float32: what screening and reports need. The last bits depend on the machine, so no aggregate may.
    """
    n, b = block.shape
    whole = b // GRID * GRID
    parts = block[:, :whole].reshape(n, -1, 1, GRID)
    rest = block[:, whole:].reshape(n, 1, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        out = [np.matmul(parts, parts.swapaxes(2, 3))[:, :, 0, 0].T.astype(np.float64)]
        if rest.shape[2]:
            out.append(np.matmul(rest, rest.swapaxes(1, 2))[:, 0, :].T.astype(np.float64))
    return np.concatenate(out)


def tree_rows(values: NDArray[np.float32], width: int) -> NDArray[np.float64]:
    """Sums of at most ``width`` (a power of two) coordinates of rows float32 (n, b): float64 (n,), portable."""
    short = width - values.shape[1]
    tree: NDArray[np.floating] = np.pad(values, ((0, 0), (0, short))) if short else values
    while tree.shape[1] > 1:
        half = tree.shape[1] // 2
        tree = tree[:, :half] + tree[:, half:]
        if half == FLOAT32_SUMS:
            tree = tree.astype(np.float64)
    out: NDArray[np.float64] = tree[:, 0].astype(np.float64)
    return out


def exact_norms(updates: Updates, centre: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Norms of the updates, or their distances from ``centre`` float64 (d,): float64 (n,), bits as `norm_of`."""

    def squares(start: int) -> list[list[float]]:
        stop = min(start + READ_COORDINATES, updates.d)
        base = 0.0 if centre is None else centre[start:stop]
        return [sub_squares(x - base) for x in updates.rows(start, stop)]

    return np.sqrt(_ordered_totals(updates, squares))


def _ordered_totals(updates: Updates, parts: Callable[[int], list[list[float]]]) -> NDArray[np.float64]:
    """Sums (n,) of the numbers that ``parts(start)`` gives of each update, in ascending order of coordinates."""
    totals = [0.0] * updates.n
    for partial in in_order(parts, range(0, updates.d, READ_COORDINATES), updates.workers):
        for row, sums in enumerate(partial):
            for each in sums:
                totals[row] += each
    return np.array(totals)


def exact_products(updates: Updates, root: int) -> NDArray[np.float64]:
    """Inner products of all updates with one, float64 (n,), summed as norms are."""

    def products(start: int) -> list[list[float]]:
        stop = min(start + READ_COORDINATES, updates.d)
        base = updates.read(root, start, stop).astype(np.float64)
        return [tree_sums(x * base) for x in updates.rows(start, stop)]

    return _ordered_totals(updates, products)
