"""A rule: (n, d) updates -> (d,) float64 and a report; pure functions with explicit state.

Every rule gets the same treatment here, so that no rule can forget it: updates that do not decode, are not finite
or leave the lattice's range are rejected and named, and a round with fewer usable updates than the rule needs
changes nothing (a robust rule below its minimum would be a promise that nobody keeps; the engine asks for
``minimum`` before it seals).

A rule that ``screens`` spares the pass over the data that finds them: it sees at its own sums, norms or sorted
columns that something is wrong, and only then that pass is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.report import Report, Verdict
from gossamer.aggregator.rules.screening import Suspicious, screened
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Updates
from gossamer.aggregator.rules.weights import EXAMPLE_CAP
from gossamer.errors import PeerError

UNSCREENED: NDArray[np.float64] = np.zeros(0)
"""The norms that a rule which ``screens`` is first called with."""


@dataclass(frozen=True, slots=True)
class Combined:
    """What a rule's own function returns.

    Args:
        aggregate: float64 (d,).
        state: the next one; the caller counts ``state.rounds``.
        factors: float64 (n,), see :class:`~gossamer.aggregator.rules.report.Verdict`.
        radius: see :class:`~gossamer.aggregator.rules.report.Report`.
        norms: float64 (n,), of a rule that screens; else those it was given.
        shortfall: what the rule needs and has not, if that is more than a number of updates (the root of
            trust); aggregate and state are then not used.
    """

    aggregate: NDArray[np.float64]
    state: State
    factors: NDArray[np.float64]
    radius: float = 0.0
    norms: NDArray[np.float64] = field(default_factory=lambda: UNSCREENED)
    shortfall: str = ""


Combine = Callable[[State, Updates, NDArray[np.float64]], Combined]
"""(state, usable updates, their norms float64 (n,)) -> Combined."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An aggregation rule.

    Args:
        spec: canonical spec string.
        minimum: fewest usable updates it can work with.
        combine: the rule itself.
        example_cap: what one device may weigh, in median devices (see :mod:`weights`).
        screens: ``combine`` is first called with all updates and the norms ``UNSCREENED``. It then raises
            Suspicious where an update may be unusable, and returns norms; called with norms, it never does.
        portable: the aggregate has the same bits on every machine, not only for every order, block size and
            number of workers on this one.
    """

    spec: str
    minimum: int
    combine: Combine
    example_cap: int = EXAMPLE_CAP
    screens: bool = False
    portable: bool = True

    def init(self, d: int) -> State:
        """The memory before the first round, for d coordinates."""
        return State(self.spec, d)

    def restore(self, data: Mapping[str, object], d: int) -> State:
        """The memory from :meth:`State.to_dict`; raises InputError if it is another rule's or model's."""
        return State.from_dict(data, spec=self.spec, d=d)

    def apply(self, state: State, updates: Updates) -> tuple[NDArray[np.float64], State, Report]:
        """Aggregate float64 (d,), the next state and the report.

        The result has the same bits for any order of arrival, block size and number of workers. With fewer
        usable updates than ``minimum`` it is zeros with the state unchanged, and ``report.shortfall`` says so.
        Never raises on what a device sent.
        """
        updates = replace(updates, example_cap=self.example_cap)
        if self.screens and updates.n >= self.minimum:
            try:
                combined = self.combine(state, updates, UNSCREENED)
            except (Suspicious, PeerError):
                pass
            else:
                return self._result(state, updates, [""] * updates.n, combined)
        reasons, norms = screened(updates)
        usable = updates.keep(row for row, reason in enumerate(reasons) if not reason)
        if usable.n < self.minimum:
            return self._short(state, updates, reasons, norms, f"{self.minimum} usable updates, has {usable.n}")
        combined = self.combine(state, usable, norms)
        return self._result(state, updates, reasons, replace(combined, norms=norms))

    def _result(
        self, state: State, updates: Updates, reasons: list[str], combined: Combined
    ) -> tuple[NDArray[np.float64], State, Report]:
        if combined.shortfall:
            return self._short(state, updates, reasons, combined.norms, combined.shortfall)
        verdicts = _verdicts(updates, reasons, combined.norms, combined.factors)
        after = replace(combined.state, rounds=state.rounds + 1)
        return combined.aggregate, after, Report(self.spec, verdicts, combined.radius)

    def _short(
        self, state: State, updates: Updates, reasons: list[str], norms: NDArray[np.float64], lack: str
    ) -> tuple[NDArray[np.float64], State, Report]:
        verdicts = _verdicts(updates, reasons, norms, np.ones(len(norms)))
        return np.zeros(updates.d), state, Report(self.spec, verdicts, shortfall=f"{self.spec} needs {lack}")


def _verdicts(
    updates: Updates, reasons: list[str], norms: NDArray[np.float64], factors: NDArray[np.float64]
) -> tuple[Verdict, ...]:
    """One for each update, from the norms and factors of the usable ones."""
    usable = [row for row, reason in enumerate(reasons) if not reason]
    weights = updates.keep(usable).weights
    of_usable = zip(norms.tolist(), factors.tolist(), weights.tolist(), strict=True)
    found = dict(zip(usable, of_usable, strict=True))
    return tuple(
        Verdict(item.index, item.lag, reasons[row], *found.get(row, (0.0, 0.0, 0.0)))
        for row, item in enumerate(updates.items)
    )
