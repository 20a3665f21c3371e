"""Inner products of all updates with each other, (n, d) float32 -> (n, n) float64: distances without differences.

``|u_i - u_j|^2 = G_ii + G_jj - 2 G_ij``

Twice. :func:`gram` is fast: float32 BLAS over ``SUB`` coordinates, partial sums added in float64 in a fixed order. Its
last bits depend on the BLAS kernel, so it comes with a bound of its error and serves as a filter.
:func:`exact_gram` has the same bits on every machine: each ``EXACT`` coordinates of a row are scaled by a power of two
to integers below 2^22, so a float64 product of 512 of them stays within 2^53 and no kernel can round it. What
:func:`gram` cannot decide, it decides.

Costs n^2 d multiplications, a third to a half more where the exact one is needed for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.parallel import in_order
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.updates import GRID, Updates

Matrix = NDArray[np.float64]
Places = NDArray[np.intp]

SUB = 256
"""Coordinates whose products are added in float32. More are faster, by a sixth at most, and less exact."""

STACKED_BYTES = 2 << 20
"""Products that are added at once: fewer calls, and still in a processor's caches. Of 500 updates, two."""

EXACT = 512
EXACT_BITS = 22
"""2 * 22 + log2(512) = 53."""

UNIT = 2.0**-24
"""Largest relative error of one float32 operation."""

GAMMA = 1.01 * (SUB + 2) * UNIT
"""Error of a float32 inner product of ``SUB`` terms in any order, fused or not, over the product of norms."""

QUANTUM = 1.01 * EXACT**0.5 * 2.0**-EXACT_BITS
"""Largest norm of what rounding to integers changes, over the norm of the row: half of a last place, at most 2^-22 of
the largest of 512 coordinates, in each of them."""

TINY = 2.0**-126
"""Where float32 products underflow, each may be off by this."""


@dataclass(frozen=True, slots=True)
class Distances:
    """Squared distances float64 (n, n), and how far those of :func:`exact_gram` may be from them at most."""

    squared: Matrix
    error: Matrix


def gram(updates: Updates, screen: Screen) -> Matrix:
    """Inner products float64 (n, n); the screen is told the diagonal."""
    total = np.zeros((updates.n, updates.n))

    def part(place: tuple[int, int]) -> list[Matrix]:
        block = updates.block(*place)
        with np.errstate(over="ignore", invalid="ignore"):
            return [_panel(block[:, i : i + GRID]) for i in range(0, block.shape[1], GRID)]

    for panels in in_order(part, updates.blocks(), updates.workers):
        for panel in panels:
            screen.add(np.diagonal(panel)[None])
            total += panel
    return total


def _panel(block: NDArray[np.float32]) -> Matrix:
    """Inner products over at most ``GRID`` coordinates, float32 (n, b) -> (n, n)."""
    n, b = block.shape
    total = np.zeros((n, n))
    width = SUB * max(1, min(GRID // SUB, STACKED_BYTES // (4 * n * n)))
    for start in range(0, b // SUB * SUB, width):
        some = block[:, start : min(start + width, b // SUB * SUB)]
        parts = some.reshape(n, -1, SUB).swapaxes(0, 1)
        total += np.add.reduce(parts @ parts.swapaxes(1, 2), axis=0, dtype=np.float64)
    if b % SUB:
        rest = block[:, b // SUB * SUB :]
        total += rest @ rest.T
    return total


def distances(products: Matrix, d: int) -> Distances:
    """From :func:`gram`, for updates of d coordinates."""
    squares = np.diagonal(products).copy()
    lengths = np.sqrt(np.maximum(squares, 0.0) * (1.0 + 2.0 * GAMMA)) + d * TINY
    reach = lengths[:, None] + lengths
    squared = squares[:, None] + squares - 2.0 * products
    error = GAMMA * reach**2 + 4.0 * d * TINY
    change = QUANTUM * reach
    apart = np.sqrt(np.maximum(squared + error, 0.0))
    error += change * (2.0 * apart + change)
    return Distances(squared, error)


def exact_distances(updates: Updates, rows: list[int]) -> Matrix:
    """Squared distances of some updates from all, float64 (len(rows), n): equal updates have equal distances."""
    return exact_between(updates, rows, list(range(updates.n)))


def exact_between(updates: Updates, rows: list[int], others: list[int]) -> Matrix:
    """Squared distances of some updates from others, float64 (len(rows), len(others)); no others are read."""
    union = sorted({*rows, *others})
    if 2 * len(rows) * len(others) > len(union) ** 2:  # all with all cost half: the product is symmetric
        products, squares = exact_gram(updates, union, union)
        products = products[np.ix_(np.searchsorted(union, rows), np.searchsorted(union, others))]
    else:
        products, squares = exact_gram(updates, rows, others)
    return squares[rows][:, None] + squares[others] - 2.0 * products


def exact_gram(updates: Updates, rows: list[int], others: list[int]) -> tuple[Matrix, NDArray[np.float64]]:
    """Inner products of some updates with others, float64 (len(rows), len(others)), and squares (n,) of those.

    The same on any machine. Squares of what is in neither list are 0.
    """
    union = sorted({*rows, *others})
    left, right = np.searchsorted(union, rows), np.searchsorted(union, others)
    products, squares = np.zeros((len(rows), len(others))), np.zeros(updates.n)

    def part(place: tuple[int, int]) -> list[tuple[Matrix, NDArray[np.float64]]]:
        if updates.source is None:
            block = updates.keep(union).block(*place)
        else:
            block = updates.block(*place) if len(union) == updates.n else updates.block(*place)[union]
        return [_exact_panel(block[:, i : i + GRID], left, right) for i in range(0, block.shape[1], GRID)]

    for panels in in_order(part, updates.blocks(), updates.workers):
        for some, diagonal in panels:
            products += some
            squares[union] += diagonal
    return products, squares


def _exact_panel(block: NDArray[np.float32], left: Places, right: Places) -> tuple[Matrix, NDArray[np.float64]]:
    m = len(block)
    products, squares = np.zeros((len(left), len(right))), np.zeros(m)
    for integers, unit in _integers(block):
        # The very same array twice: BLAS then makes half of a symmetric product.
        some = (integers if len(left) == m else integers[left]) @ (integers if len(right) == m else integers[right]).T
        some *= unit[left][:, None]
        some *= unit[right]
        products += some
        squares += np.einsum("ij,ij->i", integers, integers) * unit * unit
    return products, squares


def _integers(block: NDArray[np.float32]) -> Iterator[tuple[Matrix, NDArray[np.float64]]]:
    """Yield rows of at most ``EXACT`` integers of magnitude at most 2^22 (n, b), and the unit of each row (n,)."""
    for start in range(0, block.shape[1], EXACT):
        some = block[:, start : start + EXACT]
        exponent = EXACT_BITS - np.frexp(np.maximum(some.max(axis=1), -some.min(axis=1)))[1]
        integers = np.multiply(some, np.ldexp(1.0, exponent)[:, None], dtype=np.float64)
        yield np.rint(integers, out=integers), np.ldexp(1.0, -exponent)
