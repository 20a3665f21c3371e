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

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.norms import block_squares
from gossamer.aggregator.rules.parallel import in_order
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import GRID, Updates
from gossamer.errors import InputError

SORTED_BYTES = 1 << 20
"""Transposed and sorted at once: what stays in a processor's second cache."""
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
            means[start : start + width] = _middle(sorted_columns(some, columns[: some.shape[1]]), cut)
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


def sorted_columns(block: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each coordinate's values of float32 (n, b) in ascending order: ``out``, float32 (b, n).

    Transposed, a coordinate's n values lie side by side: np.sort runs over contiguous memory.
    """
    np.copyto(out, block.T)
    out.sort(axis=1)
    return out


def _middle(columns: NDArray[np.float32], cut: int) -> NDArray[np.float64]:
    """Mean of [cut, n - cut) of each row of sorted float32 (b, n).

    Values are added as multiples of about 2^-45 of the largest of all b rows: so sums are exact, and no order of
    additions, a BLAS kernel's least of all, can reach the result. Which coordinates lie together follows from n.
    """
    kept = columns[:, cut : columns.shape[1] - cut]
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
