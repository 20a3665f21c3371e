"""Clipped differences; (n, d) float32 -> (d,) float64.

``g_k = g_{k-1} + sum w_i clip_lambda(u_i - g_{k-1}) / sum w_i``, ``lambda = kappa |g_{k-1}|``.

Source: the heuristic of eq. 10 of Byz-VR-MARINA-PP (Malinovsky et al., "Byzantine robustness and partial
participation can be achieved at once", NeurIPS 2024), applied at the server to what devices send. A cohort may be
Byzantine to the last device: it moves the aggregate by kappa of its own length, no further, and the next honest
cohort moves it back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.mean import shrunk_mean
from gossamer.aggregator.rules.norm_clip import clip_factors, lower_median
from gossamer.aggregator.rules.norms import norm_of, vector_norm
from gossamer.aggregator.rules.state import State, pack
from gossamer.aggregator.rules.updates import Updates
from gossamer.errors import InputError

DEFAULT_KAPPA = 0.3


def clipped_differences(kappa: float = DEFAULT_KAPPA) -> Rule:
    """Spec ``clipped-differences:kappa``, kappa > 0."""
    if not 0.0 < kappa < float("inf"):
        raise InputError(f"clipped-differences needs a finite kappa > 0, got {kappa}")

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        last = state.read_vector()
        length = vector_norm(last)
        distances = np.array([_distance(updates, row, last) for row in range(updates.n)])
        radius = kappa * length if length > 0.0 else lower_median(norms)
        factors = clip_factors(distances, radius)
        aggregate = shrunk_mean(updates, factors, last)
        memory = State(state.spec, state.d, state.rounds, vector=pack(aggregate))
        return Combined(aggregate, memory, factors, radius)

    return Rule(f"clipped-differences:{kappa:g}", minimum=1, needs_unbiased=True, combine=combine)


def _distance(updates: Updates, row: int, centre: NDArray[np.float64]) -> float:
    return norm_of(lambda start, stop: updates.read(row, start, stop) - centre[start:stop], updates.d)
