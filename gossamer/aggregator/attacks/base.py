"""What attackers know, and what an attack is: (honest delta, context) -> delta to send, float32 (d,)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules import Rule, State

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Defence:
    """The server's side of the round, for attackers that know it.

    Args:
        rule: the rule that will aggregate.
        state: its memory before this round.
        round: the round's number.
        fleet: devices in the whole fleet; 0: as many as take part.
        peers: device indices of ``Context.peers``; empty: 0, 1, ...
        attackers: device indices of the attackers of this round; empty: those that follow.
    """

    rule: Rule
    state: State
    round: int = 0
    fleet: int = 0
    peers: tuple[int, ...] = ()
    attackers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What the attackers know.

    Args:
        w_0: the model at the start, float32 (d,).
        w_t: the shared model now, float32 (d,).
        cohort: C, devices in this round.
        attackers: B, how many of them are hostile, at least 1.
        seed: of (job seed, round, device); only ``gaussian`` uses it.
        peers: honest deltas the attackers know of, float32 (m, d). Empty: each knows only its own.
        first: the first delta this device sent, for ``replay``. None: this is the first.
        defence: the rule and its memory, for ``adaptive:NAME``.
    """

    w_0: Vector
    w_t: Vector
    cohort: int
    attackers: int
    seed: int
    peers: tuple[Vector, ...] = ()
    first: Vector | None = None
    defence: Defence | None = None


Craft = Callable[[Vector, Context], NDArray[np.floating]]


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack, called with (honest delta, context).

    ``examples_factor`` multiplies the number of examples that the device claims. ``flips_labels``: what is called
    its honest delta must come from a trainer that was taught wrong labels; the attack itself changes nothing.
    """

    name: str
    craft: Craft
    examples_factor: int = 1
    flips_labels: bool = False

    def __call__(self, honest: Vector, context: Context) -> Vector:
        """The delta to send, float32 (d,)."""
        with np.errstate(all="ignore"):  # an attack may overflow; that is its affair
            return np.asarray(self.craft(honest, context), dtype=np.float32)


def known(honest: Vector, context: Context) -> NDArray[np.float64]:
    """Honest deltas the attacker estimates from, float64 (m, d), m >= 1."""
    return np.stack(context.peers or (honest,)).astype(np.float64)
