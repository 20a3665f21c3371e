"""The demo's hyper-parameters, and why they are what they are (benchmarks/demo_accuracy.md has the figures)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoSettings:
    """Defaults of a demo run."""

    devices: int = 10
    cohorts: int = 2
    rounds: int = 100
    local_epochs: int = 2
    batch_size: int = 32
    learning_rate: float = 0.25
    schedule: str = "cosine"
    server_step: str = "fedavg"
    codec: str = "ternary:0.05"
    codec_down: str = "ternary:0.025"


UNBIASED = DemoSettings(codec="rot1")
"""For rules that compare updates: a sparse codec's residual makes honest devices look alike too little."""


def defaults_for(data: str, rule: str) -> DemoSettings:
    """Return the defaults for a data set and a rule."""
    del data
    return UNBIASED if rule.startswith("clipped-differences") else DemoSettings()
