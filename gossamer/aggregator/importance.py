"""Optimal client sampling at the server: the reference probabilities, and the threshold that devices decide by.

Chen, Horvath, Richtarik, "Optimal client sampling for federated learning", TMLR 2022. Norms u float64 (n,), expected
number of senders m; the variance of the Horvitz-Thompson sum, ``sum (1/p_i - 1) u_i^2``, is smallest with

    p_i = min(1, u_i / t),  t such that  sum p_i = m

:func:`ocs` is that, exactly; :func:`aocs` the paper's iteration, which needs only sums. Both want everybody's norm
first. Over a thin link nobody is asked: a device compares its norm with the threshold of the manifest, its chance
kept within bounds (:mod:`gossamer.wire.chance`), and the server chooses the next threshold (:func:`next_threshold`)
from the updates that arrived, each standing for 1 / p_i devices. An update weighs 1 / p_i, so that the sum over
those that arrive is right on average whatever the threshold; one that is a round old only costs variance.

Not for rounds that close early: the first to arrive are no sample. Close at the deadline.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.errors import InputError
from gossamer.wire.chance import MAX_THRESHOLD, MIN_THRESHOLD

Vector = NDArray[np.float64]
Chances = Callable[[ArrayLike, int], Vector]
"""(norms, expected number of senders) -> probabilities."""

ITERATIONS = 4
"""Of :func:`aocs`, as the paper has it."""

MAX_CHANGE = 4.0
"""Factor by which the threshold moves in one round at most: few senders make a rough estimate."""

BISECTIONS = 200


def ocs(norms: ArrayLike, expected: int) -> Vector:
    """The optimal probabilities, float64 (n,), of sum min(``expected``, n).

    No more non-zero norms than ``expected``: 1 on those and 0 on zeros, which nobody misses. All zero: expected / n.

    >>> ocs([1.0, 2.0, 3.0, 4.0, 10.0], 2).round(6).tolist()
    [0.1, 0.2, 0.3, 0.4, 1.0]
    """
    u = _checked(norms, expected)
    if expected >= len(u):
        return np.ones(len(u))
    if not u.any():
        return np.full(len(u), expected / len(u))
    if np.count_nonzero(u) <= expected:
        return (u > 0).astype(np.float64)
    # With the k largest at 1, the rest share expected - k in proportion; the smallest k that leaves none above 1.
    ascending = np.sort(u)
    sums = np.cumsum(ascending)
    for certain in range(expected):
        kept = len(u) - certain
        threshold = sums[kept - 1] / (expected - certain)
        if ascending[kept - 1] <= threshold:
            break
    chances: Vector = np.minimum(1.0, u / threshold)
    return chances


def aocs(norms: ArrayLike, expected: int, iterations: int = ITERATIONS) -> Vector:
    """The paper's approximation from sums alone, float64 (n,), of sum at most ``expected``.

    >>> aocs([1.0, 1.0, 1.0, 97.0], 2).round(6).tolist()
    [0.333333, 0.333333, 0.333333, 1.0]
    """
    u = _checked(norms, expected)
    total = float(u.sum())
    if total <= 0.0:
        return np.full(len(u), min(1.0, expected / len(u)))
    p = np.minimum(1.0, expected * (u / total))
    for _ in range(iterations):
        below = p < 1.0
        count, mass = int(below.sum()), float(p[below].sum())
        if count == 0 or mass <= 0.0:
            break  # nobody's chance can grow; the quotient below does not exist
        growth = (expected - len(u) + count) / mass
        if growth <= 1.0:
            break
        p = np.where(below, np.minimum(1.0, growth * p), p)
    return p


def sampling_variance(norms: ArrayLike, chances: ArrayLike) -> float:
    """``sum (1/p_i - 1) u_i^2``: of the Horvitz-Thompson sum when every device sends with p_i by itself."""
    u, p = np.asarray(norms, dtype=np.float64), np.asarray(chances, dtype=np.float64)
    some = u > 0
    return float(np.sum((1.0 / p[some] - 1.0) * np.square(u[some])))


def factors(chances: ArrayLike, devices: int) -> Vector:
    """What each arrived update counts in the mean over the fleet: ``1 / (p_i devices)``, float64 (k,).

    ``sum factors_i u_i`` is the mean over all devices on average; the factors sum to 1 on average only. For a rule
    that divides by the sum of weights 1 / p_i, multiply what it gives by the factors' sum.

    >>> factors([0.5, 1.0], 4).tolist()
    [0.5, 0.25]
    """
    return 1.0 / (np.asarray(chances, dtype=np.float64) * devices)


def next_threshold(
    norms: ArrayLike, chances: ArrayLike, expected: int, bounds: tuple[float, float], *, before: float | None
) -> float | None:
    """The threshold for the next round, a float32, so that ``expected`` devices send on average.

    Args:
        norms: of the updates that arrived, float64 (k,), as the server reads them, not as devices claim.
        chances: with which they were sent.
        expected: m.
        bounds: smallest and largest chance of any device (:func:`gossamer.wire.chance.bounds`).
        before: the threshold they were sent by; None: there was none.

    Returns:
        None while there is nothing to choose from (nobody has sent anything but zeros yet).
    """
    u, p = np.asarray(norms, dtype=np.float64), np.asarray(chances, dtype=np.float64)
    if not u.any():
        # Nobody, or nobody with anything: everybody's norm may lie below the threshold.
        return None if before is None else _limited(before / MAX_CHANGE, before)
    return _limited(_threshold(u, 1.0 / p, expected, bounds), before)


def _threshold(u: Vector, weights: Vector, expected: int, bounds: tuple[float, float]) -> float:
    """The t with ``sum w_i clip(u_i / t, least, most) = expected``, or the nearest end of where that can be."""
    least, most = bounds
    low, high = math.log(float(u[u > 0].min()) / most), math.log(float(u.max()) / least)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        senders = float(np.sum(weights * np.clip(u / math.exp(middle), least, most)))
        low, high = (middle, high) if senders > expected else (low, middle)
    return math.exp(high)


def _limited(threshold: float, before: float | None) -> float:
    if before is not None:
        threshold = min(max(threshold, before / MAX_CHANGE), before * MAX_CHANGE)
    return float(np.float32(min(max(threshold, MIN_THRESHOLD), MAX_THRESHOLD)))


def _checked(norms: ArrayLike, expected: int) -> Vector:
    u = np.asarray(norms, dtype=np.float64)
    if u.ndim != 1 or not len(u) or not np.isfinite(u).all() or (u < 0).any():
        raise InputError("norms must be a vector of finite numbers, none negative, of at least one")
    if expected < 1:
        raise InputError(f"the expected number of senders must be at least 1, got {expected}")
    return u
