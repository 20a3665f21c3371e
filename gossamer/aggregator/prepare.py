"""What becomes of a round's updates between the inbox and the rule: the method's factors, weights and radius."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.beside import importance_factors
from gossamer.aggregator.job_settings import JobSettings
from gossamer.aggregator.rules import Body, Update
from gossamer.aggregator.rules.norms import norm_of
from gossamer.errors import InputError, PeerError
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


def clipped(updates: Sequence[Update], d: int, radius: float | None) -> list[Update]:
    """The updates, each cut to a length of at most ``radius`` (None: as they are). One that cannot be read stays."""
    if radius is None:
        return list(updates)
    return [_clipped(update, d, radius) for update in updates]


def _clipped(update: Update, d: int, radius: float) -> Update:
    try:
        norm = norm_of(update.body.read, d)
    except (PeerError, ValueError):
        return update  # the rule names it
    if not norm > radius:  # also where it is not a number
        return update
    return replace(update, body=Scaled(update.body, radius / norm))


def prepared(updates: Sequence[Update], chosen: Method, settings: JobSettings, devices: int) -> list[Update]:
    """The updates as the rule is to see them, in ascending (device, round): scaled, and of equal weight if need be.

    What the method asks for and what `importance` does multiply.

    Raises `InputError` if the method's factors are not one bounded positive number for each.
    """
    ordered = sorted(updates, key=lambda update: (update.index, update.round))
    asked = chosen.factors([dict(update.sections) for update in ordered])
    drawn = importance_factors(settings, devices, ordered)
    factors = [a * b for a, b in zip(asked, drawn, strict=True)]
    # The pairwise objective weighs a device by its share of each class already, importance by its chance.
    equal = chosen.equal or settings.participation == "importance" or settings.objective == "pairwise"
    fit = all(0.0 < f <= MAX_FACTOR and math.isfinite(f) for f in factors)
    if not fit:
        raise InputError(f"{chosen.spec}: expected {len(ordered)} factors above 0 and at most {MAX_FACTOR:g}")
    out = []
    for update, factor in zip(ordered, factors, strict=True):
        made = update if factor == 1.0 else replace(update, body=Scaled(update.body, factor))
        out.append(replace(made, examples=1, lag=0) if equal else made)
    return out
