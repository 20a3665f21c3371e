"""What a device remembers of its updates between rounds: three methods behind one interface, all exact.

    ef14            e: what was left unsent.              c = C(delta + e)   counted: e = delta + e - c
                                                                             dropped: e = delta + e
    ef21            h: what the server knows of us.       c = C(delta - h)   counted: h = h + c
                                                                             dropped: h stays
    ef21-sgdm:ETA   v: smoothed deltas, and h.            v = (1 - ETA) v + ETA delta, c = C(v - h), h as for ef21;
                                                          v moves whether counted or not, and starts as the first delta

``ef14``: Seide and others 2014; Karimireddy and others 2019 (arXiv 1901.09847). ``ef21``: Richtárik, Sokolov and
Fatkhullin 2021 (arXiv 2106.05203). ``ef21-sgdm``: Fatkhullin, Tyurin and Richtárik 2023 (arXiv 2305.15155).

Shapes: a delta is int (d,), a state int32 (vectors, d), both in lattice units, so these hold to the bit:

    ef14       sum of counted c + e = sum of deltas
    ef21       h = sum of counted c; the server, which adds them up (`memory_server`), has the sum of all h

With ``ef14`` the server adds the mean of a round's c to the model; with the other two it adds the mean of *all* h,
those of absent devices too. So an ``ef21`` device must not be weighted by staleness, and robust rules, which compare
updates, do not apply to its c.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Compressed:
    """An update ready to send, what the receiver decodes of it, int32 (d,), and the two states it can leave."""

    body: bytes
    sent: Lattice
    if_counted: State
    if_dropped: State


class Memory(ABC):
    """A method; immutable. Its state is the caller's: int32 (``vectors``, d), or None before the first update."""

    spec: str
    vectors: int
    """Lattice vectors of a state: 4 d bytes each on the device's disk."""
    summed: bool
    """Whether the server steps by the mean of all that devices have sent (`memory_server`), not of this round's."""

    def zeros(self, d: int) -> State:
        """The state before the first update."""
        return np.zeros((self.vectors, d), dtype=np.int32)

    def compress(
        self, codec: Codec, delta: Lattice | Integers, state: State | None, *, seed: int, context: Context = NOTHING
    ) -> Compressed:
        """Encode an update int (d,). The caller stores both states before it sends, and later keeps one.

        Raises `InputError` for a state of another shape or a codec that this method cannot work with,
        `LatticeOverflow` if a sum leaves the lattice.
        """
        if delta.ndim != 1:
            raise InputError(f"expected an update of shape (d,), got {delta.shape}")
        if state is not None and state.shape != (self.vectors, delta.size):
            raise InputError(f"expected a state of shape {(self.vectors, delta.size)}, got {state.shape}")
        self.check(codec, delta.size)
        return self._compress(codec, delta.astype(np.int64), state, seed, context)

    @abstractmethod
    def check(self, codec: Codec, d: int) -> None:
        """Raise `InputError` if updates of d coordinates cannot be sent by this codec."""

    @abstractmethod
    def _compress(self, codec: Codec, delta: Integers, state: State | None, seed: int, context: Context) -> Compressed:
        """`compress` for arguments that fit."""


@dataclass(frozen=True)
class Ef14(Memory):
    """What was not sent is added to the next update. An unbiased codec needs no memory, and then keeps zeros."""

    spec: str = "ef14"
    vectors: int = 1
    summed: bool = False

    def check(self, codec: Codec, d: int) -> None:
        """Any codec will do."""

    def _compress(self, codec: Codec, delta: Integers, state: State | None, seed: int, context: Context) -> Compressed:
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

    def _compress(self, codec: Codec, delta: Integers, state: State | None, seed: int, context: Context) -> Compressed:
        known = self.zeros(delta.size) if state is None else state
        body, sent, counted = _difference(codec, delta, known[-1], seed, context)
        return Compressed(body, sent, counted[np.newaxis], known.copy())


@dataclass(frozen=True)
class Ef21Sgdm(Ef21):
    """``ef21`` of smoothed updates, for stochastic ones: the noise of a minibatch is averaged before it is chased."""

    spec: str = "ef21-sgdm:0.1"
    vectors: int = 2
    eta_units: int = 6554

    def _compress(self, codec: Codec, delta: Integers, state: State | None, seed: int, context: Context) -> Compressed:
        if state is None:
            smoothed, h = narrowed(delta, "update"), np.zeros(delta.size, dtype=np.int32)
        else:
            before, h = state[0].astype(np.int64), state[1]
            half = 1 << (ETA_BITS - 1)
            smoothed = narrowed(before + ((self.eta_units * (delta - before) + half) >> ETA_BITS), "update")
        body, sent, counted = _difference(codec, smoothed.astype(np.int64), h, seed, context)
        return Compressed(body, sent, np.stack([smoothed, counted]), np.stack([smoothed, h]))


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
        eta = float(text)
    except ValueError:
        eta = 0.0
    units = round(eta * (1 << ETA_BITS)) if 0.0 < eta <= 1.0 else 0
    if name != "ef21-sgdm" or units == 0:
        raise UnknownCodec(f"expected a memory like ef14, ef21 or ef21-sgdm:0.1 (above 0, at most 1), got {spec!r}")
    return Ef21Sgdm(spec, eta_units=units)


def to_bytes(state: State) -> bytes:
    """A state as it is stored: its vectors one after the other, int32 little-endian."""
    return np.ascontiguousarray(state, dtype="<i4").tobytes()


def from_bytes(data: bytes, method: Memory, d: int) -> State:
    """The inverse of `to_bytes`; raises `InputError` for a state of another method or model."""
    expected = 4 * method.vectors * d
    if len(data) != expected:
        raise InputError(f"expected {expected} bytes of a {method.spec} state for {d} parameters, got {len(data)}")
    return np.frombuffer(data, dtype="<i4").astype(np.int32).reshape(method.vectors, d)
