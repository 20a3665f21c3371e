"""A method: how local training becomes an update, and how a round's aggregate becomes the next model.

Both halves of an algorithm stand in one file, as its paper prints them. They are pure:

    device    (shared, own, local, round) -> Draft        a vector to send, and what to remember once it is counted
    server    (state, aggregate, view)    -> moves, state the rule has made one vector of a cohort's before

Shapes: a vector is float64 (d,). ``shared`` is what every device holds, float64 (1 + companions, d): the weights, and
the companions that some methods need beside them (a control variate, say). They travel as further arrays of the model,
so that deltas, snapshots, digests and late joiners need nothing new. ``own`` is what a device keeps to itself, float64
(k, d), or None before its first update; it is stored with the outbox entry, in one transaction, so that a power
cut leaves either the state before an update or the one after it.

What else goes up or down is small and travels as numbered sections of the signed update header and the signed manifest
(`gossamer.wire.codes`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError

Vector = NDArray[np.float64]
"""(d,), or (rows, d)."""

Sections = Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Round:
    """What a device knows of its round.

    ``number`` counts from 0; ``seed`` is the job's, the same for all; ``device`` is this device's index of ``devices``
    in the fleet, dealt into ``cohorts``; ``sections`` are the manifest's. ``secret`` is known to this device alone.
    ``full``: the whole fleet is asked for this round.
    """

    number: int
    seed: int
    device: int
    devices: int
    cohorts: int
    learning_rate: float
    sections: Sections = field(default_factory=dict)
    secret: bytes = field(default=b"", repr=False)
    full: bool = True


@dataclass(frozen=True, slots=True)
class Fitted:
    """Weights (d,) after local training, the mean loss of its last epoch, and how many steps it took."""

    weights: Vector
    loss: float
    steps: int
    sections: Sections = field(default_factory=dict)


class Local(Protocol):
    """The device's own data and trainer, in flat vectors. Deterministic in its arguments and the round's seed."""

    @property
    def d(self) -> int:
        """Coordinates of the weights."""

    @property
    def examples(self) -> int:
        """Training examples on this device."""

    def fit(self, start: Vector, *, correction: Vector | None = None, proximal: float = 0.0) -> Fitted:
        """The manifest's local epochs: ``w -= learning_rate (gradient + correction + proximal (w - start))``.

        Raises TrainerFailed if the trainer cannot add the two terms and one of them is asked for.
        """

    def gradient(self, at: Vector, *, batch: int | None = None) -> tuple[Vector, float]:
        """Gradient (d,) and mean loss over all local data, or over the minibatch that the seed ``batch`` draws.

        Raises TrainerFailed if the trainer has no ``gradient``.
        """

    def optimum(self) -> Vector:
        """Weights (d,) that are best for this device alone; found once and kept. Raises TrainerFailed as `gradient`."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a device wants to send.

    Either ``trained``, weights (d,) whose difference to the shared ones is the update (exact on the lattice, with the
    device's memory added); or ``vector`` (d,), which is sent as it is, and if ``exact`` by a codec that loses nothing,
    whatever the job's. ``settled(decoded)`` is ``own`` once an update that decodes to this vector is counted;
    ``dropped`` is ``own`` if it never is.
    """

    loss: float
    trained: Vector | None = None
    vector: Vector | None = None
    settled: Callable[[Vector], Vector | None] = lambda _decoded: None
    dropped: Vector | None = None
    sections: Sections = field(default_factory=dict)
    exact: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What the server's half sees of a round beside the aggregate.

    ``shared`` and ``target``, both (1 + companions, d): what devices hold, and where the server is with the same
    vectors before compression. ``devices`` in the fleet; ``counted`` updates in the aggregate, with their ``sections``;
    ``seed`` is the job's; ``full`` as in `Round`.
    """

    shared: Vector
    target: Vector
    devices: int
    counted: int
    round: int
    cohorts: int
    sections: Sequence[Sections] = ()
    seed: int = 0
    full: bool = True


Memory = Mapping[str, Vector]
"""What the server's half remembers: named vectors; empty before the first round."""


class Method(ABC):
    """A method; immutable."""

    spec: str
    """Name and parameters, as in ``fedprox:0.1``; travels in the manifest, at most 40 characters."""
    companions: tuple[str, ...] = ()
    """Vectors that every device holds beside the weights; zeros in version 0."""
    own: tuple[str, ...] = ()
    """Vectors that a device keeps to itself; 8 d bytes each on its disk."""
    unbiased: bool = False
    """Needs a codec whose decoded vector is right on average."""
    lossless_down: bool = False
    """Needs a way down that loses nothing but the lattice's rounding."""
    unbiased_down: bool = False
    """As ``unbiased``, of the way down."""
    everybody: bool = False
    """Needs every device in every round."""
    equal: bool = False
    """Updates weigh the same, whatever examples they claim and however late they are."""
    averaged: bool = False
    """Needs the plain mean: what devices remember of counted updates must add up to what the server has of them."""
    fixed_fleet: bool = False
    """Devices that enrol after the first round stay out: what the others remember is a share of the fleet that was."""
    punctual: bool = False
    """An update counts in its own round or never: late ones do not fit what the server has done since."""
    lossless: bool = False
    """Some of its updates are drafted ``exact``."""
    steps: bool = False
    """Has a server's half; without it the job's server step moves the model."""

    @abstractmethod
    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """The device's half."""

    def factors(self, sections: Sequence[Sections]) -> Sequence[float]:
        """What each update is multiplied with before the rule sees it: one positive number each, bounded."""
        return [1.0] * len(sections)

    def clip(self, memory: Memory, view: View) -> float | None:
        """The radius to which every update of the round is clipped before the rule sees it; None: none is."""
        del memory, view
        return None

    def step(self, memory: Memory, aggregate: Vector, view: View) -> tuple[Vector, Memory]:
        """The server's half: moves of the target (1 + companions, d) from the aggregate (d,), and what to remember."""
        del aggregate
        return np.zeros_like(view.target), memory

    def announce(self, memory: Memory) -> Sections:
        """Sections for the next round's manifest."""
        del memory
        return {}

    def model(self, shared: Vector, own: Vector | None) -> Vector:
        """The weights (d,) to judge, from what one device holds (``own`` None: the server's, or nobody's)."""
        del own
        weights: Vector = shared[0]
        return weights


def own_or_zeros(own: Vector | None, rows: int, d: int) -> Vector:
    """``own`` (rows, d), zeros before the first update."""
    return np.zeros((rows, d)) if own is None else own


def remembered(memory: Memory, name: str, like: Vector) -> Vector:
    """The server's vector of this name, zeros before the first round."""
    return memory[name] if name in memory else np.zeros_like(like)


def moved(view: View, weights: Vector, *companions: Vector) -> Vector:
    """Moves (1 + companions, d) from those of the weights (d,) and of each companion (d,)."""
    moves: Vector = np.stack([weights, *companions])
    if moves.shape != view.target.shape:
        raise InputError(f"expected moves of shape {view.target.shape}, got {moves.shape}")
    return moves
