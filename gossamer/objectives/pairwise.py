"""Squared hinge over pairs: a device's own scores against everybody's.

FeDXL (Guo, Jin, Luo, Yang, "FeDXL: provable federated learning for deep X-risk optimization", ICML 2023) for the loss
``E (1 - h+ + h-)_+^2`` over all pairs of the fleet. Its gradient splits into examples that are *active* (the device's
own, through which the gradient flows) and scores that are *passive* (only numbers, of any device and of earlier
rounds)::

    active positive:  -2 E_passive (1 - h + z)_+        active negative:  2 E_passive (1 - z + h)_+

With n_i of a class on a device and their mean over the fleet, n_i / mean as the weight of active examples makes the
mean over devices the loss over the fleet, if all take the same number of steps. Here a device takes steps in proportion
to its examples, so that the weight of one step is its *share* of the class over the fleet's share: the same number
where devices have equally many examples. A device without a class has no active examples of it and still meets others'
scores. Updates should weigh the same at the server, for the weights already say what a device has.

Shapes: scores (n,), passive scores (n, k). Plain arithmetic and ``.mean()`` only: numpy arrays and torch tensors alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_WEIGHT = 16.0
"""Bound of a class weight. Where hardly any device has a class, unbounded weights would be steps of any length."""


def class_weight(own: float, fleet: float) -> float:
    """What a device's active examples of a class weigh, from the shares of the class here and in the fleet.

    ``own / fleet``, at most MAX_WEIGHT; 0 if the device has none.

    >>> class_weight(0.375, 0.25), class_weight(0.0, 0.0), class_weight(0.5, 0.0)
    (1.5, 0.0, 16.0)
    """
    if own == 0:
        return 0.0
    return min(own / fleet, MAX_WEIGHT) if fleet > 0 else MAX_WEIGHT


def positive_value(scores: Any, passive: Any) -> Any:
    """Mean of ``(1 - h + z)_+^2`` over active positives (n,) and passive negatives (n, k)."""
    return (_hinge(1 - scores[:, None] + passive) ** 2).mean()


def negative_value(scores: Any, passive: Any) -> Any:
    """Mean of ``(1 - z + h)_+^2`` over active negatives (n,) and passive positives (n, k)."""
    return (_hinge(1 - passive + scores[:, None]) ** 2).mean()


def positive_coefficients(scores: Any, passive: Any) -> Any:
    """(n,): gradient of :func:`positive_value` by each score.

    >>> positive_coefficients(np.array([0.0, 1.0]), np.array([[0.5], [0.5]])).tolist()
    [-1.5, -0.5]
    """
    return -2 * _hinge(1 - scores[:, None] + passive).mean(1) / len(scores)


def negative_coefficients(scores: Any, passive: Any) -> Any:
    """(n,): gradient of :func:`negative_value` by each score."""
    return 2 * _hinge(1 - passive + scores[:, None]).mean(1) / len(scores)


def pairwise_loss(positives: NDArray[Any], negatives: NDArray[Any]) -> float:
    """Mean of ``(1 - h+ + h-)_+^2`` over all pairs: what a run minimises. (n+,) and (n-,), memory n+ n-."""
    return float(positive_value(positives, np.broadcast_to(negatives, (len(positives), len(negatives)))))


def _hinge(margin: Any) -> Any:
    return margin * (margin > 0)
