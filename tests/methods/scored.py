"""A small fleet of imbalanced data with a linear score, for objectives that look at ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.agent.auc_trainer import AucTrainer, LinearScore
from gossamer.aggregator.jobs import FitSettings

FEATURES = 6
SCORED: dict[str, Any] = {
    "rounds": 12,
    "cohorts": 2,
    "codec_up": "q8",
    "codec_down": "q8",
    "fit": FitSettings(local_epochs=3, batch_size=16, learning_rate=0.02),
}


def fleet_of_scores(size: int) -> list[AucTrainer]:
    """A fifth of the examples is positive, shifted along one direction."""
    trainers = []
    for index in range(size):
        rng = np.random.default_rng([5, index])
        positive = rng.random(80) < 0.2
        x = rng.standard_normal((80, FEATURES)).astype(np.float32)
        x[:, 0] += 2.0 * positive
        trainers.append(AucTrainer(LinearScore(FEATURES), x, positive))
    return trainers
