"""The figure of a model that gives scores: (n,) scores and (n,) labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError


def auc(scores: NDArray[Any], positive: NDArray[Any]) -> float:
    """Chance that a positive scores above a negative, a tie counting one half: exactly, from ranks.

    The statistic of Mann and Whitney over mid-ranks, in integers: twice a mid-rank is whole.

    Args:
        scores: (n,) finite.
        positive: (n,) bool.

    Raises:
        InputError: one class is missing, so that there is no pair.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    positive = np.asarray(positive, dtype=bool)
    wins = int(np.count_nonzero(positive))
    pairs = wins * (len(positive) - wins)
    if pairs == 0:
        raise InputError(f"AUC needs examples of both classes, got {wins} positives of {len(positive)}")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    twice_rank = 2 * np.cumsum(count) - count + 1  # first rank + last rank of each distinct score
    total = int(twice_rank[place.reshape(-1)][positive].sum())
    return (total - wins * (wins + 1)) / (2 * pairs)
