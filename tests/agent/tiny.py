"""Trainers for tests: a few weights that move in a known way, and trainers that do everything wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import numpy as np

from gossamer.agent.trainer import FitConfig, FitResult


class Tiny:
    """Weights drift by seeded noise; what moved is known from (seed, round) alone."""

    def __init__(self, d: int = 40, mode: str = "good", pause: float = 0.0) -> None:
        self.d, self.mode, self.pause = d, mode, pause

    def initial(self, seed: int) -> list[Any]:
        if self.mode == "other-initial":
            seed += 1
        rng = np.random.default_rng(seed)
        return [rng.standard_normal((self.d // 2, 2)).astype(np.float32), np.zeros(3, np.float32)]

    def fit(self, weights: list[Any], config: FitConfig) -> Any:
        time.sleep(self.pause)
        rng = np.random.default_rng([config.seed, config.round])
        after = [w + (0.01 * rng.standard_normal(w.shape)).astype(np.float32) for w in weights]
        return self.result(after)

    def result(self, after: list[Any]) -> Any:
        if self.mode == "shape":
            return FitResult([after[0]], 5, 0.5)
        if self.mode == "nan":
            return FitResult([after[0] * np.float32("nan"), after[1]], 5, 0.5)
        if self.mode == "tuple":
            return after, 5, 0.5
        if self.mode == "loss":
            return FitResult(after, 5, float("inf"))
        if self.mode == "examples":
            return FitResult(after, 0, 0.5)
        if self.mode == "raise":
            raise KeyError("no such column")
        if self.mode == "exit":
            sys.stderr.write("segmentation almost\n")
            sys.stderr.flush()
            os._exit(3)
        if self.mode in ("worker", "worker-exit"):
            # A worker as user code starts it. It closes no pipe and knows of no parent's death.
            worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            sys.stderr.write(f"worker {worker.pid}\n")
            sys.stderr.flush()
            if self.mode == "worker-exit":
                os._exit(3)
            time.sleep(60)
        if self.mode == "oom":
            os.kill(os.getpid(), 9)
        if self.mode == "huge":
            return FitResult([after[0] * np.float32(1e6), after[1]], 5, 0.5)
        if self.mode == "memory":
            return FitResult([np.ones(1 << 33, np.float32)], 5, 0.5)
        if self.mode == "chatty":
            print("x" * 100_000, flush=True)
        return FitResult(after, 5, 0.5)

    def evaluate(self, weights: list[Any]) -> dict[str, float]:
        return {"accuracy": float(np.clip(weights[0].mean(), 0, 1)), "examples": 5.0}


def make(**options: Any) -> Tiny:
    return Tiny(**options)


def nothing(**options: Any) -> int:
    return 3
