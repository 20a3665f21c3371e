"""Bulyan of Krum; (n, d) float32 -> (d,) float64.

El Mhamdi, Guerraoui, Rouault, "The hidden vulnerability of distributed learning in Byzantium", ICML 2018.

1. n - 2f times: Krum chooses one of the updates that are left.
2. Per coordinate: the mean of the n - 4f chosen values nearest to their median.

``bulyan:f`` needs n >= 4f + 3. One device, one vote. No state. Against an attack that hides a large change of one
coordinate in a long vector, which Krum alone lets through; tolerates f attackers in *this cohort*. Costs n^2 d
multiplications and a sort of every coordinate. The choice is made as in :mod:`krum`, the same on every machine.

>>> from gossamer.aggregator.rules import Updates, rule
>>> bulyan = rule("bulyan:1")
>>> rows = np.array([[1], [2], [3], [4], [5], [6], [900]], dtype=np.float32)
>>> bulyan.apply(bulyan.init(1), Updates.dense(rows))[0].tolist()
[3.0]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.gram import distances, exact_distances, gram
from gossamer.aggregator.rules.krum import sums_of_smallest
from gossamer.aggregator.rules.nearest import Bools, smallest
from gossamer.aggregator.rules.order_statistics import sorted_at_once, sorted_columns
from gossamer.aggregator.rules.parallel import in_order
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Updates
from gossamer.errors import InputError

Numbers = NDArray[np.float64]


def bulyan(f: int) -> Rule:
    """Spec ``bulyan:f``, f >= 0."""
    if f < 0:
        raise InputError(f"bulyan needs f >= 0, got {f}")

    def combine(state: State, updates: Updates, norms: Numbers) -> Combined:
        screen = Screen(updates.n, norms)
        found = distances(gram(updates, screen), updates.d)
        chosen = _selected(found.squared - found.error, found.squared + found.error, f)
        if chosen is None:
            exact = exact_distances(updates, list(range(updates.n)))
            chosen = _selected(exact, exact, f)
        assert chosen is not None  # noqa: S101  # exact numbers decide everything
        aggregate = _around_median(updates, np.flatnonzero(chosen), updates.n - 4 * f)
        return Combined(aggregate, state, chosen.astype(np.float64), norms=screen.norms)

    return Rule(f"bulyan:{f}", minimum=4 * f + 3, combine=combine, screens=True)


def _selected(low: Numbers, high: Numbers, f: int) -> Bools | None:
    """The n - 2f updates that Krum takes one after the other, from distances in [low, high]; None: they overlap."""
    n = len(low)
    exact = low is high
    low, high = low.copy(), high.copy()
    np.fill_diagonal(low, np.inf)
    np.fill_diagonal(high, np.inf)
    left = list(range(n))
    while len(left) > 2 * f:
        near = max(len(left) - f - 1, 1) if len(left) > 1 else 0
        below = sums_of_smallest(low[np.ix_(left, left)], near)
        above = sums_of_smallest(high[np.ix_(left, left)], near)
        if exact:
            place = int(np.argmin(below))  # the first of equal ones
        else:
            slack = 1e-12 * np.abs(above)
            inside, _ = smallest(below - slack, above + slack, 1)
            if not inside.any():
                return None
            place = int(np.argmax(inside))
        left.pop(place)
    chosen = np.ones(n, dtype=np.bool_)
    chosen[left] = False
    return chosen


def _around_median(updates: Updates, rows: NDArray[np.intp], count: int) -> Numbers:
    """Mean of each coordinate's ``count`` values nearest to the median of those of ``rows``, float64 (d,)."""
    width = sorted_at_once(len(rows))

    def part(place: tuple[int, int]) -> Numbers:
        block = updates.block(*place)[rows]
        means = np.empty(block.shape[1])
        columns = np.empty((width, len(rows)), dtype=np.float32)
        for start in range(0, block.shape[1], width):
            some = block[:, start : start + width]
            means[start : start + width] = _nearest_mean(sorted_columns(some, columns[: some.shape[1]]), count)
        return means

    return np.concatenate(list(in_order(part, updates.blocks(), updates.workers)))


def _nearest_mean(columns: NDArray[np.float32], count: int) -> Numbers:
    """Of sorted float32 (b, k): the values nearest to the middle are a window; the first of equally near ones."""
    values = columns.astype(np.float64)
    k = values.shape[1]
    middle = (values[:, (k - 1) // 2] + values[:, k // 2]) / 2.0
    starts = np.arange(k - count + 1)
    # The farther end of a window is what it is judged by: the window of the nearest values has the nearest one.
    spans = np.maximum(middle[:, None] - values[:, starts], values[:, starts + count - 1] - middle[:, None])
    first = np.argmin(spans, axis=1)
    sums = np.zeros(len(values))
    for offset in range(count):
        sums += values[np.arange(len(values)), first + offset]
    sums /= count
    return sums
