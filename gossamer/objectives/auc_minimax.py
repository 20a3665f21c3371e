"""AUC with squared pairs, as a saddle point: every example counts by itself, no pair is formed.

Ying, Wen, Lyu, "Stochastic online AUC maximization", NIPS 2016; federated: Guo, Liu, Yuan, Shen, Liu, Yang, ICML 2020.
With h the score, y the label, p the *fleet's* share of positives, centres a and b and the dual variable::

    F = E[ (1-p)(h-a)^2 1[+] + p (h-b)^2 1[-] + 2 (1+dual) (p h 1[-] - (1-p) h 1[+]) ] - p (1-p) dual^2
    min over model, a, b; max over dual

All here is of F / (p (1-p)), so that a step does not shrink with the share of positives. At the saddle a = E[h|+],
b = E[h|-], dual = b - a (negative where AUC > 1/2), and ``F / (p (1-p)) = E (1 - h+ + h-)^2 - 1`` over all pairs.
A dual step of the wrong sign diverges while AUC may look well: watch ``dual``, not only AUC.

Shapes: scores (n,), ``positive`` (n,) of 0 and 1 in the dtype of the scores. Plain arithmetic and ``.mean()`` only:
the same functions take numpy arrays and torch tensors, and torch can differentiate :func:`value`.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from typing import Any

from gossamer.errors import InputError, MalformedMessage, NonFiniteInput

MAX_SCALAR = 1024.0
"""Bound of each scalar. The margin between classes is 1: scores a thousand margins away have diverged."""

SECTION_BYTES = 12

_PACKED = struct.Struct("<3f")


@dataclass(frozen=True, slots=True)
class Dual:
    """The three scalars beside the model: centres of the positive and the negative scores, and the dual variable.

    The wire form of update and manifest is 3 float32, little-endian, 12 bytes.
    """

    positive_centre: float = 0.0
    negative_centre: float = 0.0
    dual: float = 0.0

    def bounded(self) -> Dual:
        """Each within +-MAX_SCALAR. Raises NonFiniteInput on NaN; infinity becomes the bound."""
        values = (self.positive_centre, self.negative_centre, self.dual)
        if any(math.isnan(value) for value in values):
            raise NonFiniteInput(f"expected three numbers beside the model, got {values}: lower the learning rate")
        return Dual(*(min(max(float(value), -MAX_SCALAR), MAX_SCALAR) for value in values))

    def serialize(self) -> bytes:
        """12 bytes, bounded.

        >>> Dual.parse(Dual(0.5, -1e9, -0.25).serialize())
        Dual(positive_centre=0.5, negative_centre=-1024.0, dual=-0.25)
        """
        it = self.bounded()
        return _PACKED.pack(it.positive_centre, it.negative_centre, it.dual)

    @classmethod
    def parse(cls, data: bytes) -> Dual:
        """Inverse of :meth:`serialize`. Raises MalformedMessage: another length, not finite, beyond the bound."""
        if len(data) != SECTION_BYTES:
            raise MalformedMessage(f"expected {SECTION_BYTES} bytes of AUC scalars, got {len(data)}")
        values = _PACKED.unpack(data)
        if not all(abs(value) <= MAX_SCALAR for value in values):  # also NaN
            raise MalformedMessage(f"expected AUC scalars within +-{MAX_SCALAR:g}, got {values}")
        return cls(*values)


def value(scores: Any, positive: Any, p: float, at: Dual) -> Any:
    """Batch mean of F / (p (1-p)); a scalar of the scores' kind.

    >>> import numpy as np
    >>> float(value(np.array([1.0, 0.0]), np.array([1.0, 0.0]), 0.5, Dual(1.0, 0.0, -1.0)))
    -1.0
    """
    plus, minus = _shares(positive, p)
    centred = plus * (scores - at.positive_centre) ** 2 + minus * (scores - at.negative_centre) ** 2
    return (centred + 2 * (1 + at.dual) * scores * (minus - plus)).mean() - at.dual**2


def coefficients(scores: Any, positive: Any, p: float, at: Dual) -> Any:
    """(n,): gradient of :func:`value` by each score. The model's gradient is their sum with the scores' gradients."""
    plus, minus = _shares(positive, p)
    pull = plus * (scores - at.positive_centre) + minus * (scores - at.negative_centre)
    return 2 * (pull + (1 + at.dual) * (minus - plus)) / len(scores)


def gradients(scores: Any, positive: Any, p: float, at: Dual) -> tuple[Any, Any, Any]:
    """Gradients of :func:`value` by ``positive_centre``, ``negative_centre`` and ``dual``: three scalars."""
    plus, minus = _shares(positive, p)
    return (
        -2 * (plus * (scores - at.positive_centre)).mean(),
        -2 * (minus * (scores - at.negative_centre)).mean(),
        2 * (scores * (minus - plus)).mean() - 2 * at.dual,
    )


def step(at: Dual, gradient: tuple[Any, Any, Any], learning_rate: float) -> Dual:
    """One step: down in the centres, **up** in the dual variable."""
    by_positive, by_negative, by_dual = (float(each) for each in gradient)
    return replace(
        at,
        positive_centre=at.positive_centre - learning_rate * by_positive,
        negative_centre=at.negative_centre - learning_rate * by_negative,
        dual=at.dual + learning_rate * by_dual,
    )


def _shares(positive: Any, p: float) -> tuple[Any, Any]:
    """(n,) each: what an example weighs among the positives, and among the negatives; mean 1 over the fleet."""
    if not 0.0 < p < 1.0:
        raise InputError(f"expected the fleet's share of positives between 0 and 1, got {p}")
    return positive / p, (1 - positive) / (1 - p)
