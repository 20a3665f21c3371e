"""Norm clipping to the running median; (n, d) float32 -> (d,) float64.

``sum w_i min(1, r / |u_i|) u_i / sum w_i``

r = median of the norms of the last ``WINDOW`` rounds, this one included. Pooling devices over rounds, not
medians over rounds, makes r honest as long as the attackers are a minority of the *fleet*: one cohort
with a Byzantine majority cannot move it. Bounds how far an attacker pulls, not in which direction: a mild
attack in every round still wins over time (``clipped-differences`` is the stronger defence).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.mean import shrunk_mean
from gossamer.aggregator.rules.state import State, pack, unpack
from gossamer.aggregator.rules.updates import Updates
from gossamer.aggregator.rules.weights import ROBUST_EXAMPLE_CAP

WINDOW = 8
"""Rounds remembered: a cycle or two of the usual schedules, short enough to follow norms as they shrink."""

NORMS_PER_ROUND = 32
"""Order statistics kept of one round's norms, so that the memory is bounded whatever the cohort."""


def norm_clip() -> Rule:
    """Spec ``norm-clip``."""
    return Rule(spec="norm-clip", minimum=1, combine=_combine, example_cap=ROBUST_EXAMPLE_CAP)


def _combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
    pool = extend_pool(state.norms, norms)
    radius = lower_median(pool)
    factors = clip_factors(norms, radius)
    aggregate = shrunk_mean(updates, factors, np.zeros(updates.d))
    memory = State(state.spec, state.d, state.rounds, norms=pack(pool))
    return Combined(aggregate, memory, factors, radius)


def extend_pool(memory: bytes, norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """The last rounds' norms with this round's at the end, float64 (at most WINDOW * NORMS_PER_ROUND,).

    A round enters as ``NORMS_PER_ROUND`` evenly spaced order statistics of its norms (n,), so that every
    round weighs the same whatever its cohort. Zeros stay out: silence says nothing about the usual length, and
    a silent cohort would halt the next. Empty if nobody ever sent anything else.
    """
    heard = np.sort(norms[norms > 0.0])
    places = np.arange(NORMS_PER_ROUND) * len(heard) // NORMS_PER_ROUND
    return np.concatenate([unpack(memory), heard[places] if len(heard) else heard])[-WINDOW * NORMS_PER_ROUND :]


def lower_median(values: NDArray[np.float64]) -> float:
    """The lower middle of (k,) values: one that somebody sent, never a mean of two camps. 0 for k = 0."""
    return float(np.sort(values)[(len(values) - 1) // 2]) if len(values) else 0.0


def clip_factors(norms: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """min(1, radius / norm) per update, float64 (n,); 1 for a norm of zero.

    >>> clip_factors(np.array([0.0, 1.0, 4.0]), 2.0).tolist()
    [1.0, 1.0, 0.5]
    """
    return np.array([1.0 if norm <= radius else radius / norm for norm in norms.tolist()])
