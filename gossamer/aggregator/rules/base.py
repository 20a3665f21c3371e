"""A rule: (n, d) updates -> (d,) float64 and a report; pure functions with explicit state.

Every rule gets the same treatment here before its own ``combine`` runs, so that no rule can forget it:
updates that do not decode, are not finite or leave the lattice's range are rejected and named, and a
round with fewer usable updates than the rule needs changes nothing (a robust rule below its minimum would
be a promise that nobody keeps; the engine asks for ``minimum`` before it seals).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.norms import READ_COORDINATES, add_squares
from gossamer.aggregator.rules.report import MALFORMED, NON_FINITE, TOO_LARGE, WRONG_LAYOUT, Report, Verdict
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Updates
from gossamer.aggregator.rules.weights import EXAMPLE_CAP
from gossamer.errors import PeerError

MAX_MAGNITUDE = 2048.0
"""Largest coordinate of a usable update: the range of the model's own lattice. A bound relative to the cohort
would let a Byzantine majority have the honest rejected."""


@dataclass(frozen=True, slots=True)
class Combined:
    """What a rule's own function returns; ``factors`` is float64 (n,), see :class:`Verdict`."""

    aggregate: NDArray[np.float64]
    state: State
    factors: NDArray[np.float64]
    radius: float = 0.0


Combine = Callable[[State, Updates, NDArray[np.float64]], Combined]
"""(state, usable updates, their norms float64 (n,)) -> Combined; the caller counts ``state.rounds``."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An aggregation rule.

    Args:
        spec: canonical spec string.
        minimum: fewest usable updates it can work with.
        combine: the rule itself.
        example_cap: what one device may weigh, in median devices (see :mod:`weights`).
    """

    spec: str
    minimum: int
    combine: Combine
    example_cap: int = EXAMPLE_CAP

    def init(self, d: int) -> State:
        """The memory before the first round, for d coordinates."""
        return State(self.spec, d)

    def restore(self, data: Mapping[str, object], d: int) -> State:
        """The memory from :meth:`State.to_dict`; raises InputError if it is another rule's or model's."""
        return State.from_dict(data, spec=self.spec, d=d)

    def apply(self, state: State, updates: Updates) -> tuple[NDArray[np.float64], State, Report]:
        """Aggregate float64 (d,), the next state and the report.

        The result has the same bits for any order of arrival and any block size. With fewer usable updates
        than ``minimum`` it is zeros with the state unchanged, and ``report.shortfall`` says so. Never
        raises on what a device sent.
        """
        updates = replace(updates, example_cap=self.example_cap)
        screened = [_screen(updates, row) for row in range(updates.n)]
        rows = [row for row, (reason, _) in enumerate(screened) if not reason]
        usable = updates.keep(rows)
        if usable.n < self.minimum:
            shortfall = f"{self.spec} needs {self.minimum} usable updates, has {usable.n}"
            report = _report(self.spec, updates, screened, rows, np.ones(len(rows)))
            return np.zeros(updates.d), state, replace(report, shortfall=shortfall)
        combined = self.combine(state, usable, np.array([screened[row][1] for row in rows]))
        report = _report(self.spec, updates, screened, rows, combined.factors)
        new_state = replace(combined.state, rounds=state.rounds + 1)
        return combined.aggregate, new_state, replace(report, radius=combined.radius)


def _screen(updates: Updates, row: int) -> tuple[str, float]:
    """The reason to reject one update (empty: none) and its norm (0.0 if rejected), in one decoding pass."""
    total = 0.0
    for start in range(0, updates.d, READ_COORDINATES):
        stop = min(start + READ_COORDINATES, updates.d)
        try:
            x = updates.read(row, start, stop)
        except PeerError:
            return MALFORMED, 0.0
        if x.shape != (stop - start,):
            return WRONG_LAYOUT, 0.0
        if not np.isfinite(x).all():
            return NON_FINITE, 0.0
        if np.abs(x).max() > MAX_MAGNITUDE:
            return TOO_LARGE, 0.0
        total = add_squares(total, x)
    return "", math.sqrt(total)


def _report(
    spec: str,
    updates: Updates,
    screened: list[tuple[str, float]],
    rows: list[int],
    factors: NDArray[np.float64],
) -> Report:
    factor = dict(zip(rows, factors.tolist(), strict=True))
    weight = dict(zip(rows, updates.keep(rows).weights.tolist(), strict=True))
    verdicts = tuple(
        Verdict(item.index, item.lag, *screened[row], factor.get(row, 0.0), weight.get(row, 0.0))
        for row, item in enumerate(updates.items)
    )
    return Report(spec, verdicts)
