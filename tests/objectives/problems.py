"""The seeded problem of the oracles: rare positives of different rates, features shifted by group, heavy tails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.agent.auc_trainer import AucTrainer, LinearScore

Array = NDArray[np.float64]
Pair = tuple[Array, NDArray[np.bool_]]

GROUPS = 3
RATES = (0.02, 0.08, 0.20)
DEVICES, EXAMPLES, FEATURES = 12, 200, 20


@dataclass(frozen=True)
class Problem:
    """``devices``: 12 pairs of x (200, 20) and positive (200,); groups of four in turn. ``test``: the same kind."""

    devices: list[Pair]
    test: Pair

    @property
    def pooled(self) -> Pair:
        return np.concatenate([x for x, _ in self.devices]), np.concatenate([y for _, y in self.devices])

    @property
    def share(self) -> float:
        return float(self.pooled[1].mean())

    def trainers(self, objective: str) -> list[AucTrainer]:
        model = LinearScore(FEATURES)
        return [AucTrainer(model, x.astype(np.float32), y, objective=objective) for x, y in self.devices]


def problem(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(FEATURES)
    direction /= np.linalg.norm(direction)

    def draw(n: int, rate: float, group: int) -> Pair:
        positive = rng.random(n) < rate
        x = rng.standard_normal((n, FEATURES)) + np.outer(positive, 1.5 * direction)
        x[:, group] += 1.0
        return x * np.exp(0.3 * rng.standard_normal((n, 1))), positive

    devices = [draw(EXAMPLES, RATES[i * GROUPS // DEVICES], i * GROUPS // DEVICES) for i in range(DEVICES)]
    tests = [draw(4000, 0.1, group) for group in range(GROUPS)]
    return Problem(devices, (np.concatenate([x for x, _ in tests]), np.concatenate([y for _, y in tests])))


def squared_auc_optimum(x: Array, positive: NDArray[np.bool_]) -> Array:
    """Weights (d,) with the least mean of (1 - w x+ + w x-)^2 over all pairs, from means and covariances."""
    plus, minus = x[positive], x[~positive]
    apart = plus.mean(axis=0) - minus.mean(axis=0)
    spread = np.cov(plus.T, bias=True) + np.cov(minus.T, bias=True)
    return np.linalg.solve(spread + np.outer(apart, apart), apart)
