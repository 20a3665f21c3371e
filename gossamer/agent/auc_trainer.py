"""A numpy trainer for models that give one score: AUC objectives and cross-entropy on the device's own data.

The objective comes with the round (section OBJECTIVE of the manifest, if it names one of `gossamer.objectives`), else
from the constructor; so does what it needs beside the model. What it sends beside the update stands in
``FitResult.sections``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from gossamer.agent.trainer import Array, FitConfig, FitResult, Weights
from gossamer.errors import InputError
from gossamer.objectives import metrics
from gossamer.objectives.local import OBJECTIVES, begin, parse_spec
from gossamer.objectives.sections import MANIFEST_OBJECTIVE


class ScoreModel(Protocol):
    """What :class:`AucTrainer` needs of a model; all arrays float32."""

    def init(self, seed: int) -> Weights:
        """First weights, from integer random bits alone."""
        ...

    def scores(self, weights: Weights, x: Array) -> Array:
        """(n, ...) -> (n,): higher where an example is more likely positive."""
        ...

    def backward(self, weights: Weights, x: Array, coefficients: Array) -> Weights:
        """``sum_i coefficients_i d score_i``: (n,) -> gradients with the shapes of ``weights``."""
        ...


class LinearScore:
    """``h = x w + b``, from zero: weights (d,) and (1,)."""

    def __init__(self, features: int) -> None:
        self.features = features

    def init(self, seed: int) -> Weights:
        """See :class:`ScoreModel`: zeros for any seed."""
        del seed
        return [np.zeros(self.features, np.float32), np.zeros(1, np.float32)]

    def scores(self, weights: Weights, x: Array) -> Array:
        """See :class:`ScoreModel`."""
        return np.asarray(x @ weights[0] + weights[1])

    def backward(self, weights: Weights, x: Array, coefficients: Array) -> Weights:
        """See :class:`ScoreModel`."""
        del weights
        return [coefficients @ x, coefficients.sum(keepdims=True)]


class AucTrainer:
    """SGD over a :class:`ScoreModel` on arrays in memory.

    ``x`` (n, ...) float32 and ``positive`` (n,) bool or 0/1 are the device's training data; ``held_out`` a pair of
    the same kind that no fit sees (without it, ``evaluate`` uses the training data). ``objective`` is a spec as in
    :func:`gossamer.objectives.local.begin`; an objective named in the manifest comes before it.
    """

    def __init__(
        self,
        model: ScoreModel,
        x: Array,
        positive: Array,
        held_out: tuple[Array, Array] | None = None,
        objective: str = "cross-entropy",
    ) -> None:
        if len(x) != len(positive) or len(x) == 0:
            raise InputError(f"expected a label for each example and at least one, got {len(x)} and {len(positive)}")
        parse_spec(objective)
        self.model = model
        self.x, self.positive = x, _labels(positive)
        self.held_out = (x, self.positive) if held_out is None else (held_out[0], _labels(held_out[1]))
        self.objective = objective
        self.axes: dict[int, tuple[int, ...]] = getattr(model, "axes", {})

    def initial(self, seed: int) -> Weights:
        """See :class:`gossamer.agent.trainer.Trainer`."""
        return self.model.init(seed)

    def fit(self, weights: Weights, config: FitConfig) -> FitResult:
        """See :class:`gossamer.agent.trainer.Trainer`. A last pass over the data, forward only, makes the sections."""
        sections = config.sections
        rng = np.random.Generator(np.random.PCG64([config.seed, config.round]))
        local = begin(self._spec(sections), self.positive, sections)
        current = [np.array(w, dtype=np.float32) for w in weights]
        losses: list[float] = []
        for _ in range(config.local_epochs):
            losses, seen = [], []
            for rows in local.batches(rng, config.batch_size):
                scores = self.model.scores(current, self.x[rows])
                loss, coefficients = local.step(scores, rows, config.learning_rate, rng)
                for w, g in zip(current, self.model.backward(current, self.x[rows], coefficients), strict=True):
                    w -= np.float32(config.learning_rate) * g
                losses.append(loss * len(rows))
                seen.append(len(rows))
        found = local.sections(self.model.scores(current, self.x))
        return FitResult(current, len(self.x), sum(losses) / sum(seen), sections=found)

    def evaluate(self, weights: Weights) -> dict[str, float]:
        """``auc`` (left out where the held-out data lack a class), ``accuracy`` and ``examples``.

        Accuracy asks for a threshold, which AUC does not have: it is midway between the training data's mean
        positive and mean negative score, or 0 where a class is missing.
        """
        x, positive = self.held_out
        scores = self.model.scores(weights, x)
        hits = int(np.count_nonzero((scores > self._threshold(weights)) == positive))
        figures = {"accuracy": hits / len(x), "examples": float(len(x))}
        if positive.any() and not positive.all():
            figures["auc"] = metrics.auc(scores, positive)
        return figures

    def _spec(self, sections: Mapping[int, bytes]) -> str:
        asked = sections.get(MANIFEST_OBJECTIVE, b"").decode("ascii", "replace")
        return asked if asked.partition(":")[0] in OBJECTIVES else self.objective

    def _threshold(self, weights: Weights) -> float:
        own = self.model.scores(weights, self.x)
        if self.positive.all() or not self.positive.any():
            return 0.0
        return float(own[self.positive].mean() + own[~self.positive].mean()) / 2


def _labels(positive: Any) -> Array:
    labels = np.asarray(positive)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise InputError("expected labels of one dimension, each 0 or 1 (negative or positive)")
    return labels.astype(bool)
