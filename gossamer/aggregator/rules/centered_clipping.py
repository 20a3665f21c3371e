"""Centered clipping; (n, d) float32 -> (d,) float64.

``v <- v + mean of (u_i - v) min(1, r / |u_i - v|)``, L times, from the last round's aggregate

Karimireddy, He, Jaggi, "Learning from history for Byzantine robust optimization", ICML 2021.

``centered-clipping``      r = the lower median of the distances from v: half the cohort decides how far is too far.
``centered-clipping:r``    r is given, as in the paper; ``centered-clipping:r/L`` with L steps.

State: the last aggregate. One device, one vote. Tolerates a minority of *this cohort*, and what gets through moves the
aggregate by r times its share. Costs two passes a step. Distances are float32 sums in a fixed order (2^-20 of their
value), so the result is the same on every machine.

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

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.mean import ordered_sum, weighted_mean
from gossamer.aggregator.rules.norm_clip import clip_factors, lower_median
from gossamer.aggregator.rules.norms import block_squares, tree_squares
from gossamer.aggregator.rules.parallel import in_order
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.state import State, pack
from gossamer.aggregator.rules.updates import GRID, Updates
from gossamer.errors import InputError

Vector = NDArray[np.float64]


def centered_clipping(radius: float = 0.0, steps: int = 1) -> Rule:
    """Spec ``centered-clipping[:radius[/steps]]``, radius > 0 (0: from the distances), steps >= 1."""
    if not (0.0 <= radius < math.inf and steps >= 1):
        raise InputError(f"centered-clipping needs a finite radius > 0 and steps >= 1, got {radius} and {steps}")

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        centre = state.read_vector()
        screen = Screen(updates.n, norms)
        for step in range(steps):
            distances = np.sqrt(_distances(updates, centre, screen if step == 0 else None))
            reach = radius or lower_median(distances)
            factors = clip_factors(distances, reach)
            # v + sum f_i (u_i - v) / n, without a difference for each update
            centre = centre * (1.0 - ordered_sum(factors) / updates.n)
            centre += weighted_mean(updates, factors, total=float(updates.n))
        memory = State(state.spec, state.d, state.rounds, vector=pack(centre))
        return Combined(centre, memory, factors, reach, norms=screen.norms)

    written = f":{radius!r}" if radius else ":" if steps > 1 else ""
    written += f"/{steps}" if steps > 1 else ""
    return Rule(f"centered-clipping{written}", minimum=1, combine=combine, screens=True)


def _distances(updates: Updates, centre: Vector, screen: Screen | None) -> Vector:
    """Squared distances from ``centre`` float64 (d,): float64 (n,)."""
    base = centre.astype(np.float32)

    def part(place: tuple[int, int]) -> tuple[Vector, list[Vector]]:
        block = updates.block(*place)
        own = block_squares(block) if screen is not None and screen.watches else np.zeros((0, updates.n))
        if not (own < np.inf).all():
            return own, []  # the screen will stop
        pieces = range(0, block.shape[1], GRID)
        around = base[slice(*place)]
        return own, [tree_squares(block[:, i : i + GRID] - around[i : i + GRID]) for i in pieces]

    total = np.zeros(updates.n)
    for own, sums in in_order(part, updates.blocks(), updates.workers):
        if screen is not None:
            screen.add(own)
        for each in sums:
            total += each
    return total
