"""Coordinate-wise median and trimmed mean; (n, d) float32 -> (d,) float64.

Yin, Chen, Ramchandran, Bartlett, "Byzantine-robust distributed learning", ICML 2018.

``median``          per coordinate the middle value, or the mean of the two middle ones.
``trimmed-mean:f``  per coordinate the f smallest and f largest values are dropped, the rest averaged; n >
2f.

One device, one vote: example counts and staleness are ignored. Weighted order statistics would let f
devices that claim many examples hold more than f votes, which is what these rules exist to prevent. Both
fail if more than f (half, for the median) of *this cohort* is Byzantine, however few attackers the fleet
has. No state; one pass over the data and a sort of every coordinate.

>>> from gossamer.aggregator.rules import Updates, rule
>>> trimmed = rule("trimmed-mean:1")
>>> updates = Updates.dense(np.array([[1, 0], [3, 4], [5, 5], [900, -900]], dtype=np.float32))
>>> trimmed.apply(trimmed.init(2), updates)[0].tolist()
[4.0, 2.0]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.norms import block_squares
from gossamer.aggregator.rules.parallel import in_order
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import GRID, Updates
from gossamer.errors import InputError

Number = TypeVar("Number", np.float32, np.int32)

SORTED_BYTES = 1 << 20
"""Transposed and sorted at once: what stays in a processor's second cache."""
FEW_KEPT = 2
"""So many values of a coordinate are cheaper to find among sorted integers than floats are to sort."""
MIN_SORTED = 64
"""Fewer coordinates would cost more in calls than the cache saves."""


def median() -> Rule:
    """Spec ``median``."""

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        keep = 2 - updates.n % 2  # one middle value, or two
        return _combined(state, updates, norms, (updates.n - keep) // 2)

    return Rule(spec="median", minimum=1, combine=combine, screens=True)


def trimmed_mean(f: int) -> Rule:
    """Spec ``trimmed-mean:f``, f >= 0 attackers tolerated in a cohort of at least 2f + 1."""
    if f < 0:
        raise InputError(f"trimmed-mean needs f >= 0, got {f}")

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        return _combined(state, updates, norms, f)

    return Rule(spec=f"trimmed-mean:{f}", minimum=2 * f + 1, combine=combine, screens=True)


def _combined(state: State, updates: Updates, norms: NDArray[np.float64], cut: int) -> Combined:
    screen = Screen(updates.n, norms)
    return Combined(middle_mean(updates, cut, screen), state, np.ones(updates.n), norms=screen.norms)


def middle_mean(updates: Updates, cut: int, screen: Screen) -> NDArray[np.float64]:
    """Mean of each coordinate's sorted values [cut, n - cut), float64 (d,)."""
    width = sorted_at_once(updates.n)

    def part(place: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        block = updates.block(*place)
        squares = block_squares(block) if screen.watches else np.zeros((0, updates.n))
        if not (squares < np.inf).all():
            return np.zeros(0), squares  # the screen will stop
        columns = np.empty((width, updates.n), dtype=np.float32)
        means = np.empty(block.shape[1])
        for start in range(0, block.shape[1], width):
            some = block[:, start : start + width]
            means[start : start + width] = _mean(_kept(some, columns[: some.shape[1]], cut))
        return means, squares

    out = np.empty(updates.d)
    at = 0
    for means, squares in in_order(part, updates.blocks(), updates.workers):
        screen.add(squares)
        out[at : at + len(means)] = means
        at += len(means)
    return out


def sorted_at_once(n: int) -> int:
    """Coordinates whose n values each fill ``SORTED_BYTES`` at most: a power of two from ``MIN_SORTED`` to ``GRID``.

    Blocks begin at multiples of ``GRID``, so which coordinates are taken together does not depend on them.
    """
    fitting = SORTED_BYTES // (4 * n)
    return min(GRID, max(MIN_SORTED, 1 << (max(fitting, 1).bit_length() - 1)))


def sorted_columns(block: NDArray[Number], out: NDArray[Number]) -> NDArray[Number]:
    """Each coordinate's values of (n, b) in ascending order: ``out``, (b, n) of the same type.

    Transposed, a coordinate's n values lie side by side: np.sort runs over contiguous memory.
    """
    np.copyto(out, block.T)
    out.sort(axis=1)
    return out


def _kept(block: NDArray[np.float32], out: NDArray[np.float32], cut: int) -> NDArray[np.float32]:
    """The values [cut, n - cut) of each sorted coordinate of float32 (n, b): float32 (b, n - 2 cut); uses ``out``."""
    n = len(block)
    if n - 2 * cut <= FEW_KEPT:
        return _ranked(block, out, range(cut, n - cut))
    return sorted_columns(block, out)[:, cut : n - cut]


def _ranked(block: NDArray[np.float32], out: NDArray[np.float32], ranks: Sequence[int]) -> NDArray[np.float32]:
    """The values of some ranks of each coordinate of float32 (n, b), none NaN: float32 (b, len(ranks)); uses ``out``.

    Read as integers, floats sort faster, and their order is that of floats but for the k that have a sign: they come
    first, and backwards. Rank r is at place r, or among the first k at place k - 1 - r.
    """
    n, b = block.shape
    signed = np.add.reduce(np.signbit(block).view(np.uint8), axis=0, dtype=np.min_scalar_type(n)).astype(np.intp)
    sorted_columns(block.view(np.int32), out.view(np.int32))
    values, rows = out.reshape(-1), np.arange(0, b * n, n)
    found = np.empty((b, len(ranks)), dtype=np.float32)
    for column, rank in enumerate(ranks):  # np.take_along_axis takes three times as long
        found[:, column] = values[rows + np.where(rank < signed, signed - 1 - rank, rank)]
    return found


def _mean(kept: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean of each row of sorted float32 (b, k).

    Values are added as multiples of about 2^-45 of the largest of all b rows: so sums are exact, and no order of
    additions, a BLAS kernel's least of all, can reach the result. Which coordinates lie together follows from n.
    """
    count = kept.shape[1]
    largest = max(float(np.abs(kept[:, 0]).max()), float(np.abs(kept[:, -1]).max()))
    # Near this number the last place of a float64 is the unit: adding and subtracting it rounds to multiples.
    shift = math.ldexp(1.5, math.frexp(largest)[1] + count.bit_length())
    values = kept.astype(np.float64)
    values += shift
    values -= shift
    sums: NDArray[np.float64] = values @ np.ones(count)
    sums /= count
    return sums
