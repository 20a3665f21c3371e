"""A rule after a pre-step, ``PRESTEP+RULE``: the rule sees updates that the pre-step has mixed.

A pre-step turns n updates into m, float32 (n, d) -> (m, d), block by block, and nothing is kept of them. Every mixed
update has one vote: what devices claim of their examples does not enter it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.norms import exact_norms
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Source, Update, Updates


@dataclass(frozen=True, slots=True)
class Mixing:
    """What a pre-step makes of a round.

    Args:
        source: of the m mixed updates.
        place: which of them each update is reported with, int (n,).
    """

    source: Source
    place: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class PreStep:
    """A pre-step.

    Args:
        spec: canonical spec string.
        mix: (usable updates, screen) -> Mixing; where it ``screens``, it tells the screen all squares.
        minimum: fewest usable updates, given the fewest that the rule after it needs.
        screens: as :class:`~gossamer.aggregator.rules.base.Rule`'s.
    """

    spec: str
    mix: Callable[[Updates, Screen], Mixing]
    minimum: Callable[[int], int]
    screens: bool


@dataclass(frozen=True, slots=True)
class MixedBody:
    """One mixed update on its own: all are mixed for it, so a rule had better read blocks."""

    source: Source
    row: int

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """See :class:`~gossamer.aggregator.rules.updates.Body`."""
        row: NDArray[np.float32] = self.source.block(start, stop)[self.row]
        return row


def after(step: PreStep, rule: Rule) -> Rule:
    """The rule ``step+rule``."""

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        screen = Screen(updates.n, norms)
        mixing = step.mix(updates, screen)
        mixed = mixed_updates(updates, mixing, rule.example_cap)
        # Usable updates mix to usable ones: a rule that screens is given norms, so that it does not.
        of_mixed = np.ones(mixed.n) if rule.screens else exact_norms(mixed)
        result = rule.combine(state, mixed, of_mixed)
        return Combined(result.aggregate, result.state, result.factors[mixing.place], result.radius, screen.norms)

    spec = f"{step.spec}+{rule.spec}"
    minimum = step.minimum(rule.minimum)
    return Rule(spec, minimum, combine, rule.example_cap, screens=step.screens, portable=rule.portable)


def mixed_updates(updates: Updates, mixing: Mixing, example_cap: int) -> Updates:
    """The m mixed updates of a round."""
    count = int(mixing.place.max()) + 1
    items = tuple(Update(number, MixedBody(mixing.source, number)) for number in range(count))
    return Updates(
        items, updates.d, updates.block_coordinates, example_cap, updates.fleet, updates.round, updates.workers,
        mixing.source,
    )  # fmt: skip
