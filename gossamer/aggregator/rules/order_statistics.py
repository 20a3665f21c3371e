"""Coordinate-wise median and trimmed mean; (n, d) float32 -> (d,) float64.

Yin, Chen, Ramchandran, Bartlett, "Byzantine-robust distributed learning", ICML 2018.

``median``          per coordinate the middle value, or the mean of the two middle ones.
``trimmed-mean:f``  per coordinate the f smallest and f largest values are dropped, the rest averaged; n >
2f.

One device, one vote: example counts and staleness are ignored. Weighted order statistics would let f
devices that claim many examples hold more than f votes, which is what these rules exist to prevent. Both
fail if more than f (half, for the median) of *this cohort* is Byzantine, however few attackers the fleet
has.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Updates
from gossamer.errors import InputError


def median() -> Rule:
    """Spec ``median``."""

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        keep = 2 - updates.n % 2  # one middle value, or two
        cut = (updates.n - keep) // 2
        return Combined(_middle_mean(updates, cut), state, np.ones(len(norms)))

    return Rule(spec="median", minimum=1, combine=combine)


def trimmed_mean(f: int) -> Rule:
    """Spec ``trimmed-mean:f``, f >= 0 attackers tolerated in a cohort of at least 2f + 1."""
    if f < 0:
        raise InputError(f"trimmed-mean needs f >= 0, got {f}")

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        return Combined(_middle_mean(updates, f), state, np.ones(len(norms)))

    return Rule(spec=f"trimmed-mean:{f}", minimum=2 * f + 1, combine=combine)


def _middle_mean(updates: Updates, cut: int) -> NDArray[np.float64]:
    """Mean of each coordinate's sorted values [cut, n - cut), float64 (d,)."""
    out = np.empty(updates.d)
    for start, stop in updates.blocks():
        # Transposed, a coordinate's n values lie side by side: np.sort runs over contiguous memory. Zeros of
        # either sign compare equal, so adding 0.0 makes them one value and the order of ties immaterial.
        columns = np.sort(np.ascontiguousarray(updates.block(start, stop).T) + np.float32(0.0), axis=1)
        sums = np.zeros(stop - start)
        for rank in range(cut, updates.n - cut):
            sums += columns[:, rank].astype(np.float64)
        out[start:stop] = sums / (updates.n - 2 * cut)
    return out
