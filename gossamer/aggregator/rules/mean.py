"""Weighted mean: ``sum w_i u_i / sum w_i``; (n, d) float32 -> (d,) float64.

FedAvg's aggregate (McMahan et al., AISTATS 2017). No state. Tolerates nothing: one attacker moves it anywhere.
Costs one pass over the data.

>>> from gossamer.aggregator.rules import Updates, rule
>>> average = rule("mean")
>>> average.apply(average.init(2), Updates.dense(np.array([[1, 0], [3, 4]], dtype=np.float32)))[0].tolist()
[2.0, 2.0]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.norms import block_squares
from gossamer.aggregator.rules.parallel import in_order
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Updates

Vector = NDArray[np.float64]


def mean() -> Rule:
    """Spec ``mean``."""
    return Rule(spec="mean", minimum=1, combine=_combine, screens=True)


def _combine(state: State, updates: Updates, norms: Vector) -> Combined:
    screen = Screen(updates.n, norms)
    aggregate = weighted_mean(updates, updates.weights, screen)
    return Combined(aggregate, state, np.ones(updates.n), norms=screen.norms)


def shrunk_mean(updates: Updates, factors: Vector, centre: Vector) -> Vector:
    """``centre + sum w_i f_i (u_i - centre) / sum w_i``, float64 (d,).

    Args:
        updates: n updates; their bounded weights w are used.
        factors: f, float64 (n,), what clipping leaves of each.
        centre: float64 (d,).
    """
    total = ordered_sum(updates.weights)
    coefficients = (updates.weights * factors).tolist()

    def part(place: tuple[int, int]) -> Vector:
        base = centre[slice(*place)]
        sums = np.zeros(len(base))
        for coefficient, x in zip(coefficients, updates.rows(*place), strict=True):
            difference = x.astype(np.float64)
            difference -= base
            difference *= coefficient
            sums += difference
        return base + sums / total

    return np.concatenate(list(in_order(part, updates.wide_blocks(), updates.workers)))


def weighted_mean(updates: Updates, coefficients: Vector, screen: Screen | None = None, total: float = 0.0) -> Vector:
    """``sum c_i u_i / sum c_i``, float64 (d,), added in ascending order of updates.

    Args:
        updates: n updates.
        coefficients: c, float64 (n,).
        screen: told the squares of what is read.
        total: divides in the place of the sum of c, unless 0.
    """
    divisor = total or ordered_sum(coefficients)
    watching = screen is not None and screen.watches

    def part(place: tuple[int, int]) -> tuple[Vector, list[Vector]]:
        sums, scaled = np.zeros(place[1] - place[0]), np.empty(place[1] - place[0])
        squares = []
        for coefficient, x in zip(coefficients.tolist(), updates.rows(*place), strict=True):
            if watching:
                squares.append(block_squares(x[None])[:, 0])
            if coefficient == 1.0:
                np.copyto(scaled, x)
            elif coefficient:
                np.multiply(x, coefficient, out=scaled, dtype=np.float64)
            else:
                continue  # adding zeros would change no bit
            sums += scaled
        sums /= divisor
        return sums, squares

    out = np.empty(updates.d)
    for (start, stop), (values, squares) in zip(
        updates.wide_blocks(), in_order(part, updates.wide_blocks(), updates.workers), strict=True
    ):
        if screen is not None and watching:
            screen.add(np.array(squares).T)
        out[start:stop] = values
    return out


def ordered_sum(values: Vector) -> float:
    """The sum in ascending order of places; ``np.sum`` has an order of its own."""
    total = 0.0
    for value in values.tolist():
        total += value
    return total
