"""Norm clipping to the running median: ``sum w_i min(1, r / |u_i|) u_i / sum w_i``; (n, d) float32 -> (d,) float64.

r = median of the norms of the last ``WINDOW`` rounds, this one included. Pooling devices over rounds, not medians
over rounds, makes r honest as long as the attackers are a minority of the *fleet*: one cohort with a Byzantine
majority cannot move it. Bounds how far an attacker pulls, not in which direction: a mild attack in every round
still wins over time (``clipped-differences`` is the stronger defence).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.mean import shrunk_mean
from gossamer.aggregator.rules.state import State, pack, unpack
from gossamer.aggregator.rules.updates import Updates

WINDOW = 8
"""Rounds remembered: a cycle or two of the usual schedules, short enough to follow norms that shrink in training."""

NORMS_PER_ROUND = 32
"""Order statistics kept of one round's norms, so that the memory is bounded whatever the cohort."""


def norm_clip() -> Rule:
    """Spec ``norm-clip``."""
    return Rule(spec="norm-clip", minimum=1, needs_unbiased=False, combine=_combine)


def _combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
    pool = np.concatenate([unpack(state.norms).reshape(-1, NORMS_PER_ROUND), summary(norms)[None]])[-WINDOW:]
    radius = lower_median(pool.ravel())
    factors = clip_factors(norms, radius)
    aggregate = shrunk_mean(updates, factors, np.zeros(updates.d))
    memory = State(state.spec, state.d, state.rounds, norms=pack(pool))
    return Combined(aggregate, memory, factors, radius)


def summary(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """``NORMS_PER_ROUND`` evenly spaced order statistics of the norms (n,): every round weighs the same."""
    places = np.arange(NORMS_PER_ROUND) * len(norms) // NORMS_PER_ROUND
    return np.sort(norms)[places]


def lower_median(values: NDArray[np.float64]) -> float:
    """The lower middle of (k,) values, k >= 1: a value that somebody sent, never a mean of two camps."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def clip_factors(norms: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """min(1, radius / norm) per update, float64 (n,); 1 for a norm of zero.

    >>> clip_factors(np.array([0.0, 1.0, 4.0]), 2.0).tolist()
    [1.0, 1.0, 0.5]
    """
    return np.array([1.0 if norm <= radius else radius / norm for norm in norms.tolist()])
