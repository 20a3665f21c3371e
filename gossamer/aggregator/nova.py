"""FedNova's normalisation: devices that took more local steps than others do not pull the optimum their way.

Wang and others, "Tackling the objective inconsistency problem in heterogeneous federated optimization", NeurIPS
2020. With t_i effective steps of device i, weights p_i of sum 1 and updates u_i (trained minus received)::

    FedAvg     g = sum p_i u_i                      converges to an optimum weighted by p_i t_i
    FedNova    g = t_eff sum p_i u_i / t_i,  t_eff = sum p_i t_i            weighted by p_i

so that every update is multiplied by ``t_eff / t_i``; k updates, factors float64 (k,). The step keeps FedAvg's length
where all steps are equal, and then nothing changes at all.

Steps are a claim that nobody can check, so they are taken within ``bound`` times of the cohort's lower median, either
way. Who claims fewer than it took is multiplied by at most ``bound`` and a little, which it could as well have done
itself before sending: apply the factors before a rule measures norms, and a lie gains nothing over the same lie told
in the update. Who claims more shrinks itself; what it adds to t_eff, and so to the length of everybody's step, is
its own share times ``bound - 1`` at most where the others' steps are equal. With honest devices whose steps lie
further apart than ``bound``, the furthest are only partly normalised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.errors import InputError

Vector = NDArray[np.float64]

BOUND = 10.0
"""In lower medians of the cohort. Devices of one fleet whose data differ in size by more than that are few."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """``factors`` float64 (k,), what to multiply each update by; ``steps`` is t_eff."""

    factors: Vector
    steps: float


def normalisation(steps: Sequence[float], weights: ArrayLike, bound: float = BOUND) -> Normalisation:
    """The factors ``t_eff / t_i`` from claimed effective steps; ``weights`` float64 (k,), positive, of any sum.

    Raises:
        InputError: lengths differ, there are none, or a weight is not positive. Claims are never a reason: one
            below 1 counts as 1.

    >>> found = normalisation([1, 4], [0.5, 0.5])
    >>> (found.factors.tolist(), found.steps)
    ([2.5, 0.625], 2.5)
    """
    w = np.asarray(weights, dtype=np.float64)
    if not len(steps) or w.shape != (len(steps),) or not np.isfinite(w).all() or not (w > 0).all():
        raise InputError(f"expected as many positive weights as claims of steps, at least one; got {len(steps)} claims")
    if bound < 1.0:
        raise InputError(f"the bound on claimed steps must be at least 1, got {bound}")
    t = bounded_steps(steps, bound)
    effective = float(np.dot(w, t) / w.sum())
    return Normalisation(effective / t, effective)


def bounded_steps(steps: Sequence[float], bound: float = BOUND) -> Vector:
    """Claims within ``bound`` times of their lower median, either way; float64 (k,), at least 1.

    >>> bounded_steps([5, 20, 10, 10**9, 10]).tolist()
    [5.0, 20.0, 10.0, 100.0, 10.0]
    """
    claims = [1.0 if math.isnan(each) else min(max(float(each), 1.0), 2.0**53) for each in steps]
    median = sorted(claims)[(len(claims) - 1) // 2]
    return np.clip(claims, max(1.0, median / bound), median * bound)


def momentum_steps(steps: int, momentum: float) -> float:
    """Effective steps of ``steps`` local ones with heavy-ball momentum: ``(t - m (1 - m^t) / (1 - m)) / (1 - m)``.

    >>> momentum_steps(3, 0.5)  # 1 + 1.5 + 1.75
    4.25
    """
    if not 0.0 <= momentum < 1.0:
        raise InputError(f"momentum must be in [0, 1), got {momentum}")
    return (steps - momentum * (1.0 - momentum**steps) / (1.0 - momentum)) / (1.0 - momentum)


def proximal_steps(steps: int, pull: float) -> float:
    """Effective steps with FedProx's term, ``pull`` = learning rate times mu: ``(1 - (1 - pull)^t) / pull``.

    >>> round(proximal_steps(3, 0.5), 12)  # 1 + 0.5 + 0.25
    1.75
    """
    if not 0.0 <= pull < 1.0:
        raise InputError(f"learning rate times mu must be in [0, 1), got {pull}")
    return -math.expm1(steps * math.log1p(-pull)) / pull if pull else float(steps)
