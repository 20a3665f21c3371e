"""What is known of a layer's next change before it has changed: positive semidefinite operators on its rows.

Weights that read neighbouring sensors change alike, so along a sensor axis a change is smooth; weights that read
another layer's outputs change in that layer's own directions. Applied to integer columns of at most 2^14, all
are exact as `exact` defines it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gossamer.compression.exact import Matrix, Product, by_diagonal, iterate, p2

PRIOR_BITS = 12
"""Entries of a prior: a diagonal of 2^12. Next to the few per cent that a prior weighs, 12 bits are plenty."""

SMOOTHNESS = 8
"""Binomial order k of the kernel C(2k, k+i) / C(2k, k): a Gaussian of variance k/2, so a width of 2 samples."""

SMOOTH_ROWS = 128
"""Directions kept of rows with a smooth axis: what is left out is rough, and rough changes are noise."""

_ONE = float(1 << PRIOR_BITS)
_FLOOR = 4.0  # of 2^12, so that directions the layer before has not moved in stay possible
_AXIS_ROUNDS = 8  # of orthogonal iteration on one axis; more do not change the leading quarter


@dataclass(frozen=True)
class Prior:
    """An operator P (m, m), its trace, and columns (m, c) that span its range, most likely first."""

    product: Product
    trace: float
    columns: Matrix


def identity_prior(m: int) -> Prior:
    """Nothing is known: 2^12 I."""
    return Prior(lambda q: q * _ONE, m * _ONE, np.eye(m))


def chained_prior(before: Matrix, positions: int) -> Prior:
    """I (x) B + 4 I for rows that repeat the outputs of the layer before: B (c, c) -> P over positions * c rows.

    B is positive semidefinite, integer. Exact for c <= 2048 columns of at most 2^14: sums below 2^(11+12+14) = 2^37.
    """
    c = before.shape[0]
    known = p2(before, PRIOR_BITS) + _FLOOR * np.eye(c)

    def product(q: Matrix) -> Matrix:
        return np.asarray(known @ q.reshape(positions, c, -1)).reshape(q.shape)

    columns: Matrix = np.kron(np.eye(positions), known).astype(np.float64)
    return Prior(product, positions * float(np.trace(known)), np.ascontiguousarray(columns[:, by_diagonal(columns)]))


def smooth_prior(grid: tuple[int, ...], count: int) -> Prior:
    """Rows that lie on a grid: a Gaussian-like kernel along every axis of positive length; P over prod|grid| rows.

    A negative length is an axis of channels, where neighbours have nothing in common. The kernel is separable:
    one small product for each axis, rounded back by 2^-12. Along an axis of length n the sums are at most n 2^12
    times the columns' entries, so after all axes below m 2^(12+14) <= 2^37. Its eigenvectors are products of the
    axes' own; ``columns`` holds the leading ``count`` of them.
    """
    sides = tuple(abs(n) for n in grid)
    kernels = [smooth_kernel(n) if n > 0 else np.eye(-n) * _ONE for n in grid]

    def product(q: Matrix) -> Matrix:
        spread = q.reshape(*sides, -1)
        for axis, kernel in enumerate(kernels):
            if grid[axis] > 1:
                spread = np.rint(_along(kernel, spread, axis) / _ONE)
        return spread.reshape(q.shape)

    axes = [_axis_modes(n) for n in grid]
    weight = axes[0][0]
    for other, _ in axes[1:]:
        weight = np.multiply.outer(weight, other)
    leading = np.argsort(-weight.reshape(-1), kind="stable")[:count]
    columns = np.ones((1, len(leading)))
    for (_, modes), at in zip(axes, np.unravel_index(leading, sides), strict=True):
        columns = p2(columns[:, None, :] * modes[None, :, at], 20).reshape(-1, len(leading))
    return Prior(product, float(math.prod(sides)), columns)  # the diagonal is 1 after the rounding


def _along(kernel: Matrix, x: Matrix, axis: int) -> Matrix:
    """The symmetric kernel (n, n) applied to one axis of x."""
    inner = math.prod(x.shape[axis + 1 :])
    return np.asarray(kernel @ x.reshape(-1, kernel.shape[0], inner)).reshape(x.shape)


@lru_cache(maxsize=32)
def smooth_kernel(n: int) -> Matrix:
    """K (n, n), K[i, j] = 2^12 C(2k, k + |i - j|) / C(2k, k) rounded down; read-only.

    In the limit of many samples its spectrum is cos^2k(w / 2): positive and falling, as a smoothness prior must be.
    """
    k = SMOOTHNESS
    table = np.zeros(max(n, k + 1))
    table[: k + 1] = [(math.comb(2 * k, k + i) << PRIOR_BITS) // math.comb(2 * k, k) for i in range(k + 1)]
    at = np.arange(n)
    kernel: Matrix = table[np.abs(at[:, None] - at[None, :])]
    kernel.flags.writeable = False
    return kernel


@lru_cache(maxsize=32)
def _axis_modes(n: int) -> tuple[Matrix, Matrix]:
    """Eigenvalues (|n|,) in units of 2^-12 and eigenvectors (|n|, |n|) of one axis; read-only."""
    side = abs(n)
    start = p2(np.eye(side), 14)
    if n < 0:
        return np.full(side, _ONE), start
    kernel = smooth_kernel(n)
    modes = iterate(lambda q: np.asarray(kernel @ q), start, _AXIS_ROUNDS, np.eye(side))
    # Rayleigh quotients. |K Q| < n 2^26, so a product of K Q / 2^12 with Q summed over n is below n^2 2^28.
    values = (np.rint(kernel @ modes / _ONE) * modes).sum(axis=0) / (modes * modes).sum(axis=0)
    modes.flags.writeable = values.flags.writeable = False
    return values, modes
