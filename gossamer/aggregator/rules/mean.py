"""Weighted mean: ``sum w_i u_i / sum w_i``; (n, d) float32 -> (d,) float64.

FedAvg's aggregate (McMahan et al., AISTATS 2017). No protection at all: one attacker moves it anywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Updates


def mean() -> Rule:
    """Spec ``mean``."""
    return Rule(spec="mean", minimum=1, combine=_combine)


def _combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
    factors = np.ones(len(norms))
    return Combined(shrunk_mean(updates, factors, np.zeros(updates.d)), state, factors)


def shrunk_mean(updates: Updates, factors: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """``centre + sum w_i f_i (u_i - centre) / sum w_i``, float64 (d,).

    Args:
        updates: n updates; their bounded weights w are used.
        factors: f, float64 (n,), what clipping leaves of each.
        centre: float64 (d,); zeros shrink towards the origin.
    """
    weights = updates.weights
    total = 0.0
    for weight in weights.tolist():  # not np.sum: its order is its own
        total += weight
    out = np.empty(updates.d)
    for start, stop in updates.blocks():
        base = centre[start:stop]
        sums = np.zeros(stop - start)
        for row in range(updates.n):
            sums += (weights[row] * factors[row]) * (updates.read(row, start, stop).astype(np.float64) - base)
        out[start:stop] = base + sums / total
    return out
