"""Krum and multi-Krum; (n, d) float32 -> (d,) float64.

Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine learning with adversaries", NeurIPS 2017.

``score_i = sum of |u_i - u_j|^2 over the n - f - 1 nearest others j``

``krum:f``          the update with the lowest score.
``multi-krum:f/m``  the mean of the m updates with the lowest scores; m = n - f if not given.

The neighbourhood is that of Allouah et al. (AISTATS 2023), n - f updates with the update itself; the paper of 2017
counts one fewer. Needs n >= 2f + 3. One device, one vote. No state.

Tolerates f attackers in *this cohort*. Heterogeneous data makes the honest far from each other and the choice
arbitrary: ``nnm`` before it helps. Costs one pass and n^2 d multiplications, plus a pass over what is chosen. Who is
chosen does not depend on the machine (:mod:`gram`); of equal scores the lowest device index wins.

>>> from gossamer.aggregator.rules import Updates, rule
>>> krum = rule("krum:1")
>>> rows = np.array([[1, 1], [2, 2], [1, 2], [2, 1.5], [-90, 90]], dtype=np.float32)
>>> krum.apply(krum.init(2), Updates.dense(rows))[0].tolist()
[2.0, 1.5]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.gram import Distances, distances, exact_distances, gram
from gossamer.aggregator.rules.mean import weighted_mean
from gossamer.aggregator.rules.nearest import Bools, choose
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Updates
from gossamer.errors import InputError


def krum(f: int) -> Rule:
    """Spec ``krum:f``, f >= 0."""
    return _krum(f"krum:{f}", f, 1)


def multi_krum(f: int, m: int = 0) -> Rule:
    """Spec ``multi-krum:f`` or ``multi-krum:f/m``, f >= 0, m >= 1 (0: n - f)."""
    if m < 0:
        raise InputError(f"multi-krum needs m >= 1, got {m}")
    return _krum(f"multi-krum:{f}/{m}" if m else f"multi-krum:{f}", f, m)


def _krum(spec: str, f: int, m: int) -> Rule:
    if f < 0:
        raise InputError(f"{spec} needs f >= 0, got {f}")

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        screen = Screen(updates.n, norms)
        found = distances(gram(updates, screen), updates.d)
        chosen = lowest_scores(updates, found, f, m or updates.n - f)
        aggregate = mean_of(updates, chosen)
        return Combined(aggregate, state, chosen.astype(np.float64), norms=screen.norms)

    return Rule(spec, minimum=max(2 * f + 3, m + f), combine=combine, screens=True)


def lowest_scores(updates: Updates, found: Distances, f: int, m: int) -> Bools:
    """The m updates with the lowest scores, bool (n,)."""
    near = updates.n - f - 1

    def exact(places: list[int]) -> NDArray[np.float64]:
        others = exact_distances(updates, places)
        others[np.arange(len(places)), places] = np.inf
        return sums_of_smallest(others, near)

    low, high = found.squared - found.error, found.squared + found.error
    np.fill_diagonal(low, np.inf)
    np.fill_diagonal(high, np.inf)
    slack = 1e-12 * sums_of_smallest(np.abs(high), near)  # of adding them up
    return choose(sums_of_smallest(low, near) - slack, sums_of_smallest(high, near) + slack, m, exact)


def sums_of_smallest(numbers: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Sum of the ``count`` smallest of each row (r, k), in ascending order: (r,)."""
    ordered = np.sort(numbers, axis=1)
    total = np.zeros(len(numbers))
    for column in range(count):
        total += ordered[:, column]
    return total


def mean_of(updates: Updates, chosen: Bools) -> NDArray[np.float64]:
    """Mean of the chosen updates, bool (n,) -> float64 (d,)."""
    rows = np.flatnonzero(chosen)
    if updates.source is not None:  # read with the others, they are cheaper than alone
        return weighted_mean(updates, chosen.astype(np.float64))
    return weighted_mean(updates.keep(rows.tolist()), np.ones(len(rows)))
