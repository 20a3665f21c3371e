"""Logistic regression of the breast cancer data, in float64: a strongly convex problem of real data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from sklearn.datasets import load_breast_cancer

from gossamer.methods.base import Fitted
from tests.methods.world import Vector

RIDGE = 0.01


@lru_cache(maxsize=1)
def table() -> tuple[Vector, Vector]:
    """Standardised features with a column of ones, (569, 31), and labels of -1 and 1."""
    x, t = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    return np.c_[x, np.ones(len(x))], 2.0 * t - 1


@dataclass
class Logistic:
    """mean log(1 + exp(-t x w)) + RIDGE |w|^2 / 2; x (m, d), t (m,); a minibatch of ``batch`` rows, if asked for."""

    x: Vector
    t: Vector
    learning_rate: float = 1.0
    local_steps: int = 1
    batch: int = 32

    @property
    def d(self) -> int:
        return self.x.shape[1]

    @property
    def examples(self) -> int:
        return len(self.t)

    def loss(self, at: Vector) -> float:
        return float(np.logaddexp(0, -self.t * (self.x @ at)).mean() + RIDGE / 2 * at @ at)

    def gradient(self, at: Vector, *, batch: int | None = None) -> tuple[Vector, float]:
        x, t = self.x, self.t
        if batch is not None:
            rows = np.random.default_rng(batch).integers(0, len(t), self.batch)
            x, t = x[rows], t[rows]
        margin = np.clip(t * (x @ at), -700, 700)
        return -(t / (1 + np.exp(margin))) @ x / len(t) + RIDGE * at, 0.0

    def fit(self, start: Vector, *, correction: Vector | None = None, proximal: float = 0.0) -> Fitted:
        w = start
        for _ in range(self.local_steps):
            w = w - self.learning_rate * self.gradient(w)[0]
        return Fitted(w, 0.0, self.local_steps)

    def optimum(self) -> Vector:
        """By Newton's method."""
        w = np.zeros(self.d)
        for _ in range(30):
            s = 1 / (1 + np.exp(-self.t * (self.x @ w)))
            hessian = (self.x.T * (s * (1 - s))) @ self.x / len(self.t) + RIDGE * np.eye(self.d)
            w = w - np.linalg.solve(hessian, self.gradient(w)[0])
        return w
