"""Clipped differences; (n, d) float32 -> (d,) float64.

``g_k = g_{k-1} + sum w_i clip_r(u_i - g_{k-1}) / sum w_i``, ``r = kappa * max(|g_{k-1}|, m / sqrt(n))``

Source: the heuristic of eq. 10 of Byz-VR-MARINA-PP (Malinovsky et al., "Byzantine robustness and partial
participation can be achieved at once", NeurIPS 2024), applied at the server to what devices send: a
cohort that is Byzantine to the last device moves the aggregate by kappa of its length, no further, and
the next honest cohort moves it back.

The floor m / sqrt(n) is ours. The printed radius kappa |g_{k-1}| is 0 while g is, and a g that one cohort
shrank can only grow by 1 + kappa a round. m is the lower median of the norms of the last rounds' devices
(as in ``norm-clip``: honest while attackers are a minority of the fleet), and m / sqrt(n) is the length a
mean of n unrelated updates of that norm would have, so an honest g is rarely below it. It makes the first
round no special case: a cohort of liars that opens the job gets kappa m / sqrt(n), not its own scale.
Measured on digits, mean of 3 seeds: 20 devices, cohorts of 4, the first with 3 attackers, rotated 1-bit:
worst of four attacks (ALIE, inner product x10, sign flip, false example counts) .930 with it, .896 with the
first round clipped to its median norm and no floor. 10 devices, 2 attackers that flip signs,
``ternary:0.05`` with a residual both ways: .892 against .747.

Use an unbiased codec, or a larger kappa: a residual re-sends what clipping cut off, so a sparse codec with a
residual costs accuracy even without an attack (smartwatch data, ``ternary:0.05``, against ``mean``: up to
12 points with kappa 0.3, 1 to 2 with kappa 1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.mean import shrunk_mean
from gossamer.aggregator.rules.norm_clip import clip_factors, extend_pool, lower_median
from gossamer.aggregator.rules.norms import exact_norms, vector_norm
from gossamer.aggregator.rules.state import State, pack
from gossamer.aggregator.rules.updates import Updates
from gossamer.aggregator.rules.weights import ROBUST_EXAMPLE_CAP
from gossamer.errors import InputError

DEFAULT_KAPPA = 0.3


def clipped_differences(kappa: float = DEFAULT_KAPPA) -> Rule:
    """Spec ``clipped-differences:kappa``, 0 < kappa < infinity."""
    if not 0.0 < kappa < math.inf:
        raise InputError(f"clipped-differences needs a finite kappa > 0, got {kappa}")

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        last = state.read_vector()
        pool = extend_pool(state.norms, norms)
        radius = kappa * max(vector_norm(last), lower_median(pool) / math.sqrt(updates.n))
        factors = clip_factors(exact_norms(updates, last), radius)
        aggregate = shrunk_mean(updates, factors, last)
        memory = State(state.spec, state.d, state.rounds, vector=pack(aggregate), norms=pack(pool))
        return Combined(aggregate, memory, factors, radius)

    return Rule(f"clipped-differences:{kappa!r}", minimum=1, combine=combine, example_cap=ROBUST_EXAMPLE_CAP)
