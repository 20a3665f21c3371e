"""One short fit of somebody's trainer, run where fits are run: the doctor's own trainer around it.

The training child makes trainers and asks them for their first weights, so that is where the fit happens, and
``[examples, loss]`` is what is answered in their place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.agent import work
from gossamer.agent.checks import check_result
from gossamer.agent.trainer import FitConfig, Trainer, Weights
from gossamer.compression.layout import Layout

CONFIG = FitConfig(local_epochs=1, batch_size=16, learning_rate=1e-3, seed=0, round=0)
"""Small steps: the fit shall show that it works, not what it learns."""


class Attempt:
    """Stands in for a trainer; only ``initial`` means something."""

    def __init__(self, inner: Trainer) -> None:
        self._inner = inner

    def initial(self, seed: int) -> Weights:
        """Train the inner trainer once. Raises :class:`gossamer.errors.TrainerFailed` as a real fit would."""
        weights = work.initial(self._inner, seed)
        result = check_result(self._inner.fit(weights, CONFIG), Layout.of(weights, getattr(self._inner, "axes", {})))
        return [np.array([result.examples, result.loss], dtype=np.float32)]

    def fit(self, weights: Weights, config: FitConfig) -> Any:
        """Never asked for."""
        raise NotImplementedError

    def evaluate(self, weights: Weights) -> dict[str, float]:
        """Never asked for."""
        raise NotImplementedError


def attempt(factory: str, options: dict[str, Any]) -> Attempt:
    """Make it around the trainer that ``factory`` names."""
    return Attempt(work.make_trainer(factory, options, []))
