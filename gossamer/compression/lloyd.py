"""Lloyd's iteration (Lloyd 1957; Max 1960) from counts of codes, in integers only.

The density of the values is known by its integral over each cell of the table that was used. Inside a cell it is taken
as linear, with the mean of the slopes towards the two neighbours (limited as by van Leer 1977: never negative, no new
extremes). A grid of 4,096 magnitudes then carries the weights on which levels and cells are fitted in turn.

The cell of 0 also holds exact zeros, of which nobody knows the share; its density continues that of its neighbour, as
far as its count goes, and the rest sits at 0, where it costs nothing.
"""

from __future__ import annotations

from itertools import pairwise
from math import isqrt

import numpy as np
import numpy.typing as npt

GRID = 1 << 12
"""Magnitudes between 0 and 1; the finest step between two bytes near the middle is 16 of them."""
LEAST = 1 << 14
"""Weighted count (a value of the loudest block counts 255) below which a fit would follow noise."""
_ROUNDS = 60
_FINE = 40  # bits of a density

Weights = npt.NDArray[np.int64]


def refitted(table: tuple[int, ...], counts: list[int]) -> tuple[int, ...]:
    """Bytes (7,) and counts of the 16 codes and of blocks -> bytes (7,)."""
    mass = _magnitudes(counts)
    if sum(mass) < LEAST or sum(mass[1:]) == 0:
        return table
    levels = [0, *(b * b * GRID >> 16 for b in table), GRID]
    weights = _weights(_edges(levels), mass)
    total, moment = np.cumsum(weights), np.cumsum(weights * np.arange(GRID, dtype=np.int64))

    def centre(low: int, high: int, again: int) -> tuple[int, int]:
        """Moment and total between two edges; ``again`` counts the range up to 1 once more (see below)."""
        ends = [(low, high), (low, GRID if again else low)]
        return (
            sum(int(moment[b - 1]) - int(moment[a - 1]) for a, b in ends if b > a),
            sum(int(total[b - 1]) - int(total[a - 1]) for a, b in ends if b > a),
        )

    for _ in range(_ROUNDS):
        edges = _edges(levels)
        moved = [0]
        for i in range(1, 8):
            # There is no level -1: negative values from the last edge on belong to -m7 too.
            above, below = centre(max(1, edges[i - 1]), max(1, edges[i]), i == 7)
            moved.append((2 * above + below) // (2 * below) if below else levels[i])
        moved.append(GRID)
        if moved == levels:
            break
        levels = moved
    return _spread([(isqrt(64 * level) + 1) // 2 for level in levels[1:8]])


def _magnitudes(counts: list[int]) -> list[int]:
    """Counts of the nine magnitudes; the peaks themselves, one in each block, are no part of the density."""
    both = [counts[7], *(counts[7 + i] + counts[7 - i] for i in range(1, 7))]
    seventh, last, negative = counts[14], max(0, counts[15] - counts[16]), counts[0]
    # Code 0 is -m7 for all below its lower edge: divided as its positive counterpart is.
    share = negative * last // max(1, seventh + last)
    return [*both, seventh + negative - share, last + share]


def _edges(levels: list[int]) -> list[int]:
    return [(a + b + 1) // 2 for a, b in pairwise(levels)]


def _weights(edges: list[int], mass: list[int]) -> Weights:
    """Density at each point of the grid, int64 (GRID,), with a sum near 2^28: its moment fits int64."""
    bounds = [0, *edges, GRID]
    widths = [max(1, high - low) for low, high in pairwise(bounds)]
    mean = [(m << _FINE) // (sum(mass) * w) for m, w in zip(mass, widths, strict=True)]
    slopes = [0, *(_slope(mean, widths, i) for i in range(1, 8)), 0]
    out = np.zeros(GRID, dtype=np.int64)
    for i in range(1, 9):
        low, high = bounds[i], bounds[i + 1]
        twice = 2 * np.arange(low, high, dtype=np.int64) + 1 - low - high
        out[low:high] = np.maximum(mean[i] + slopes[i] * twice // 2, 0)
    first = bounds[1]
    into = mean[1] - slopes[1] * (2 * np.arange(first, 0, -1, dtype=np.int64) + widths[1]) // 2
    into = np.maximum(into, 0)
    near, have = int(into.sum()), mean[0] * first
    out[:first] = into if near <= have else np.array([int(v) * have // near for v in into], dtype=np.int64)
    return out >> 12


def _slope(mean: list[int], widths: list[int], i: int) -> int:
    """The mean of the slopes to both neighbours; 0 at an extreme, no steeper than positivity allows."""
    before = 2 * (mean[i] - mean[i - 1]) // (widths[i] + widths[i - 1])
    after = 2 * (mean[i + 1] - mean[i]) // (widths[i + 1] + widths[i])
    if before * after <= 0:
        return 0
    most = min((abs(before) + abs(after)) // 2, 2 * abs(before), 2 * abs(after), 2 * mean[i] // widths[i])
    return most if before > 0 else -most


def _spread(table: list[int]) -> tuple[int, ...]:
    """The nearest ascending bytes with room for all."""
    out: list[int] = []
    for i, byte in enumerate(table):
        least = out[-1] + 1 if out else 1
        out.append(max(least, min(byte, 255 - (6 - i))))
    return tuple(out)
