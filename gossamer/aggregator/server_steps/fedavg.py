"""FedAvg and FedAvgM.

``fedavg:LR``            ``step = LR * g``; ``fedavg`` is LR = 1. McMahan and others, AISTATS 2017.
``fedavgm:LR/MOMENTUM``  ``m <- MOMENTUM * m + g``, ``step = LR * m``. Hsu, Qi, Brown, arXiv 1909.06335.

g, m and the step are float64 (d,). A momentum of 0.9 makes the steady step ten times the aggregate: choose LR
about 1 - MOMENTUM, which is the default.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gossamer.aggregator.rules.state import State, pack
from gossamer.aggregator.server_steps.base import ANY_TURN, ServerStep, Turn, Vector, learning_rate

DEFAULT_LEARNING_RATE = 1.0
DEFAULT_MOMENTUM = 0.9


@dataclass(frozen=True, slots=True)
class FedAvg(ServerStep):
    """The step is the aggregate times a learning rate; nothing is remembered."""

    learning_rate: float

    @property
    def spec(self) -> str:
        """``fedavg:1.0``."""
        return f"fedavg:{self.learning_rate!r}"

    def apply(self, state: State, aggregate: Vector, turn: Turn = ANY_TURN) -> tuple[Vector, State]:  # noqa: ARG002
        """See :meth:`ServerStep.apply`."""
        step = self.learning_rate * np.asarray(aggregate, dtype=np.float64)
        return step, replace(state, rounds=state.rounds + 1)


@dataclass(frozen=True, slots=True)
class FedAvgM(ServerStep):
    """The step follows a decaying sum of aggregates, ``State.vector``."""

    learning_rate: float
    momentum: float

    @property
    def spec(self) -> str:
        """``fedavgm:0.1/0.9``."""
        return f"fedavgm:{self.learning_rate!r}/{self.momentum!r}"

    def apply(self, state: State, aggregate: Vector, turn: Turn = ANY_TURN) -> tuple[Vector, State]:  # noqa: ARG002
        """See :meth:`ServerStep.apply`."""
        direction = self.momentum * state.read_vector() + np.asarray(aggregate, dtype=np.float64)
        return self.learning_rate * direction, replace(state, rounds=state.rounds + 1, vector=pack(direction))


def fedavg(text: str) -> FedAvg:
    """From ``LR``. Raises ValueError.

    >>> fedavg("").spec
    'fedavg:1.0'
    """
    return FedAvg(learning_rate(text, DEFAULT_LEARNING_RATE))


def fedavgm(text: str) -> FedAvgM:
    """From ``LR/MOMENTUM``. Raises ValueError.

    >>> fedavgm("0.2").spec
    'fedavgm:0.2/0.9'
    """
    rate, _, momentum_text = text.partition("/")
    momentum = float(momentum_text) if momentum_text else DEFAULT_MOMENTUM
    if not 0.0 < momentum < 1.0:
        raise ValueError(f"momentum must be in (0, 1), got {momentum}")
    return FedAvgM(learning_rate(rate, round(1.0 - momentum, 12)), momentum)
