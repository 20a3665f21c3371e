"""Banded noise: what one round adds, the next rounds take back in part; coefficients (B,), noise int64 (d,) a round.

The model after t rounds is a prefix sum of aggregates x. Independent noise adds up in it. The matrix mechanism
releases ``C x + z`` with independent z and a lower triangular C, and of it computes ``x + C^-1 z``: the noise
``n = C^-1 z`` is negatively correlated, so that its prefix sums grow more slowly. C is Toeplitz with B bands,
``c_0 = 1, c_1, .., c_(B-1)``, and the recursion needs the last B - 1 noises only::

    n(t) = z(t) - sum_(1 <= j < B) c_j n(t - j)

Source: Choquette-Choo, Ganesh, McKenna, McMahan, Rush, Thakurta, Xu, "(Amplified) banded matrix factorization",
NeurIPS 2023. Its amplification is not used here.

**Sensitivity.** A device that takes part in rounds T with vectors of norm at most 1 changes C x by at most
``sqrt(sum over s, t in T of <column s, column t>)``, since no entry of C is negative. In ``fixed`` groups a device
comes every R rounds; with B <= R its columns do not touch: ``sqrt(k) |c|``. In a ``reshuffled`` cycle it may be last
in one cycle and first in the next; the worst schedule is found by dynamic programming over cycles. Both are exact
for columns of full length, and bounds for those that the last round cuts off. An update must count in the round
that it was made for, hence ``max_lag = 0``.

**Coefficients** are those of ``(1 - x)^-a`` cut off at B: the best a for the root mean square error of the prefix
sums, by a search (a = 1/2 and B = rounds would be the square root of the prefix sum). They are multiples of 2^-12, so
that C x is an integer vector in units of 2^-32 and z can be rounded to those units (:mod:`gaussian`), and the
recursion is integers throughout. Rounding n to the lattice inside the recursion is a function of C x + z alone,
since x is on the lattice: the guarantee does not suffer from it.

Noise of the model at the same epsilon, in that of independent noise (root mean square over 200 rounds): ``fixed``
with B = R = 5: .49, with B = R = 20: .32; ``reshuffled``: .64 and .42. For ``fixed`` that is within .5 % of the best
banded Toeplitz matrix (B <= 5), for ``reshuffled`` within 3 %; any banded matrix at all, found by descent for 10 to 30
rounds and B = 5, is 1.7 to 3 % better.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

COEFFICIENT_BITS = 12
ONE = 1 << COEFFICIENT_BITS
MAX_BANDS = 256

EXPONENT_STEPS = 64
SEARCHED_ROUNDS = 1024
"""The best exponent changes little with more rounds."""

Noise = NDArray[np.int64]


def coefficients(bands: int, exponent: float) -> tuple[int, ...]:
    """c_0 .. c_(B-1) in units of 2^-12, never increasing for an exponent in [0, 1].

    >>> coefficients(3, 0.5)
    (4096, 2048, 1536)
    """
    values = [1.0]
    for j in range(1, bands):
        values.append(values[-1] * (exponent + j - 1) / j)
    return tuple(round(value * ONE) for value in values)


def sensitivity(c: tuple[int, ...], participations: int, cycle: int, *, reshuffled: bool) -> float:
    """How far one device moves C x if each of its vectors has norm 1: once in every ``cycle`` rounds.

    Args:
        c: coefficients in units of 2^-12, at most ``cycle`` of them.
        participations: k.
        cycle: R, rounds of a cycle.
        reshuffled: the device's place in the cycle changes; otherwise it is the same in every one.
    """
    overlaps = _overlaps(c)
    squared = participations * overlaps[0]
    if reshuffled and participations > 1:
        squared += 2 * _worst_overlap(overlaps[1:], participations, cycle)
    return math.sqrt(squared) / ONE * (1.0 + 1e-12)


def _overlaps(c: tuple[int, ...]) -> list[int]:
    """<column t, column t + s> for s = 0 .. B - 1."""
    return [sum(a * b for a, b in zip(c, c[s:], strict=False)) for s in range(len(c))]


def _worst_overlap(overlaps: list[int], participations: int, cycle: int) -> int:
    """The largest sum of overlaps of participations in consecutive cycles; ``overlaps[s - 1]`` at distance s."""
    at_distance = np.zeros(2 * cycle, dtype=np.int64)  # distances 1 .. 2 R - 1
    at_distance[1 : 1 + len(overlaps)] = overlaps
    places = np.arange(cycle)
    reach = min(len(overlaps), cycle)  # only the last places of a cycle touch the first of the next
    last, first = places[cycle - reach :], places[:reach]
    gain = at_distance[cycle + first[None, :] - last[:, None]]
    best = np.zeros(cycle, dtype=np.int64)  # of schedules that end at this place
    for _ in range(participations - 1):
        after = np.full(cycle, best.max(), dtype=np.int64)
        if reach:
            after[:reach] = np.maximum(after[:reach], (best[last][:, None] + gain).max(axis=0))
        best = after
    return int(best.max())


def next_noise(z: Noise, earlier: list[Noise], c: tuple[int, ...]) -> Noise:
    """n(t) in lattice units, int64 (d,).

    Args:
        z: int64 (d,) in units of 2^-32.
        earlier: n(t - 1), n(t - 2), .. in lattice units, as far as there are.
        c: coefficients.
    """
    left = z.copy()
    for coefficient, noise in zip(c[1:], earlier, strict=False):
        left -= coefficient * noise
    rounded: Noise = (left + (ONE >> 1)) >> COEFFICIENT_BITS
    return rounded


def prefix_errors(c: tuple[int, ...], rounds: int) -> NDArray[np.float64]:
    """Standard deviation of the noise in the prefix sums over 1, 2, .. rounds, for z of deviation 1; (rounds,)."""
    return _prefix_errors(np.array(c, dtype=np.float64)[:, None] / ONE, rounds)[:, 0]


def _prefix_errors(c: NDArray[np.float64], rounds: int) -> NDArray[np.float64]:
    """The same for many matrices: (B, candidates) -> (rounds, candidates)."""
    inverse = np.zeros((rounds, c.shape[1]))
    inverse[0] = 1.0
    for t in range(1, rounds):
        reach = min(len(c) - 1, t)
        inverse[t] = -(c[1 : reach + 1] * inverse[t - reach : t][::-1]).sum(axis=0)
    return np.sqrt(np.cumsum(np.cumsum(inverse, axis=0) ** 2, axis=0))


@lru_cache(maxsize=64)
def best_exponent(bands: int, rounds: int, cycle: int, *, reshuffled: bool) -> float:
    """The exponent of least root mean square error of the prefix sums at equal privacy, a multiple of 1/64."""
    rounds = min(rounds, SEARCHED_ROUNDS)
    exponents = np.arange(EXPONENT_STEPS + 1) / EXPONENT_STEPS
    candidates = [coefficients(bands, exponent) for exponent in exponents.tolist()]
    participations = -(-rounds // cycle)
    cost = np.array([sensitivity(c, participations, cycle, reshuffled=reshuffled) for c in candidates])
    errors = _prefix_errors(np.array(candidates, dtype=np.float64).T / ONE, rounds)
    return float(exponents[int(np.argmin(cost**2 * (errors**2).mean(axis=0)))])


def relative_error(c: tuple[int, ...], rounds: int, cycle: int, *, reshuffled: bool) -> float:
    """Noise of the model, as a fraction of what independent noise gives at the same privacy (root mean square)."""
    participations = -(-rounds // cycle)
    own = math.sqrt(float((prefix_errors(c, rounds) ** 2).mean()))
    own *= sensitivity(c, participations, cycle, reshuffled=reshuffled)
    return own / (math.sqrt(participations) * math.sqrt((rounds + 1) / 2))
