"""What every server optimizer is: the aggregate of a round -> the step of the target model; (d,) -> (d,) float64.

The aggregate is a mean of deltas (trained minus received), so that the step is added. State is explicit and
frozen (:class:`gossamer.aggregator.rules.State`); a step never sees the model itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.state import State, unpack
from gossamer.errors import InputError

Vector = NDArray[np.float64]

MAX_RATE = 100.0
"""Largest learning rate of a server step; what needs more has its rate in the wrong place."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Which round of its cycle a round is, ``round`` counting from 0 over the job, ``cohorts`` rounds a cycle."""

    round: int = 0
    cohorts: int = 1

    @property
    def first(self) -> bool:
        """Whether a cycle begins with it."""
        return self.round % self.cohorts == 0

    @property
    def last(self) -> bool:
        """Whether a cycle ends with it; of a cycle of one round, the same round is first and last."""
        return (self.round + 1) % self.cohorts == 0


ANY_TURN = Turn()


class ServerStep(ABC):
    """A server optimizer. Implementations are frozen dataclasses, equal when their specs are."""

    __slots__ = ()

    @property
    def memories(self) -> tuple[str, ...]:
        """Names of the vectors that it keeps beside ``State.vector``, float64 (d,) each."""
        return ()

    @property
    @abstractmethod
    def spec(self) -> str:
        """The canonical spec string; ``server_step(spec)`` gives an equal optimizer."""

    @abstractmethod
    def apply(self, state: State, aggregate: Vector, turn: Turn = ANY_TURN) -> tuple[Vector, State]:
        """The step to add to the target model, float64 (d,), and the next state."""

    def skip(self, state: State, turn: Turn = ANY_TURN) -> tuple[Vector | None, State]:  # noqa: ARG002 - see Amplified
        """What a round without a usable aggregate does: the step (None: nothing moves) and the next state.

        For most steps such a round has not happened. What is due at a cycle's end is due all the same.
        """
        return None, state

    def init(self, d: int) -> State:
        """The memory before the first round."""
        return State(self.spec, d)

    def restore(self, data: Mapping[str, object], d: int) -> State:
        """The memory from :meth:`State.to_dict`; raises InputError if it is of another spec or model, or damaged."""
        state = State.from_dict(data, spec=self.spec, d=d)
        for name, stored in state.named:
            if name not in self.memories or len(stored) != 8 * d:
                raise InputError(f"stored state of {self.spec!r} has a strange memory {name!r}: begin with init(d)")
        return state


def remembered(state: State, name: str) -> Vector | None:
    """A named memory as float64 (d,), or None: there is none yet."""
    stored = state.memory(name)
    return unpack(stored) if stored else None


def between(value: float, what: str, least: float, most: float, *, closed: bool = True) -> float:
    """``value`` if it is in (least, most], or in [least, most) where not ``closed``; ValueError also for NaN."""
    if closed and not least < value <= most:
        raise ValueError(f"{what} must be in ({least:g}, {most:g}], got {value}")
    if not closed and not least <= value < most:
        raise ValueError(f"{what} must be in [{least:g}, {most:g}), got {value}")
    return value


def learning_rate(text: str, default: float) -> float:
    """A learning rate in (0, MAX_RATE]; ``default`` for no text. Raises ValueError."""
    return between(float(text) if text else default, "the learning rate", 0.0, MAX_RATE)
