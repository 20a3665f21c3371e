"""One trainer of every kind over the same digits, for the contract; and trainers that fail, for the child process."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.agent.trainer import FitConfig, FitResult, NumpyTrainer
from gossamer.demo.data import Part, load
from gossamer.demo.models import MLP

DATA = Path(__file__).resolve().parents[1] / "data"
ORDER = ("layer0_weight", "layer0_bias", "layer1_weight", "layer1_bias")
"""Of the files' weights, so that they form the numpy model."""

SEED = 4
KINDS: dict[str, tuple[str, ...]] = {
    "": ("numpy",),
    "torch": ("numpy", "torch", "torch-local", "torch-frozen", "torch-shared", "torch-adapter", "torch-adam"),
    "tflite": ("numpy", "tflite", "tflite-get-set", "tflite-fixed"),
    "tflite-legacy": ("numpy", "tflite", "tflite-get-set", "tflite-fixed"),
}
"""Environment -> the kinds of trainers that live there."""


def part() -> Part:
    """The digits of one of ten devices."""
    return load("digits", 10, 0)[0]


def make(kind: str, own: Part | None = None) -> Any:
    """A trainer of this kind; on these examples, or those of `part`."""
    own = own or part()
    held_out = (own.x_held_out, own.y_held_out)
    if kind == "numpy":
        return NumpyTrainer(MLP(hidden=32), own.x, own.y, held_out)
    if kind.startswith("tflite"):
        from gossamer.trainers.tflite import TFLiteTrainer

        names = {"tflite": "digits", "tflite-get-set": "digits-get-set", "tflite-fixed": "digits-batch-16"}
        return TFLiteTrainer(DATA / f"{names[kind]}.tflite", own.x, own.y, held_out, order=ORDER)
    return _torch(kind, own, held_out)


def _torch(kind: str, own: Part, held_out: Any) -> Any:
    from torch import nn, optim

    from gossamer.trainers.torch import TorchTrainer

    loss = nn.functional.cross_entropy
    plain = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    if kind == "torch":
        return TorchTrainer(plain, loss, (own.x, own.y), held_out)
    if kind == "torch-adam":
        return TorchTrainer(plain, loss, (own.x, own.y), held_out, optimizer=lambda p, lr: optim.Adam(p, lr))
    if kind == "torch-adapter":
        return TorchTrainer(adapted(), loss, (own.x, own.y), held_out)
    normed = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))
    return TorchTrainer(normed, loss, (own.x, own.y), held_out, buffers=kind.removeprefix("torch-"))


def adapted() -> Any:
    """A frozen layer with a low-rank adapter beside it (Hu et al. 2021, arXiv:2106.09685), and a trained head."""
    import torch
    from torch import nn

    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = nn.Linear(64, 32)
            fixed = np.random.Generator(np.random.PCG64(9)).standard_normal((32, 64)).astype(np.float32) / 8
            self.base.weight = nn.Parameter(torch.from_numpy(fixed), requires_grad=False)
            self.base.bias = nn.Parameter(torch.zeros(32), requires_grad=False)
            self.down = nn.Parameter(torch.randn(4, 64))
            self.up = nn.Parameter(torch.zeros(32, 4))
            self.head = nn.Linear(32, 10)

        def forward(self, x: Any) -> Any:
            return self.head(torch.relu(self.base(x) + x @ self.down.T @ self.up.T))

    return Adapted()


class Failing:
    """A trainer that does something wrong in its fit."""

    def __init__(self, trainer: Any, wrong: Callable[[], Any]) -> None:
        self.trainer, self.wrong = trainer, wrong

    def initial(self, seed: int) -> Any:
        return self.trainer.initial(seed)

    def fit(self, weights: Any, config: FitConfig) -> FitResult:
        self.wrong()
        result: FitResult = self.trainer.fit(weights, config)
        return result

    def evaluate(self, weights: Any) -> Any:
        return self.trainer.evaluate(weights)


def hang() -> None:
    """As a deadlocked worker does."""
    while True:
        time.sleep(1)


def broken() -> None:
    """A bug in the user's code."""
    raise KeyError("no column\nnamed temperature")


def failing(kind: str, how: str) -> Any:
    """Factory for the child process. Some fail in the factory itself."""
    if how == "factory":
        json.loads("{")  # deep in somebody else's code
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if " " in how or "::" in how:
        raise RuntimeError(how)
    own = part()
    if how == "nan":
        own.x[3, 5] = np.nan
    trainer = make(kind, own)
    return Failing(trainer, {"hang": hang, "raise": broken, "oom": lambda: hoard(kind)}.get(how, lambda: None))


def hoard(kind: str) -> None:
    """More memory than anybody has, in the framework's own way."""
    if kind.startswith("torch"):
        import torch

        torch.ones(1 << 34)
    else:
        np.ones(1 << 34)


def wide(kind: str, rows: int) -> Any:
    """A trainer whose batch needs a gigabyte inside the framework."""
    x, y = np.zeros((rows, 64), np.float32), np.zeros(rows, np.int64)
    return make(kind, Part(x, y, x[:1], y[:1]))
