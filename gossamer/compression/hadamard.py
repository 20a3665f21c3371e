"""A seeded random rotation of blocks of any length n, by Hadamard transforms without padding.

One pass flips signs at random and applies the orthonormal Hadamard transform H / sqrt(m) to a window of m
coordinates, m the largest power of two not above n. Windows over the first and the last m coordinates
overlap, so not one bit is spent on padding: for n = 3,300 padding to 4,096 would cost 24 %. Both windows
come twice, because after a single pass the coordinates of a sparse block take only a few different values,
and quantising them is biased (x = (1, 1/2, 0, ...) would come back as a multiple of (1, 0, ...)). Between
the rounds the coordinates are dealt out in turn, even ones first: where the overlap is small, energy would
otherwise stay in its own half, and a quantiser for n equal variances would draw the halves together (14 %
of ||x|| were measured at n = 1000). n = m needs one window and no dealing.

Only additions, subtractions and products of float32, element by element in a fixed order: the same bits
on every machine, which a matrix product does not promise.
"""

from __future__ import annotations

import numpy as np

from gossamer.compression.arrays import Vector
from gossamer.compression.draws import mix, signs


def hadamard(columns: Vector) -> Vector:
    """H of each column, unnormalised: float32 (m, r) -> (m, r), m a power of two.

    H_1 = [1], H_2m = [[H_m, H_m], [H_m, -H_m]]: log2(m) passes of sums and differences.
    """
    m, r = columns.shape
    half = 1
    while half < m:
        pairs = columns.reshape(m // (2 * half), 2, half, r)
        # Blocks lie in columns so that the innermost run is contiguous even where half is 1.
        out = np.empty_like(pairs)
        np.add(pairs[:, 0], pairs[:, 1], out=out[:, 0])
        np.subtract(pairs[:, 0], pairs[:, 1], out=out[:, 1])
        columns = out.reshape(m, r)
        half *= 2
    return columns


def _windows(n: int) -> tuple[int, list[int]]:
    """Window length m, and where the window of each pass starts."""
    m = 1 << (n.bit_length() - 1)
    return m, [0, 0] if m == n else [0, n - m, 0, n - m]


_DEAL_BEFORE = 2
"""The pass before which the coordinates of a block that is no power of two are dealt out."""


def rotate(rows: Vector, salt: int, first: int) -> Vector:
    """R of each row: float32 (r, n), blocks numbered from ``first`` -> float32 (r, n); n >= 1."""
    m, starts = _windows(rows.shape[1])
    norm = np.float32(1 / np.sqrt(m))
    columns = rows.T.copy()  # also of one row, whose transpose is contiguous already
    for number, start in enumerate(starts):
        if number == _DEAL_BEFORE:
            columns = np.concatenate([columns[0::2], columns[1::2]])
        flips = signs(_key(salt, number), first, rows.shape[0], m)
        columns[start : start + m] = hadamard(columns[start : start + m] * flips) * norm
    return np.ascontiguousarray(columns.T)


def unrotate(rows: Vector, salt: int, first: int) -> Vector:
    """R^-1 = R^T of each row, as `rotate`."""
    n = rows.shape[1]
    m, starts = _windows(n)
    norm = np.float32(1 / np.sqrt(m))
    columns = rows.T.copy()  # also of one row, whose transpose is contiguous already
    for number, start in reversed(list(enumerate(starts))):
        flips = signs(_key(salt, number), first, rows.shape[0], m)
        columns[start : start + m] = hadamard(columns[start : start + m]) * norm * flips
        if number == _DEAL_BEFORE:
            dealt, columns = columns, np.empty_like(columns)
            columns[0::2], columns[1::2] = dealt[: (n + 1) // 2], dealt[(n + 1) // 2 :]
    return np.ascontiguousarray(columns.T)


def _key(salt: int, number: int) -> int:
    return mix(salt * 8 + number + 1)
