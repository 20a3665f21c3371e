"""A trainer as methods see it: flat vectors in, flat vectors out (`gossamer.methods.Local`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gossamer.agent.checks import check_result
from gossamer.agent.trainer import FitConfig, FitResult, Trainer
from gossamer.compression.layout import Layout
from gossamer.errors import InputError, TrainerFailed
from gossamer.methods.base import Fitted, Vector

OPTIMUM_FITS = 40
"""Fits of a round's length that the search for a device's own optimum takes at most."""

OPTIMUM_PROGRESS = 1e-3
"""It ends when a fit lowers the loss by less than this share."""


class TrainerLocal:
    """See `gossamer.methods.Local`. Remembers how many examples the trainer named."""

    def __init__(self, trainer: Trainer, layout: Layout, config: FitConfig) -> None:
        self._trainer: Any = trainer
        self._layout = layout
        self._config = config
        self._examples = 0

    @property
    def d(self) -> int:
        """Coordinates of the weights."""
        return self._layout.size

    @property
    def examples(self) -> int:
        """What the trainer's last answer said; 0 before the first."""
        return self._examples

    def fit(self, start: Vector, *, correction: Vector | None = None, proximal: float = 0.0) -> Fitted:
        """See `Local`."""
        if (correction is not None or proximal) and not getattr(self._trainer, "adds_terms", False):
            raise TrainerFailed(
                f"this job's method adds terms to every gradient; {type(self._trainer).__name__} does not say that it "
                "heeds FitConfig.correction and FitConfig.proximal: add them to its steps and set adds_terms = True"
            )
        added = None if correction is None else self._layout.unflatten(correction)
        config = replace(self._config, correction=added, proximal=proximal)
        return self._fit(start, config)

    def _fit(self, start: Vector, config: FitConfig) -> Fitted:
        result = check_result(_asked(self._trainer.fit, self._layout.unflatten(start), config), self._layout)
        self._examples = result.examples
        batches = config.local_epochs * math.ceil(result.examples / config.batch_size)
        weights = self._layout.flatten(result.weights).astype(np.float64)
        return Fitted(weights, result.loss, result.steps or batches, result.sections)

    def gradient(self, at: Vector, *, batch: int | None = None) -> tuple[Vector, float]:
        """See `Local`."""
        tell = getattr(self._trainer, "gradient", None)
        if not callable(tell):
            raise TrainerFailed(
                f"this job's method asks for gradients; {type(self._trainer).__name__} has no method gradient(weights, "
                "config, batch): add one (gossamer.agent.trainer.GradientTrainer), or choose another method"
            )
        result: FitResult = check_result(_asked(tell, self._layout.unflatten(at), self._config, batch), self._layout)
        self._examples = result.examples
        return self._layout.flatten(result.weights).astype(np.float64), result.loss

    def optimum(self) -> Vector:
        """See `Local`: fits from the trainer's own start until the loss hardly falls."""
        first = self._trainer.initial(self._config.seed)
        best = self._layout.flatten(first).astype(np.float64)
        before = math.inf
        for number in range(OPTIMUM_FITS):
            fitted = self._fit(best, replace(self._config, seed=(self._config.seed + number) % (1 << 63)))
            best = fitted.weights
            if before - fitted.loss < OPTIMUM_PROGRESS * abs(before) and math.isfinite(before):
                break
            before = fitted.loss
        return best


def _asked(tell: Callable[..., FitResult], *arguments: Any) -> FitResult:
    """What the trainer answers; what it refuses is its failure, not that of the update."""
    try:
        return tell(*arguments)
    except InputError as error:
        raise TrainerFailed(str(error)) from error


def smoothness_of(trainer: Trainer) -> float | None:
    """What the trainer says of its gradient's Lipschitz constant, or None; raises TrainerFailed for nonsense."""
    value = getattr(trainer, "smoothness", None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise TrainerFailed(f"Trainer.smoothness: expected a finite number above 0, got {value!r}")
    return float(value)


def sections_from(wire: Any) -> Mapping[int, bytes]:
    """Sections as a request or an answer carries them, ``[[number, bytes], ...]``."""
    return {int(number): bytes(data) for number, data in wire or ()}
