"""FedAdam and FedYogi: a step of its own size for every coordinate. Reddi and others, ICLR 2021, algorithm 2.

``fedadam:LR/B1/B2/TAU``, ``fedyogi:LR/B1/B2/TAU``; all float64 (d,), elementwise::

    m <- B1 m + (1 - B1) g                                  from m = 0
    v <- v - (1 - B2) (v - g^2)                  FedAdam    from v = TAU^2
    v <- v - (1 - B2) g^2 sign(v - g^2)          FedYogi    from v = TAU^2
    step = LR m / (sqrt(v) + TAU)

There is no bias correction, as in the paper. Where g is small beside TAU the step is about LR g / (2 TAU), where it
is large about LR: so a step is not in proportion to the aggregate, and LR is in units of the weights. FedYogi
forgets large aggregates more slowly. The state is 2 d numbers: m in ``State.vector``, v named ``second``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import numpy as np

from gossamer.aggregator.rules.state import State, pack
from gossamer.aggregator.server_steps.base import (
    ANY_TURN,
    ServerStep,
    Turn,
    Vector,
    between,
    learning_rate,
    remembered,
)

DEFAULT_LEARNING_RATE = 0.01
DEFAULT_B1 = 0.9
DEFAULT_B2 = 0.99
DEFAULT_TAU = 1e-3
MIN_TAU = 1e-9
"""Of a lattice unit, 2^-20, a thousandth: below it the first step of a coordinate at rest would be noise."""
MAX_TAU = 1e3

SECOND = "second"


@dataclass(frozen=True, slots=True)
class FedAdam(ServerStep):
    """Second moments as Adam keeps them."""

    learning_rate: float
    b1: float
    b2: float
    tau: float
    name: ClassVar[str] = "fedadam"

    @property
    def memories(self) -> tuple[str, ...]:
        """See :attr:`ServerStep.memories`."""
        return (SECOND,)

    @property
    def spec(self) -> str:
        """``fedadam:0.01/0.9/0.99/0.001``."""
        return f"{self.name}:{self.learning_rate!r}/{self.b1!r}/{self.b2!r}/{self.tau!r}"

    def apply(self, state: State, aggregate: Vector, turn: Turn = ANY_TURN) -> tuple[Vector, State]:  # noqa: ARG002
        """See :meth:`ServerStep.apply`."""
        g = np.asarray(aggregate, dtype=np.float64)
        first = self.b1 * state.read_vector() + (1.0 - self.b1) * g
        before = remembered(state, SECOND)
        second = self._second(np.full(state.d, self.tau**2) if before is None else before, np.square(g))
        step = self.learning_rate * first / (np.sqrt(second) + self.tau)
        after = replace(state, rounds=state.rounds + 1, vector=pack(first))
        return step, after.remember(**{SECOND: pack(second)})

    def _second(self, v: Vector, squares: Vector) -> Vector:
        return self.b2 * v + (1.0 - self.b2) * squares


@dataclass(frozen=True, slots=True)
class FedYogi(FedAdam):
    """Second moments that change by at most (1 - B2) g^2."""

    name: ClassVar[str] = "fedyogi"

    def _second(self, v: Vector, squares: Vector) -> Vector:
        return v - (1.0 - self.b2) * squares * np.sign(v - squares)


S = TypeVar("S", bound=FedAdam)


def fedadam(text: str) -> FedAdam:
    """From ``LR/B1/B2/TAU``, each of them optional. Raises ValueError.

    >>> fedadam("0.1").spec
    'fedadam:0.1/0.9/0.99/0.001'
    """
    return _from_text(FedAdam, text)


def fedyogi(text: str) -> FedYogi:
    """From ``LR/B1/B2/TAU``, each of them optional. Raises ValueError.

    >>> fedyogi("0.1/0.5").spec
    'fedyogi:0.1/0.5/0.99/0.001'
    """
    return _from_text(FedYogi, text)


def _from_text(cls: type[S], text: str) -> S:
    given = text.split("/")
    if len(given) > 4:
        raise ValueError(f"expected at most LR/B1/B2/TAU, got {len(given)} numbers")
    b1, b2, tau = (
        float(word) if word else default
        for word, default in zip([*given[1:], "", "", ""], (DEFAULT_B1, DEFAULT_B2, DEFAULT_TAU), strict=False)
    )
    between(b1, "B1", 0.0, 1.0, closed=False)
    between(b2, "B2", 0.0, 1.0, closed=False)
    between(tau, "TAU", MIN_TAU, MAX_TAU)
    return cls(learning_rate(given[0], DEFAULT_LEARNING_RATE), b1, b2, tau)
