"""What an update weighs: its example count, bounded, times its staleness.

``w_i = min(max(examples_i, 1), EXAMPLE_CAP * median(examples)) / sqrt(1 + lag_i)``, float64 (n,).

The example count is a claim nobody can check. Bounded by the cohort's own median, a device that claims a million
examples weighs at most ``EXAMPLE_CAP`` median devices; without the bound it would be the aggregate. The median is
the lower one, so that it is a count somebody sent and half the cohort lying upward is needed to move it.
Staleness 1/sqrt(1 + lag): Nguyen et al., FedBuff, AISTATS 2022; lag = model versions since the update's base.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError

EXAMPLE_CAP = 3
"""Natural fleets rarely differ by more between a median device and a rich one; a liar gains no more than this."""


def staleness_weight(lag: int) -> float:
    """1/sqrt(1 + lag); lag 0 weighs 1. Raises InputError if lag is negative.

    >>> staleness_weight(3)
    0.5
    """
    if lag < 0:
        raise InputError(f"lag must not be negative, got {lag}: the update's base version is in the future")
    return 1.0 / math.sqrt(1.0 + lag)


def bounded_weights(examples: Sequence[int], lags: Sequence[int]) -> NDArray[np.float64]:
    """Float64 (n,), not normalised, every entry positive.

    >>> bounded_weights([10, 20, 1_000_000], [0, 3, 0]).tolist()
    [10.0, 10.0, 60.0]
    """
    if not examples:
        return np.zeros(0)
    counts = [max(int(count), 1) for count in examples]
    cap = EXAMPLE_CAP * sorted(counts)[(len(counts) - 1) // 2]
    return np.array([min(count, cap) * staleness_weight(lag) for count, lag in zip(counts, lags, strict=True)])
