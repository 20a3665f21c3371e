"""Server optimizers: the aggregate of a round -> the step of the target model; (d,) float64 -> (d,) float64.

``fedavg:LR``            ``step = LR * g``; ``fedavg`` is LR = 1. McMahan et al., AISTATS 2017.
``fedavgm:LR/MOMENTUM``  ``m <- MOMENTUM * m + g``, ``step = LR * m``. Hsu, Qi, Brown, arXiv 1909.06335.

g is a mean of deltas (trained minus received), so the step is added. A momentum of 0.9 makes the steady
step ten times the aggregate: choose LR about 1 - MOMENTUM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.state import State, pack
from gossamer.errors import ConfigError

DEFAULT_LEARNING_RATE = 1.0
DEFAULT_MOMENTUM = 0.9


@dataclass(frozen=True, slots=True)
class ServerStep:
    """A server optimizer with explicit state. ``momentum`` 0 is FedAvg and remembers nothing."""

    spec: str
    learning_rate: float
    momentum: float = 0.0

    def init(self, d: int) -> State:
        """The memory before the first round."""
        return State(self.spec, d)

    def restore(self, data: Mapping[str, object], d: int) -> State:
        """The memory from :meth:`State.to_dict`; raises InputError if it is of another spec or model."""
        return State.from_dict(data, spec=self.spec, d=d)

    def apply(self, state: State, aggregate: NDArray[np.float64]) -> tuple[NDArray[np.float64], State]:
        """The step to add to the target model, float64 (d,), and the next state."""
        direction = np.asarray(aggregate, dtype=np.float64)
        vector = b""
        if self.momentum:
            direction = self.momentum * state.read_vector() + direction
            vector = pack(direction)
        return self.learning_rate * direction, replace(state, rounds=state.rounds + 1, vector=vector)


def server_step(spec: str) -> ServerStep:
    """The optimizer of a spec string: ``fedavg``, ``fedavg:0.5``, ``fedavgm:0.1/0.9``.

    Raises:
        ConfigError: no such optimizer; a learning rate that is not in (0, 100]; a momentum not in (0, 1).

    >>> server_step("fedavg:0.5").apply(server_step("fedavg:0.5").init(2), np.array([2.0, 4.0]))[0].tolist()
    [1.0, 2.0]
    """
    name, _, text = spec.partition(":")
    try:
        if name == "fedavg":
            rate = float(text) if text else DEFAULT_LEARNING_RATE
            return ServerStep(f"fedavg:{_rate(rate)!r}", rate)
        if name == "fedavgm":
            rate_text, _, momentum_text = text.partition("/")
            momentum = float(momentum_text) if momentum_text else DEFAULT_MOMENTUM
            if not 0.0 < momentum < 1.0:
                raise ValueError(f"momentum must be in (0, 1), got {momentum}")
            rate = float(rate_text) if rate_text else round(1.0 - momentum, 12)
            return ServerStep(f"fedavgm:{_rate(rate)!r}/{momentum!r}", rate, momentum)
    except ValueError as error:
        raise ConfigError(f"server step {spec!r}: {error}") from error
    raise ConfigError(f"server step {spec!r} is not known; choose fedavg, fedavg:LR or fedavgm:LR/MOMENTUM")


def _rate(rate: float) -> float:
    if not 0.0 < rate <= 100.0:
        raise ValueError(f"the learning rate must be in (0, 100], got {rate}")
    return rate
