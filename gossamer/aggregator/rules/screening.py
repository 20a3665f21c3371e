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

SUSPICIOUS_SQUARES = 0.99 * MAX_MAGNITUDE**2
"""No coordinate is out of range where the sum of squares is below this, rounded in float32 as it may be. Above, one
need not be: the exact pass then finds nothing to reject."""


class Suspicious(Exception):
    """An update may be one that no rule may see: the exact pass is needed. Never leaves ``Rule.apply``."""


class Screen:
    """Collects the norms of a rule that screens, and raises Suspicious at squares that an unusable update may have.

    Args:
        n: updates.
        norms: those the rule was called with. With any, it watches no more.
    """

    def __init__(self, n: int, norms: NDArray[np.float64]) -> None:
        self.watches = not len(norms)
        self._given = norms
        self._total = np.zeros(n)

    def add(self, squares: NDArray[np.float64]) -> None:
        """Sums of squares of the next places of coordinates, float64 (k, n), in ascending order of places."""
        if not self.watches:
            return
        if not (squares < SUSPICIOUS_SQUARES).all():  # NaN compares false
            raise Suspicious
        for each in squares:
            self._total += each

    def add_known(self, squares: NDArray[np.float64]) -> None:
        """Squares float64 (n,) of coordinates known to be in range."""
        self._total += squares

    @property
    def norms(self) -> NDArray[np.float64]:
        """Float64 (n,)."""
        return np.sqrt(self._total) if self.watches else self._given


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
