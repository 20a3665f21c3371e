"""Geometric median by smoothed Weiszfeld steps; (n, d) float32 -> (d,) float64.

``argmin_z sum |u_i - z|``, by ``z <- sum w_i u_i / sum w_i``, ``w_i = 1 / max(|u_i - z|, nu)``, from z = 0

Pillutla, Kakade, Harchaoui, "Robust aggregation for federated learning", IEEE TSP 2022. Every z is ``sum a_i u_i``, so
``|u_i - z|^2 = G_ii - 2 (G a)_i + a G a``: the steps need the Gram matrix alone, and cost nothing beside it. nu is
``SMOOTHING`` of the median norm, so that no scale of updates is special.

``geometric-median``    steps until they move no weight by more than ``SETTLED`` of it, at most ``MOST_STEPS``.
``geometric-median:T``  T steps; up to ``FEW_STEPS`` are made by passes over the data instead.

One device, one vote. No state. Tolerates fewer than half of *this cohort*. Costs two passes and n^2 d
multiplications, or T + 1 passes. Not portable: the weights depend on the last bits of the Gram matrix, which depend
on the BLAS kernel. On one machine the result has the same bits for any order of arrival, block size and number of
workers.

>>> from gossamer.aggregator.rules import Updates, rule
>>> median = rule("geometric-median")
>>> rows = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 1000]], dtype=np.float32)
>>> median.apply(median.init(2), Updates.dense(rows))[0].round(3).tolist()
[0.0, 0.577]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.affine import products_with_sum, squared_norms, weighted_sum
from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.gram import Matrix, gram
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Updates
from gossamer.errors import InputError

SMOOTHING = 1e-6
"""A distance below this much of the median norm counts as this much: what float32 products can tell apart is more."""
SETTLED = 1e-7
MOST_STEPS = 500
FEW_STEPS = 4
"""So many steps cost less by passes over the data than by the Gram matrix."""


def geometric_median(steps: int = 0) -> Rule:
    """Spec ``geometric-median`` or ``geometric-median:steps``, steps >= 1 (0: until they settle)."""
    if steps < 0:
        raise InputError(f"geometric-median needs steps >= 1, got {steps}")

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        screen = Screen(updates.n, norms)
        if 0 < steps <= FEW_STEPS:
            weights = few_steps(updates, squared_norms(updates, screen), steps)
        else:
            weights = weiszfeld(gram(updates, screen), steps)
        aggregate = weighted_sum(updates, weights)
        return Combined(aggregate, state, weights / weights.max(), norms=screen.norms)

    spec = f"geometric-median:{steps}" if steps else "geometric-median"
    return Rule(spec, minimum=1, combine=combine, screens=True, portable=False)


def weiszfeld(products: Matrix, steps: int) -> NDArray[np.float64]:
    """Weights float64 (n,) that add up to 1, from inner products (n, n)."""
    squares = np.diagonal(products)
    least = _least(np.sqrt(np.maximum(squares, 0.0)))
    weights = np.zeros(len(products))
    for _ in range(steps or MOST_STEPS):
        along = products @ weights
        apart = np.sqrt(np.maximum(squares - 2.0 * along + weights @ along, 0.0))
        fresh = _weights(apart, least)
        moved = np.abs(fresh - weights).max()
        weights = fresh
        if not steps and moved <= SETTLED * weights.max():
            break
    return weights


def few_steps(updates: Updates, squares: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """As :func:`weiszfeld`, for at least one step, from squared norms (n,); each step after one is a pass."""
    norms = np.sqrt(squares)
    least = _least(norms)
    weights = _weights(norms, least)
    for _ in range(steps - 1):
        along, square = products_with_sum(updates, weights)
        weights = _weights(np.sqrt(np.maximum(squares - 2.0 * along + square, 0.0)), least)
    return weights


def _least(norms: NDArray[np.float64]) -> float:
    return max(SMOOTHING * float(np.median(norms)), 1e-300)


def _weights(apart: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    fresh = 1.0 / np.maximum(apart, least)
    fresh /= fresh.sum()
    return fresh
