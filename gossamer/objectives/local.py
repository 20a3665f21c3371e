"""The device's half: batches to draw, coefficients to send back through the model, sections to send up. Pure.

A fit with any of the objectives is the same loop, in numpy or torch::

    local = begin(spec, positive, sections)             # positive: (n,) bool, all local examples
    for rows in local.batches(rng, batch_size):         # one epoch
        value, coefficients = local.step(scores(rows), rows, learning_rate, rng)
        ...                                             # model -= learning_rate * sum_i coefficients_i d score_i
    local.sections(scores(everything))                  # number -> bytes, beside the update

Shapes: scores (len(rows),); ``coefficients`` of the same shape and dtype, the gradient of ``value`` by each score.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError
from gossamer.objectives import auc_minimax, pairwise
from gossamer.objectives.auc_minimax import Dual
from gossamer.objectives.histogram import ScoreHistogram
from gossamer.objectives.sections import MANIFEST_DUAL, MANIFEST_SCORES, UPDATE_DUAL, UPDATE_SCORES, Sections

Array = NDArray[Any]

PASSIVE = 16
"""Passive scores that each active one meets in a step; more cost time, not bytes."""

OBJECTIVES = ("auc-minimax", "pairwise", "cross-entropy")


class LocalObjective(Protocol):
    """See the module."""

    def batches(self, rng: np.random.Generator, size: int) -> Iterator[Array]:
        """Rows of each batch of one epoch."""
        ...

    def step(self, scores: Array, rows: Array, learning_rate: float, rng: np.random.Generator) -> tuple[float, Array]:
        """Loss of the batch, at least 0, and coefficients; moves what the objective has beside the model."""
        ...

    def sections(self, scores: Array) -> dict[int, bytes]:
        """What goes up, from the scores (n,) of all local examples after the last step."""
        ...


class Pool(Protocol):
    """Passive scores; :class:`ScoreHistogram` is one."""

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], positive: bool) -> NDArray[np.float64]:
        """Scores of a class; InputError if it has none."""
        ...

    def examples(self, positive: bool) -> float:
        """Mean number of a device's examples of a class; 0 if there are no scores of it."""
        ...


def begin(spec: str, positive: Array, sections: Sections) -> LocalObjective:
    """The objective of a spec string for one fit.

    Args:
        spec: ``auc-minimax:P`` with the fleet's share of positives P, ``pairwise`` or ``cross-entropy``.
        positive: (n,) bool.
        sections: of the manifest.

    Raises:
        InputError: no such objective, or P not between 0 and 1.
        MalformedMessage: a section of the manifest is not what its number says.
    """
    name, p = parse_spec(spec)
    positive = np.asarray(positive, dtype=bool)
    if p is not None:
        dual = sections.get(MANIFEST_DUAL)
        return MinimaxLocal(positive, p, Dual() if dual is None else Dual.parse(dual))
    if name == "pairwise":
        pool = sections.get(MANIFEST_SCORES)
        return PairwiseLocal(positive, None if pool is None else ScoreHistogram.parse(pool))
    return CrossEntropyLocal(positive)


def parse_spec(spec: str) -> tuple[str, float | None]:
    """Name of the objective, and the fleet's share of positives where it needs one. Raises InputError.

    >>> parse_spec("auc-minimax:0.098"), parse_spec("pairwise")
    (('auc-minimax', 0.098), ('pairwise', None))
    """
    name, _, text = spec.partition(":")
    if name not in OBJECTIVES or (name == "auc-minimax") != bool(text):
        raise InputError(f"objective {spec!r} is not known; expected auc-minimax:P, pairwise or cross-entropy")
    if not text:
        return name, None
    try:
        p = float(text)
    except ValueError:
        p = float("nan")
    if not 0.0 < p < 1.0:
        raise InputError(f"objective {spec!r}: expected the fleet's share of positives between 0 and 1 after the colon")
    return name, p


def shuffled(rng: np.random.Generator, n: int, size: int) -> Iterator[Array]:
    """Each row once, in batches; the last may be shorter."""
    order = rng.permutation(n)
    for start in range(0, n, size):
        yield order[start : start + size]


class CrossEntropyLocal:
    """Logistic loss of the score: ``log(1 + exp(-t h))``, t = +-1."""

    def __init__(self, positive: Array) -> None:
        self.positive = positive

    def batches(self, rng: np.random.Generator, size: int) -> Iterator[Array]:
        """See :class:`LocalObjective`."""
        return shuffled(rng, len(self.positive), size)

    def step(self, scores: Array, rows: Array, learning_rate: float, rng: np.random.Generator) -> tuple[float, Array]:
        """See :class:`LocalObjective`."""
        del learning_rate, rng
        sign = _as(scores, np.where(self.positive[rows], 1, -1))
        loss = np.logaddexp(0, -sign * scores)
        # t / (1 + exp(t h)) by way of the loss, which cannot overflow
        return float(loss.mean()), -sign * np.exp(-loss - sign * scores) / len(rows)

    def sections(self, scores: Array) -> dict[int, bytes]:
        """See :class:`LocalObjective`: none."""
        del scores
        return {}


class MinimaxLocal:
    """`auc_minimax`; ``dual`` starts from the round's and moves with every step."""

    def __init__(self, positive: Array, p: float, dual: Dual) -> None:
        self.positive, self.p, self.dual = positive, p, dual

    def batches(self, rng: np.random.Generator, size: int) -> Iterator[Array]:
        """See :class:`LocalObjective`."""
        return shuffled(rng, len(self.positive), size)

    def step(self, scores: Array, rows: Array, learning_rate: float, rng: np.random.Generator) -> tuple[float, Array]:
        """See :class:`LocalObjective`. All gradients are taken before anything moves.

        The loss is ``F / (p (1-p)) + 1``, at the saddle the squared loss over pairs; elsewhere it may be below 0,
        which counts as 0.
        """
        del rng
        batch = scores, _as(scores, self.positive[rows]), self.p, self.dual
        found = auc_minimax.coefficients(*batch)
        loss = max(float(auc_minimax.value(*batch)) + 1.0, 0.0)
        self.dual = auc_minimax.step(self.dual, auc_minimax.gradients(*batch), learning_rate).bounded()
        return loss, found

    def sections(self, scores: Array) -> dict[int, bytes]:
        """See :class:`LocalObjective`: the three scalars."""
        del scores
        return {UPDATE_DUAL: self.dual.serialize()}


class PairwiseLocal:
    """`pairwise`; passive scores come from ``pool``. Without one (the first round) a device pairs its own examples.

    A batch is half positives, half negatives, each drawn with replacement; all of one class where the other is
    missing. With a pool that lacks a class, or none, what can form no pair has the coefficient 0.
    """

    def __init__(self, positive: Array, pool: Pool | None) -> None:
        self.positive = positive
        self.pool = pool
        self.rows = {True: np.flatnonzero(positive), False: np.flatnonzero(~positive)}
        self.weights = {
            label: 1.0 if pool is None else _weight(len(rows), len(positive), label, pool)
            for label, rows in self.rows.items()
        }

    def batches(self, rng: np.random.Generator, size: int) -> Iterator[Array]:
        """See :class:`LocalObjective`; as many batches as an epoch of all examples has."""
        n = len(self.positive)
        half = max(size // 2, 1)
        classes = [rows for rows in self.rows.values() if len(rows)]
        for _ in range(-(-n // size)):
            yield np.concatenate([rows[rng.integers(0, len(rows), half)] for rows in classes])

    def step(self, scores: Array, rows: Array, learning_rate: float, rng: np.random.Generator) -> tuple[float, Array]:
        """See :class:`LocalObjective`. The loss is the mean of what the two classes' active examples lose."""
        del learning_rate
        out = np.zeros_like(scores)
        losses = []
        mask = self.positive[rows]
        for label in (True, False):
            active = scores[mask == label]
            passive = self._passive(scores[mask != label], len(active), not label, rng)
            if len(active) == 0 or passive is None:
                continue
            passive, weight = _as(scores, passive), self.weights[label]
            value = pairwise.positive_value if label else pairwise.negative_value
            found = pairwise.positive_coefficients if label else pairwise.negative_coefficients
            losses.append(float(value(active, passive)))
            out[mask == label] = weight * found(active, passive)
        return (sum(losses) / len(losses) if losses else 0.0), out

    def sections(self, scores: Array) -> dict[int, bytes]:
        """See :class:`LocalObjective`: the histogram of all scores, which nobody asked a batch for."""
        return {UPDATE_SCORES: ScoreHistogram.of_scores(scores, self.positive).serialize()}

    def _passive(self, own: Array, n: int, label: bool, rng: np.random.Generator) -> Array | None:
        """Scores (n, k) of class ``label``: from the pool, else ``own`` of the batch; None if there are none."""
        if self.pool is not None and self.pool.examples(label) > 0:
            return self.pool.sample(rng, (n, PASSIVE), label)
        return np.broadcast_to(own, (n, len(own))) if len(own) else None


def _weight(own: int, n: int, label: bool, pool: Pool) -> float:
    return pairwise.class_weight(own / n, pool.examples(label) / (pool.examples(True) + pool.examples(False)))


def _as(scores: Array, values: Array) -> Array:
    return np.asarray(values, dtype=scores.dtype)
