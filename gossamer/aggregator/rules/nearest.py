"""Choosing the smallest of numbers that are known up to an error: who is in, who is out, and who is contested.

A choice by intervals that overlap nowhere is the choice by the exact numbers within them. Where they overlap, the exact
numbers are asked for; among equal ones the lowest place wins.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.gram import Distances, exact_between
from gossamer.aggregator.rules.updates import Updates

Bools = NDArray[np.bool_]
Numbers = NDArray[np.float64]


def smallest(low: Numbers, high: Numbers, count: int) -> tuple[Bools, Bools]:
    """Which of k numbers in [low, high] (k,) are certainly among the ``count`` smallest, and which may or may not be.

    >>> inside, contested = smallest(np.array([0.0, 2, 2, 9]), np.array([1.0, 3, 3, 9]), 2)
    >>> inside.tolist(), contested.tolist()
    ([True, False, False, False], [False, True, True, False])
    """
    may_be_below = np.searchsorted(np.sort(low), high, side="right") - 1  # others not certainly above
    surely_below = np.searchsorted(np.sort(high), low, side="left")
    inside = may_be_below < count
    return inside, ~inside & (surely_below < count)


def choose(low: Numbers, high: Numbers, count: int, exact: Callable[[list[int]], Numbers]) -> Bools:
    """The ``count`` smallest (k,); ``exact(places)`` gives the numbers at contested places."""
    inside, contested = smallest(low, high, count)
    places = np.flatnonzero(contested).tolist()
    lacking = count - int(np.count_nonzero(inside))
    if places and lacking:
        order = np.argsort(exact(places), kind="stable")
        inside[[places[i] for i in order[:lacking]]] = True
    return inside


def neighbourhoods(updates: Updates, found: Distances, count: int) -> Bools:
    """For every update the ``count`` nearest, itself among them: bool (n, n), the same on every machine."""
    low, high = found.squared - found.error, found.squared + found.error
    np.fill_diagonal(low, -np.inf)
    np.fill_diagonal(high, -np.inf)
    chosen = np.empty(low.shape, dtype=np.bool_)
    contested = np.zeros(low.shape, dtype=np.bool_)
    for row in range(updates.n):
        chosen[row], open_ones = smallest(low[row], high[row], count)
        if np.count_nonzero(chosen[row]) < count:
            contested[row] = open_ones
    rows, others = (np.flatnonzero(contested.any(axis=axis)) for axis in (1, 0))
    if len(rows):
        exact = exact_between(updates, rows.tolist(), others.tolist())
        for row, numbers in zip(rows.tolist(), exact, strict=True):
            places = np.flatnonzero(contested[row])
            order = np.argsort(numbers[np.searchsorted(others, places)], kind="stable")
            chosen[row, places[order[: count - np.count_nonzero(chosen[row])]]] = True
    return chosen
