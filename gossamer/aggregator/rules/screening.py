"""Which updates a rule may see: the exact pass that names those it may not, and why.

An update is rejected where it does not decode, has not d coordinates, is not finite, or has a coordinate outside the
range of the model's own lattice. Nothing here compares updates with each other.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.norms import READ_COORDINATES, add_squares
from gossamer.aggregator.rules.parallel import mapped
from gossamer.aggregator.rules.report import MALFORMED, NON_FINITE, TOO_LARGE, WRONG_LAYOUT
from gossamer.aggregator.rules.updates import Updates
from gossamer.errors import PeerError

MAX_MAGNITUDE = 2048.0
"""Largest coordinate of a usable update: the range of the model's own lattice. A bound relative to the cohort
would let a Byzantine majority have the honest rejected."""


class Suspicious(Exception):
    """An update may be one that no rule may see: the exact pass is needed. Never leaves ``Rule.apply``."""


def screened(updates: Updates) -> tuple[list[str], NDArray[np.float64]]:
    """The reasons to reject (n; empty: none) and the norms of the usable updates, float64 (usable,)."""
    found = mapped(lambda row: _screen(updates, row), range(updates.n), updates.workers)
    return [reason for reason, _ in found], np.array([norm for reason, norm in found if not reason])


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
