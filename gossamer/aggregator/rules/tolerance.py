"""How many attackers a cohort must bear: f from the hypergeometric tail, for a fraction of the whole fleet.

A cohort of C devices drawn from N, of which A are attackers, holds more than f of them with probability

``P(X > f) = sum over k > f of  C(A, k) C(N - A, C - k) / C(N, C)``

which is far more than a look at the mean A C / N suggests: of 20 devices with 4 attackers, a cohort of 4 has two or
more in one of six draws. In a cycle that deals the fleet into R cohorts each cohort by itself is such a draw, so the
union bound holds for all R of them together. Pure; binary logarithms of factorials where exact fractions would be
slow.

Sums of terms far from 1 are exact to about 1e-9 of their value for a fleet of a million; ``exact=True`` gives
fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from gossamer.errors import InputError

EXACT_FLEET = 2_000
"""Devices up to which the decision is made with exact fractions."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a rule must bear.

    Args:
        f: attackers in a cohort.
        attackers: of the fleet, that were assumed.
        cohort_failure: probability that one cohort has more than f.
        cycle_failure: bound of the probability that any cohort of a cycle has.
    """

    f: int
    attackers: int
    cohort_failure: float
    cycle_failure: float

    def tolerated_by(self, cohort: int, share: int = 2) -> bool:
        """Whether a rule that needs cohorts of at least ``share`` f + 1 can do it."""
        return cohort >= share * self.f + 1


def attackers_of(fleet: int, fraction: float) -> int:
    """A fraction of the fleet in devices, rounded up: part of a device is one.

    >>> attackers_of(20, 0.2), attackers_of(21, 0.2)
    (4, 5)
    """
    if not 0.0 <= fraction <= 1.0:
        raise InputError(f"the fraction of attackers must be in 0..1, got {fraction}")
    # Fraction(str) reads 0.2 as two tenths, not as the binary number a little above it.
    return math.ceil(Fraction(str(fraction)) * fleet)


def choose_f(cohort: int, fleet: int, fraction: float, failure: float, *, cohorts: int = 1) -> Tolerance:
    """The smallest f such that a cohort has more than f attackers with probability ``failure`` at most.

    Args:
        cohort: C, devices of a round.
        fleet: N devices.
        fraction: of the fleet that attacks; rounded up to whole devices.
        failure: probability, of one cohort if ``cohorts`` is 1.
        cohorts: R; ``failure`` is then that of a cycle, by the union bound.

    Raises:
        InputError: numbers out of range.

    >>> choose_f(4, 20, 0.2, 0.01).f, choose_f(100, 10_000, 0.1, 1e-6).f
    (3, 27)
    """
    if not 1 <= cohort <= fleet or cohorts < 1:
        raise InputError(f"expected 1 <= cohort <= fleet and cohorts >= 1, got {cohort}, {fleet}, {cohorts}")
    if not 0.0 < failure < 1.0:
        raise InputError(f"the failure probability must be between 0 and 1, got {failure}")
    attackers = attackers_of(fleet, fraction)
    most = min(cohort, attackers)
    exact = fleet <= EXACT_FLEET
    allowed = Fraction(str(failure)) / cohorts if exact else failure / cohorts
    tail: Fraction | float = Fraction(0) if exact else 0.0
    f = most
    while f > 0:
        more = tail + chance(f, cohort, fleet, attackers, exact=exact)
        if more > allowed:
            break
        tail, f = more, f - 1
    one = float(tail)
    return Tolerance(f, attackers, one, min(1.0, cohorts * one))


def tail(f: int, cohort: int, fleet: int, attackers: int) -> float:
    """P(X > f), from the smallest term up."""
    return math.fsum(float(chance(k, cohort, fleet, attackers)) for k in range(min(cohort, attackers), f, -1))


def chance(k: int, cohort: int, fleet: int, attackers: int, *, exact: bool = False) -> Fraction | float:
    """P(X = k), as a fraction if ``exact``."""
    others = fleet - attackers
    if not max(0, cohort - others) <= k <= min(cohort, attackers):
        return Fraction(0) if exact else 0.0
    if exact:
        ways = math.comb(attackers, k) * math.comb(others, cohort - k)
        return Fraction(ways, math.comb(fleet, cohort))
    return math.exp(_log_comb(attackers, k) + _log_comb(others, cohort - k) - _log_comb(fleet, cohort))


def _log_comb(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
