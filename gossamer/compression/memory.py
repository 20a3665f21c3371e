"""What a device remembers of its updates between rounds: five methods behind one interface, all exact.

    ef14            e: what was left unsent.              c = C(delta + e)   counted: e = delta + e - c
                                                                             dropped: e = delta + e
    ef21            h: what the server knows of us.       c = C(delta - h)   counted: h = h + c
                                                                             dropped: h stays
    ef21-sgdm:ETA   v: smoothed deltas, and h.            v = (1 - ETA) v + ETA delta, c = C(v - h), h as for ef21;
                                                          v moves whether counted or not, and starts as the first delta
    ef21-w:LMEAN    h, and w = L_i / LMEAN.               c = C(delta / w - h), h as for ef21, summed with weight w
    momentum:ETA    v: smoothed deltas, of all rounds.    v = (1 - ETA/R)^k v + ETA delta, c = C(v); v moves whether
                                                          counted or not; k rounds after its last, R cohorts

``ef14``: Seide and others 2014; Karimireddy and others 2019 (arXiv 1901.09847). ``ef21``: Richtárik, Sokolov and
Fatkhullin 2021 (arXiv 2106.05203). ``ef21-sgdm``: Fatkhullin, Tyurin and Richtárik 2023 (arXiv 2305.15155).
``ef21-w``: Richtárik, Gasanov and Burlachenko 2024 (arXiv 2402.10774); L_i is the smoothness of the device's objective,
LMEAN the fleet's mean of it. ``momentum``: what a device sends to a server that keeps the last update of every device
and fades it by 1 - ETA/R a round (DeMoA), so that both have the same v.

Shapes: a delta is int (d,), a state int32 (vectors, d + notes), all in lattice units but the notes, so these hold to
the bit:

    ef14       sum of counted c + e = sum of deltas
    ef21       h = sum of counted c; the server, which adds them up (`memory_server`), has the sum of all h

With ``ef14`` the server adds the mean of a round's c to the model; with ``ef21`` and its like it adds the mean of *all*
h, those of absent devices too. So an ``ef21`` device must not be weighted by staleness, and robust rules, which compare
updates, do not apply to its c. They do apply to those of ``momentum``, of all devices.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossamer.compression import residual
from gossamer.compression.arrays import Lattice
from gossamer.compression.codec import Codec
from gossamer.compression.context import NOTHING, Context
from gossamer.compression.lattice import narrowed
from gossamer.errors import InputError, UnknownCodec

Integers = npt.NDArray[np.int64]
State = npt.NDArray[np.int32]

ETA_BITS = 16
"""ETA is rounded to 2^-16, so that v is the same integer on every machine."""

FADE_BITS = 30
"""What remains of v after some rounds is rounded to 2^-30: times int32 it stays far within int64."""

UNIT_WEIGHT = 1024
"""A weight of 1: weights are integers, so that their sums have no order."""

MIN_WEIGHT, MAX_WEIGHT = UNIT_WEIGHT // 16, UNIT_WEIGHT * 16
"""Beyond this a device's declared smoothness is an error or a lie; updates with another weight are malformed."""


@dataclass(frozen=True)
class Occasion:
    """What a memory may have to know beside the update: the round's number, into how many cohorts the fleet is dealt,
    and the smoothness that the trainer declares (None: it does not, and the fleet's mean stands for it).
    """

    round: int = 0
    cohorts: int = 1
    smoothness: float | None = None


NO_OCCASION = Occasion()


@dataclass(frozen=True)
class Compressed:
    """An update ready to send, what the receiver decodes of it, int32 (d,), and the two states it can leave.

    ``weight`` must travel with it (section WEIGHT) unless it is None.
    """

    body: bytes
    sent: Lattice
    if_counted: State
    if_dropped: State
    weight: int | None = None


class Memory(ABC):
    """A method; immutable. Its state is the caller's: int32 of `shape`, or None before the first update."""

    spec: str
    vectors: int
    """Lattice vectors of a state: 4 d bytes each on the device's disk."""
    notes: int = 0
    """Numbers about a vector that stand behind it."""
    unit: int = 1
    """The weight in the server's sum of a device that says none; times the fleet's devices, its total weight."""
    summed: bool
    """Whether the server steps by the mean of all that devices have sent (`memory_server`), not of this round's."""

    def shape(self, d: int) -> tuple[int, int]:
        """The shape of a state for d coordinates."""
        return self.vectors, d + self.notes

    def zeros(self, d: int) -> State:
        """The state before the first update."""
        return np.zeros(self.shape(d), dtype=np.int32)

    def keeps(self, codec: Codec) -> bool:
        """Whether there is a state to store with updates of this codec."""
        del codec
        return True

    def weighed(self, said: int | None) -> int:
        """The weight of an update in the server's sum, whatever it says: within what devices of this method can have.

        >>> Ef21().weighed(7), Ef21W().weighed(1500), Ef21W().weighed(None), Ef21W().weighed(10**9)
        (1, 1500, 1024, 16384)
        """
        if self.unit == 1 or said is None:
            return self.unit
        return min(max(said, MIN_WEIGHT), MAX_WEIGHT)

    def compress(
        self, codec: Codec, delta: Lattice | Integers, state: State | None, *, seed: int, context: Context = NOTHING,
        occasion: Occasion = NO_OCCASION,
    ) -> Compressed:  # fmt: skip
        """Encode an update int (d,). The caller stores both states before it sends, and later keeps one.

        Raises `InputError` for a state of another shape or a codec that this method cannot work with,
        `LatticeOverflow` if a sum leaves the lattice.
        """
        if delta.ndim != 1:
            raise InputError(f"expected an update of shape (d,), got {delta.shape}")
        if state is not None and state.shape != self.shape(delta.size):
            raise InputError(f"expected a state of shape {self.shape(delta.size)}, got {state.shape}")
        self.check(codec, delta.size)
        return self._compress(codec, delta.astype(np.int64), state, seed, context, occasion)

    @abstractmethod
    def check(self, codec: Codec, d: int) -> None:
        """Raise `InputError` if updates of d coordinates cannot be sent by this codec."""

    @abstractmethod
    def _compress(
        self, codec: Codec, delta: Integers, state: State | None, seed: int, context: Context, occasion: Occasion
    ) -> Compressed:
        """`compress` for arguments that fit."""


@dataclass(frozen=True)
class Ef14(Memory):
    """What was not sent is added to the next update. An unbiased codec needs no memory, and then keeps zeros."""

    spec: str = "ef14"
    vectors: int = 1
    summed: bool = False

    def check(self, codec: Codec, d: int) -> None:
        """Any codec will do."""

    def keeps(self, codec: Codec) -> bool:
        """See `Memory`."""
        return codec.uses_residual

    def _compress(
        self, codec: Codec, delta: Integers, state: State | None, seed: int, context: Context, _: Occasion
    ) -> Compressed:
        nothing = self.zeros(delta.size)
        before = state if state is not None and codec.uses_residual else nothing
        made = residual.compress(codec, delta, before[0], seed=seed, context=context)
        if not codec.uses_residual:
            return Compressed(made.body, made.sent, nothing, nothing.copy())
        return Compressed(made.body, made.sent, made.if_counted[np.newaxis], made.if_dropped[np.newaxis])


@dataclass(frozen=True)
class Ef21(Memory):
    """Only the difference to what the server already knows is sent, so that what is sent shrinks to nothing."""

    spec: str = "ef21"
    vectors: int = 1
    summed: bool = True

    def check(self, codec: Codec, d: int) -> None:
        """A difference must shrink by being sent: biased codecs, and unbiased ones of a variance below 1."""
        if not codec.uses_residual and codec.error_bound(d) >= 1:
            raise InputError(f"{self.spec} needs a codec whose error is below what it sends: not {codec.spec}")

    def _compress(
        self, codec: Codec, delta: Integers, state: State | None, seed: int, context: Context, _: Occasion
    ) -> Compressed:
        known = self.zeros(delta.size) if state is None else state
        body, sent, counted = _difference(codec, delta, known[-1], seed, context)
        return Compressed(body, sent, counted[np.newaxis], known.copy())


@dataclass(frozen=True)
class Ef21Sgdm(Ef21):
    """``ef21`` of smoothed updates, for stochastic ones: the noise of a minibatch is averaged before it is chased."""

    spec: str = "ef21-sgdm:0.1"
    vectors: int = 2
    eta_units: int = 6554

    def _compress(
        self, codec: Codec, delta: Integers, state: State | None, seed: int, context: Context, _: Occasion
    ) -> Compressed:
        if state is None:
            smoothed, h = narrowed(delta, "update"), np.zeros(delta.size, dtype=np.int32)
        else:
            before, h = state[0].astype(np.int64), state[1]
            half = 1 << (ETA_BITS - 1)
            smoothed = narrowed(before + ((self.eta_units * (delta - before) + half) >> ETA_BITS), "update")
        body, sent, counted = _difference(codec, smoothed.astype(np.int64), h, seed, context)
        return Compressed(body, sent, np.stack([smoothed, counted]), np.stack([smoothed, h]))


@dataclass(frozen=True)
class Ef21W(Ef21):
    """``ef21`` for devices of unequal smoothness: the longest safe step follows from its mean, not its mean square.

    The weight is noted beside h with the first update and stays: the server's sum has earlier ones at that weight. A
    codec that scales with what it gets (``topk``) sends the same as without weights, up to rounding: what is gained is
    the step, and ``ef21`` stands that one as well.
    """

    spec: str = "ef21-w:1.0"
    notes: int = 1
    unit: int = UNIT_WEIGHT
    mean: float = 1.0

    def weight(self, smoothness: float | None) -> int:
        """`UNIT_WEIGHT` times smoothness over the fleet's mean, within `MIN_WEIGHT` to `MAX_WEIGHT`.

        >>> Ef21W(mean=2.0).weight(3.0), Ef21W().weight(None), Ef21W().weight(1e9)
        (1536, 1024, 16384)
        """
        if smoothness is None:
            return UNIT_WEIGHT
        if not 0.0 < smoothness < math.inf:
            raise InputError(f"expected a finite smoothness above 0 from the trainer, got {smoothness}")
        return round(min(max(UNIT_WEIGHT * smoothness / self.mean, MIN_WEIGHT), MAX_WEIGHT))

    def _compress(
        self, codec: Codec, delta: Integers, state: State | None, seed: int, context: Context, occasion: Occasion
    ) -> Compressed:
        known = self.zeros(delta.size) if state is None else state.copy()
        weight = int(known[0, -1]) or self.weight(occasion.smoothness)
        known[0, -1] = weight
        wanted = (2 * UNIT_WEIGHT * delta + weight) // (2 * weight)
        body, sent, h = _difference(codec, wanted, known[0, :-1], seed, context)
        return Compressed(body, sent, np.append(h, known[0, -1:])[np.newaxis], known, weight)


@dataclass(frozen=True)
class Momentum(Memory):
    """Smoothed updates, sent whole: for a server that has the last one of every device, and fades it as we do ours.

    v fades by ``1 - ETA/R`` in every round, takes in ``ETA delta`` in those of its own; the mean of v over a cycle of R
    rounds is that of the deltas. What a codec leaves unsent is no loss: v is sent again next time.
    """

    spec: str = "momentum:0.5"
    vectors: int = 1
    notes: int = 1
    summed: bool = False
    eta_units: int = 1 << (ETA_BITS - 1)

    def check(self, codec: Codec, d: int) -> None:
        """Any codec will do."""

    def _compress(
        self, codec: Codec, delta: Integers, state: State | None, seed: int, context: Context, occasion: Occasion
    ) -> Compressed:
        before = self.zeros(delta.size) if state is None else state
        v, last = before[0, :-1].astype(np.int64), int(before[0, -1])  # 1 + the round in which v last moved
        remains = self.remains(max(0, occasion.round + 1 - last), occasion.cohorts) if last else 0
        gain = self.eta_units << (FADE_BITS - ETA_BITS)
        units = remains * v + gain * narrowed(delta, "update").astype(np.int64)
        smoothed = narrowed((units + (1 << (FADE_BITS - 1))) >> FADE_BITS, "memory")
        after = np.append(smoothed, np.int32(occasion.round + 1))[np.newaxis]
        body, sent = residual.send(codec, smoothed, seed, context)
        return Compressed(body, sent, after, after.copy())

    def remains(self, rounds: int, cohorts: int) -> int:
        """(1 - ETA/cohorts)^rounds in units of 2^-30; the same integer on every machine.

        >>> [Momentum().remains(rounds, cohorts=2) * 2.0**-30 for rounds in (0, 1, 2)]
        [1.0, 0.75, 0.5625]
        """
        if rounds < 0 or cohorts < 1:
            raise InputError(f"expected rounds of 0 or more and a cohort, got {rounds} and {cohorts}")
        one = 1 << FADE_BITS
        fade, power = one - ((self.eta_units << (FADE_BITS - ETA_BITS)) + cohorts // 2) // cohorts, one
        for bit in bin(rounds)[2:]:
            power = (power * power) >> FADE_BITS
            if bit == "1":
                power = (power * fade) >> FADE_BITS
        return power


def _difference(
    codec: Codec, wanted: Integers, known: Lattice, seed: int, context: Context
) -> tuple[bytes, Lattice, Lattice]:
    """Send ``wanted - known``: body, what it decodes to, and what the server knows once it is counted."""
    body, sent = residual.send(codec, narrowed(wanted - known, "update"), seed, context)
    return body, sent, narrowed(known.astype(np.int64) + sent, "memory")


EF14 = Ef14()


def memory(spec: str) -> Memory:
    """The method of a spec string: ``ef14``, ``ef21``, ``ef21-sgdm:0.2``; raises `UnknownCodec`.

    >>> memory("ef21-sgdm:0.2").vectors
    2
    """
    if spec == "ef14":
        return EF14
    if spec == "ef21":
        return Ef21()
    name, _, text = spec.partition(":")
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if name == "ef21-w" and 0.0 < number < math.inf:
        return Ef21W(spec, mean=number)
    units = round(number * (1 << ETA_BITS)) if 0.0 < number <= 1.0 else 0
    if name == "ef21-sgdm" and units:
        return Ef21Sgdm(spec, eta_units=units)
    if name == "momentum" and units:
        return Momentum(spec, eta_units=units)
    raise UnknownCodec(
        "expected a memory like ef14, ef21, ef21-sgdm:0.1, momentum:0.5 (above 0, at most 1) or ef21-w:2.5 (above 0), "
        f"got {spec!r}"
    )


def to_bytes(state: State) -> bytes:
    """A state as it is stored: its vectors one after the other, each with its notes, int32 little-endian."""
    return np.ascontiguousarray(state, dtype="<i4").tobytes()


def from_bytes(data: bytes, method: Memory, d: int) -> State:
    """The inverse of `to_bytes`; raises `InputError` for a state of another method or model."""
    expected = 4 * method.vectors * (d + method.notes)
    if len(data) != expected:
        raise InputError(f"expected {expected} bytes of a {method.spec} state for {d} parameters, got {len(data)}")
    return np.frombuffer(data, dtype="<i4").astype(np.int32).reshape(method.shape(d))
