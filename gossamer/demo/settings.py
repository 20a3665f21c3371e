"""The demo's hyper-parameters, and why they are what they are (benchmarks/demo_accuracy.md has the figures)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoSettings:
    """Defaults of a demo run."""

    cohorts: int = 2
    rounds: int = 100
    local_epochs: int = 2
    batch_size: int = 32
    learning_rate: float = 0.25
    schedule: str = "cosine"
    server_step: str = "fedavg"
    codec: str = "ternary:0.05"
    codec_down: str = "ternary:0.025"
