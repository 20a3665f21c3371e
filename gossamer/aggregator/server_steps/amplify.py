"""Amplified cycles: after every cycle, the cycle's whole move once more (A - 1) times.

``STEP+amplify:A``, for any server step STEP, A in [1, 10]; x is the target model, float64 (d,)::

    every round    x <- x + s,  s = STEP(g)
    then, after the last of a cycle's R rounds      x <- x + (A - 1) (x - x at the cycle's start)

Within a cycle the cohorts' drifts differ and cancel only over the whole of it: the outer step may be longer than
the inner ones. Amplified FedAvg: Wang and Ji, NeurIPS 2022. It is also the outer step of RR-CLI (Malinovsky and
others, arXiv 2302.03662), x(t+1) = x(t) - theta (x(t) - x(t, R)) / (eta R): x(t) plus A times the cycle's move, with

    A = theta / (eta R)

On the two convex problems of ``tests/aggregator/test_server_step.py``, A = 2 is far ahead of uniform sampling at
equal rounds; A below 1 lost throughout and is refused. A = 1 changes nothing.

A step never sees the model, so the cycle's move is added up here from its steps (named memory ``cycle``). Of a
cycle whose last round had no usable aggregate, the move of the others is amplified all the same (:meth:`skip`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.aggregator.rules.state import State, pack
from gossamer.aggregator.server_steps.base import ANY_TURN, ServerStep, Turn, Vector, remembered

MAX_AMPLIFICATION = 10.0
SUFFIX = "+amplify:"
CYCLE = "cycle"


@dataclass(frozen=True, slots=True)
class Amplified(ServerStep):
    """A server step with an outer step after every cycle."""

    inner: ServerStep
    amplification: float

    @property
    def memories(self) -> tuple[str, ...]:
        """See :attr:`ServerStep.memories`."""
        return (CYCLE, *self.inner.memories)

    @property
    def spec(self) -> str:
        """``fedavg:1.0+amplify:2.0``."""
        return f"{self.inner.spec}{SUFFIX}{self.amplification!r}"

    def apply(self, state: State, aggregate: Vector, turn: Turn = ANY_TURN) -> tuple[Vector, State]:
        """See :meth:`ServerStep.apply`."""
        step, after = self.inner.apply(state, aggregate, turn)
        moved = _moved(after, turn) + step
        if not turn.last:
            return step, after.remember(**{CYCLE: pack(moved)})
        return step + (self.amplification - 1.0) * moved, after.remember(**{CYCLE: b""})

    def skip(self, state: State, turn: Turn = ANY_TURN) -> tuple[Vector | None, State]:
        """See :meth:`ServerStep.skip`: the last round of a cycle amplifies what the others moved."""
        moved = _moved(state, turn)
        forgotten = state.remember(**{CYCLE: b""})
        if turn.first:
            return None, forgotten
        return ((self.amplification - 1.0) * moved, forgotten) if turn.last and moved.any() else (None, state)


def _moved(state: State, turn: Turn) -> Vector:
    """The move of this cycle before this round; a cycle begins with none, whatever was remembered."""
    kept = remembered(state, CYCLE)
    return np.zeros(state.d) if turn.first or kept is None else kept
