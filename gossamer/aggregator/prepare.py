"""What becomes of a round's updates between the inbox and the rule: the method's factors, weights and radius."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules import Body, Update
from gossamer.errors import InputError
from gossamer.methods import Method

MAX_FACTOR = 1e6
"""No method needs more; beyond it a claim in a header would decide the aggregate."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """A body times a number, float32 as it is read."""

    body: Body
    factor: float

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """See :class:`gossamer.aggregator.rules.Body`."""
        values: NDArray[np.float32] = self.body.read(start, stop) * np.float32(self.factor)
        return values


def prepared(updates: Sequence[Update], chosen: Method) -> list[Update]:
    """The updates as the rule is to see them, in ascending (device, round): scaled, and of equal weight if need be.

    Raises `InputError` if the method's factors are not one bounded positive number for each.
    """
    ordered = sorted(updates, key=lambda update: (update.index, update.round))
    factors = list(chosen.factors([dict(update.sections) for update in ordered]))
    fit = len(factors) == len(ordered) and all(0.0 < f <= MAX_FACTOR and math.isfinite(f) for f in factors)
    if not fit:
        raise InputError(f"{chosen.spec}: expected {len(ordered)} factors above 0 and at most {MAX_FACTOR:g}")
    out = []
    for update, factor in zip(ordered, factors, strict=True):
        made = update if factor == 1.0 else replace(update, body=Scaled(update.body, factor))
        out.append(replace(made, examples=1, lag=0) if chosen.equal else made)
    return out
