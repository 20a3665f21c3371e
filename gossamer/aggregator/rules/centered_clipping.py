"""Centered clipping; (n, d) float32 -> (d,) float64.

``v <- v + mean of (u_i - v) min(1, r / |u_i - v|)``, L times, from the last round's aggregate

Karimireddy, He, Jaggi, "Learning from history for Byzantine robust optimization", ICML 2021.

``centered-clipping``      r = the lower median of the distances from v: half the cohort decides how far is too far.
``centered-clipping:r``    r is given, as in the paper; ``centered-clipping:r/L`` with L steps.

State: the last aggregate. One device, one vote. Tolerates a minority of *this cohort*, and what gets through moves
the aggregate by r times its share. Costs two passes a step. Not portable: distances and sums are float32, and their
last bits depend on the BLAS kernel; on one machine the result has the same bits for any order of arrival, block size
and workers.

>>> from gossamer.aggregator.rules import Updates, rule
>>> clipping = rule("centered-clipping:5.0")
>>> rows = np.array([[3, 4], [3, 4], [3, 4], [-300, -400]], dtype=np.float32)
>>> clipping.apply(clipping.init(2), Updates.dense(rows))[0].tolist()
[1.5, 2.0]
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.affine import squared_distances, squared_norms, weighted_sum
from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.mean import ordered_sum
from gossamer.aggregator.rules.norm_clip import clip_factors, lower_median
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.state import State, pack
from gossamer.aggregator.rules.updates import Updates
from gossamer.errors import InputError

SCREENED = Screen(1, np.ones(1))
"""Watches nothing: later steps read what the first has seen."""


def centered_clipping(radius: float = 0.0, steps: int = 1) -> Rule:
    """Spec ``centered-clipping[:radius[/steps]]``, radius > 0 (0: from the distances), steps >= 1."""
    if not (0.0 <= radius < math.inf and steps >= 1):
        raise InputError(f"centered-clipping needs a finite radius > 0 and steps >= 1, got {radius} and {steps}")

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        centre = state.read_vector()
        screen = Screen(updates.n, norms)
        for step in range(steps):
            watching = screen if step == 0 else SCREENED
            squares = squared_distances(updates, centre, watching) if centre.any() else squared_norms(updates, watching)
            distances = np.sqrt(squares)
            reach = radius or lower_median(distances)
            factors = clip_factors(distances, reach)
            # v + sum f_i (u_i - v) / n, without a difference for each update
            centre = centre * (1.0 - ordered_sum(factors) / updates.n)
            centre += weighted_sum(updates, factors / updates.n)
        memory = State(state.spec, state.d, state.rounds, vector=pack(centre))
        return Combined(centre, memory, factors, reach, norms=screen.norms)

    written = f":{radius!r}" if radius else ":" if steps > 1 else ""
    written += f"/{steps}" if steps > 1 else ""
    return Rule(f"centered-clipping{written}", minimum=1, combine=combine, screens=True, portable=False)
