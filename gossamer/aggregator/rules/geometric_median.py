"""Geometric median by smoothed Weiszfeld steps; (n, d) float32 -> (d,) float64.

``argmin_z sum |u_i - z|``, by ``z <- sum w_i u_i / sum w_i``, ``w_i = 1 / max(|u_i - z|, nu)``, from z = 0

Pillutla, Kakade, Harchaoui, "Robust aggregation for federated learning", IEEE TSP 2022. Every z is ``sum a_i u_i``, so
``|u_i - z|^2 = G_ii - 2 (G a)_i + a G a``: the steps need the Gram matrix alone, and cost nothing beside it. nu is
``SMOOTHING`` of the median norm, so that no scale of updates is special.

``geometric-median``    steps until they move no weight by more than ``SETTLED`` of it, at most ``MOST_STEPS``.
``geometric-median:T``  T steps.

One device, one vote. No state. Tolerates fewer than half of *this cohort*. Costs two passes, n^2 d multiplications.
Not portable: the weights depend on the last bits of the Gram matrix, which depend on the BLAS kernel. On one machine
the result has the same bits for any order of arrival, block size and number of workers.

>>> from gossamer.aggregator.rules import Updates, rule
>>> median = rule("geometric-median")
>>> rows = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 1000]], dtype=np.float32)
>>> median.apply(median.init(2), Updates.dense(rows))[0].round(3).tolist()
[0.0, 0.577]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.gram import Matrix, gram
from gossamer.aggregator.rules.parallel import in_order
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import GRID, Updates
from gossamer.errors import InputError

SMOOTHING = 1e-6
"""A distance below this much of the median norm counts as this much: what float32 products can tell apart is more."""
SETTLED = 1e-7
MOST_STEPS = 500


def geometric_median(steps: int = 0) -> Rule:
    """Spec ``geometric-median`` or ``geometric-median:steps``, steps >= 1 (0: until they settle)."""
    if steps < 0:
        raise InputError(f"geometric-median needs steps >= 1, got {steps}")

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        screen = Screen(updates.n, norms)
        weights = weiszfeld(gram(updates, screen), steps)
        aggregate = _affine(updates, weights)
        return Combined(aggregate, state, weights / weights.max(), norms=screen.norms)

    spec = f"geometric-median:{steps}" if steps else "geometric-median"
    return Rule(spec, minimum=1, combine=combine, screens=True, portable=False)


def weiszfeld(products: Matrix, steps: int) -> NDArray[np.float64]:
    """Weights float64 (n,) that add up to 1, from inner products (n, n)."""
    squares = np.diagonal(products)
    norms = np.sqrt(np.maximum(squares, 0.0))
    least = max(SMOOTHING * float(np.median(norms)), 1e-300)
    weights = np.zeros(len(products))
    for _ in range(steps or MOST_STEPS):
        along = products @ weights
        apart = np.sqrt(np.maximum(squares - 2.0 * along + weights @ along, 0.0))
        fresh = 1.0 / np.maximum(apart, least)
        fresh /= fresh.sum()
        moved = np.abs(fresh - weights).max()
        weights = fresh
        if not steps and moved <= SETTLED * weights.max():
            break
    return weights


def _affine(updates: Updates, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """``sum w_i u_i`` by float32 BLAS over ``GRID`` coordinates at a time, float64 (d,)."""
    single = weights.astype(np.float32)

    def part(place: tuple[int, int]) -> NDArray[np.float64]:
        block = updates.block(*place)
        out = np.empty(block.shape[1])
        for start in range(0, len(out), GRID):
            out[start : start + GRID] = single @ block[:, start : start + GRID]
        return out

    return np.concatenate(list(in_order(part, updates.blocks(), updates.workers)))
