"""Attacks from what is known of the honest: (m, d) honest deltas -> (d,); all attackers of a round send the same.

* ``alie``: "a little is enough", mean - z * deviation (Baruch et al., NeurIPS 2019).
* ``inner-product-2``, ``-10``: minus 2 or 10 times the mean (Xie et al., UAI 2019).
* ``mimic``: a copy of one honest device, the one that lies furthest along the direction in which the honest differ
  most; hides from every rule that looks for outliers, and starves the others (Karimireddy et al., ICLR 2022). The
  paper learns that direction over rounds; here it is this round's, so that nothing need be remembered.
* ``min-max``: mean - gamma * mean / |mean|, gamma as large as its distance to every honest delta stays within the
  largest distance between two of them (Shejwalkar and Houmansadr, NDSS 2021, its unit-vector form; gamma in closed
  form instead of by halving).

An attacker that knows only its own delta has no deviation and no distance to go by: the delta's own size stands in.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.attacks.base import Attack, Context, Craft, Vector, known


def _alie(honest: Vector, context: Context) -> NDArray[np.floating]:
    deltas = known(honest, context)
    # One delta has no deviation across devices: its own root mean square stands in.
    own_rms = math.sqrt(float(np.mean(deltas**2)))
    deviation = deltas.std(axis=0) if len(deltas) > 1 else np.full(len(honest), own_rms)
    return np.asarray(deltas.mean(axis=0) - alie_z(context.cohort, context.attackers) * deviation)


def alie_z(cohort: int, attackers: int) -> float:
    """The largest shift, in deviations, that a majority of the cohort still outdoes.

    z = Phi^-1((C - B - s) / (C - B)) with s = C // 2 + 1 - B supporters needed; 1.5 where the attackers are a
    majority and the formula ends (their value is then the median whatever z is).
    """
    honest = cohort - attackers
    needed = cohort // 2 + 1 - attackers
    if needed <= 0 or honest <= needed:
        return 1.5
    return _normal_quantile((honest - needed) / honest)


def _normal_quantile(p: float) -> float:
    low, high = -8.0, 8.0
    for _ in range(60):  # bisection: scipy is not a dependency
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * math.erfc(-middle / math.sqrt(2)) < p else (low, middle)
    return (low + high) / 2


def _inner_product(factor: float) -> Craft:
    return lambda honest, context: np.asarray(-factor * known(honest, context).mean(axis=0))


def _mimic(honest: Vector, context: Context) -> NDArray[np.floating]:
    deltas = known(honest, context)
    centred = deltas - deltas.mean(axis=0)
    # The first principal direction is centred^T v, v the first eigenvector of the small Gram matrix (m, m).
    _, vectors = np.linalg.eigh(centred @ centred.T)
    direction = vectors[:, -1] @ centred
    return np.asarray(deltas[np.argmax(np.abs(deltas @ direction))])


def _min_max(honest: Vector, context: Context) -> NDArray[np.floating]:
    deltas = known(honest, context)
    mean = deltas.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length == 0.0:
        return np.asarray(mean)
    away = -mean / length
    return np.asarray(mean + _furthest(deltas - mean, away, _diameter(deltas)) * away)


def _diameter(deltas: NDArray[np.float64]) -> float:
    """Largest distance between two of (m, d) deltas; of one alone, that of two unrelated ones of its length."""
    if len(deltas) == 1:
        return math.sqrt(2.0) * float(np.linalg.norm(deltas[0]))
    return max(float(np.linalg.norm(deltas - delta, axis=1).max()) for delta in deltas)


def _furthest(centred: NDArray[np.float64], away: NDArray[np.float64], reach: float) -> float:
    """The largest gamma >= 0 with ``|gamma * away - c| <= reach`` for every row c of (m, d), all |c| <= reach."""
    along = centred @ away
    beside = np.square(centred).sum(axis=1) - along**2
    return max(0.0, float(np.min(along + np.sqrt(np.maximum(reach**2 - beside, 0.0)))))


STATISTICAL = (
    Attack("alie", _alie),
    Attack("inner-product-2", _inner_product(2.0)),
    Attack("inner-product-10", _inner_product(10.0)),
    Attack("mimic", _mimic),
    Attack("min-max", _min_max),
)
