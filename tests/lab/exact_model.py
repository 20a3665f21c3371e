"""A model whose training is exact in float32, so that it is the same on every processor and BLAS.

Inputs are -1, 0 or 1, targets whole numbers, batches 8 examples, the learning rate 1/8: two steps of gradient descent
from zero give weights that are whole multiples of 2^-12 and far below 2^11. No sum rounds, so the order of its terms
does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.agent.trainer import NumpyTrainer

BATCH = 8
LEARNING_RATE = 0.125
INPUTS, OUTPUTS = 40, 24


class Exact:
    """Linear regression of small whole numbers."""

    def init(self, seed: int) -> list[Any]:
        return [np.zeros((INPUTS, OUTPUTS), np.float32), np.zeros(OUTPUTS, np.float32)]

    def predict(self, weights: list[Any], x: Any) -> Any:
        return (x @ weights[0] + weights[1]).argmax(axis=1)

    def loss_and_gradients(self, weights: list[Any], x: Any, y: Any) -> tuple[float, list[Any]]:
        off = x @ weights[0] + weights[1] - np.eye(OUTPUTS, dtype=np.float32)[y] * 8
        return float((off * off).mean()), [x.T @ off / BATCH, off.sum(axis=0) / BATCH]


def make(device: int = 0) -> NumpyTrainer:
    """A trainer on data of its own, from an integer generator."""
    n = 2 * BATCH
    z = (np.arange(1, n * INPUTS + 1, dtype=np.uint64) + np.uint64(1000 * device)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = ((z >> np.uint64(40)) % np.uint64(3)).astype(np.float32).reshape(n, INPUTS) - 1
    return NumpyTrainer(Exact(), x, np.arange(n, dtype=np.int64) * 5 % OUTPUTS)
