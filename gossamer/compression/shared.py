"""The shared model as both ends hold it, to the bit: its weights, and its past where a codec draws on that.

A plain model is its weights. A model *with history* remembers the frame of the present cycle (`frame`) and the sum
of the steps since, as integer levels in that frame's basis. Because levels add, a device that missed some rounds
of a cycle can be sent their sum, and every way through a cycle ends in the same bytes:

    weights = (weights before) + D(levels after) - D(levels before),   D = `Basis.inverse` at the cycle's scale

The digest covers all of it: two ends that agree on it decode each other's bodies.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gossamer.compression import hist, scales
from gossamer.compression.arrays import Lattice
from gossamer.compression.codecs import decode
from gossamer.compression.context import Context
from gossamer.compression.frame import Frame
from gossamer.compression.integers import decode_integers, encode_integers
from gossamer.compression.lattice import DIGEST_BYTES, narrowed, to_lattice
from gossamer.compression.layout import Layout
from gossamer.compression.varint import read_varint, write_varint
from gossamer.errors import LatticeOverflow, LayoutMismatch, MalformedBody

Levels = npt.NDArray[np.int32]
MAX_CYCLE = 1 << 20
"""Rounds of a cycle; a fleet has no more cohorts than devices."""


@dataclass(frozen=True, eq=False)
class SharedModel:
    """A model version.

    Args:
        layout: of the model.
        weights: int32 (d,) in lattice units.
        frame: of the present cycle; None for a plain model.
        levels: sum of the steps of this cycle, int32 (D,); None while there was none.
        scale_code: the quantiser's step in this cycle (`scales`); None while no step has set it.
        steps: rounds since the cycle began.
    """

    layout: Layout
    weights: Lattice
    frame: Frame | None = None
    levels: Levels | None = None
    scale_code: int | None = None
    steps: int = 0

    @classmethod
    def first(cls, layout: Layout, weights: Lattice, rounds: int = 0) -> SharedModel:
        """Version 0; with history if its cycles have ``rounds`` rounds, plain if that is 0."""
        return cls(layout, weights, Frame.first(layout, weights, rounds) if rounds else None)

    @classmethod
    def plain(cls, weights: Lattice) -> SharedModel:
        """A model without history whose arrays do not matter: one vector."""
        return cls(Layout((("0", (len(weights),)),)), weights)

    @cached_property
    def digest(self) -> bytes:
        """The name of the version: 16 bytes of SHA-256 over `to_bytes`."""
        return hashlib.sha256(self.to_bytes()).digest()[:DIGEST_BYTES]

    def context(self, *, upward: bool) -> Context:
        """What this model's holders know: for an update made from it (``upward``), or for the step after it."""
        return Context(self.layout, self.frame, upward, None if upward else self.scale_code)

    def after(self, body: bytes | memoryview, rounds: int = 1) -> SharedModel:
        """The model after a step's body, or after one body that sums the steps of several rounds of this cycle.

        Raises `MalformedBody` for a body that is none, leaves the lattice, or runs past the cycle.
        """
        if self.frame is None or not hist.is_hist(body):
            try:
                return self.moved(to_lattice(decode(body, self.weights.size, self.context(upward=False))), rounds)
            except LatticeOverflow as error:
                raise MalformedBody(f"expected a step on the lattice: {error}") from error
        levels, code = hist.read_levels(body, self.context(upward=False))
        if not levels.any():  # nothing moves, and no scale is set
            return self._advanced(self, rounds)
        if self.scale_code not in (None, code):
            raise MalformedBody("expected the scale that this cycle's first step has set, got another")
        return self._with_levels(self.frame, levels.astype(np.int32), code, rounds)

    def moved(self, change: npt.NDArray[np.integer], rounds: int = 1) -> SharedModel:
        """The model after a change in lattice units, int (d,); raises `MalformedBody` as `after`."""
        return self._advanced(replace(self, weights=self._sum(change)), rounds)

    def _with_levels(self, frame: Frame, levels: Levels, code: int, rounds: int) -> SharedModel:
        scale = scales.value(code)
        if self.levels is None:
            total, move = levels, hist.lattice_change(frame, levels, scale)
        else:
            total = self.levels + levels
            move = hist.lattice_change(frame, total, scale) - hist.lattice_change(frame, self.levels, scale)
        return self._advanced(replace(self, weights=self._sum(move), levels=total, scale_code=code), rounds)

    def _sum(self, change: npt.NDArray[np.integer]) -> Lattice:
        try:
            return narrowed(self.weights.astype(np.int64) + change, "model")
        except LatticeOverflow as error:
            raise MalformedBody(f"expected a step that fits this model: {error}") from error

    def _advanced(self, model: SharedModel, rounds: int) -> SharedModel:
        if self.frame is None:
            return model
        steps = self.steps + rounds
        if rounds < 1 or steps > self.frame.rounds:
            raise MalformedBody(f"expected 1 to {self.frame.rounds - self.steps} rounds of this cycle, got {rounds}")
        if steps < self.frame.rounds:
            return replace(model, steps=steps)
        return SharedModel(self.layout, model.weights, self.frame.next(model.weights, model.levels))

    # -- at rest -------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """A plain model: its weights, int32 little-endian. With history: three vectors and the rest, see below."""
        weights = _little(self.weights)
        frame = self.frame
        if frame is None:
            return weights
        code = b"" if self.scale_code is None else self.scale_code.to_bytes(2, "little")
        statistics = frame.statistics.serialize()
        head = [write_varint(n) for n in (frame.rounds, self.steps, len(statistics))]
        levels = b"" if self.levels is None else encode_integers(self.levels)
        return b"".join(
            [weights, _little(frame.start), _little(frame.initial), *head, statistics, bytes([len(code)]), code, levels]
        )

    @classmethod
    def from_bytes(cls, data: bytes, layout: Layout) -> SharedModel:
        """The inverse of `to_bytes`; raises `LayoutMismatch` or `MalformedBody` for bytes that are no such model."""
        d = layout.size
        width = 4 * d
        if len(data) == width:
            return cls(layout, _lattice(data))
        if len(data) < 3 * width + 4:
            raise LayoutMismatch(f"expected a model of {d} parameters, got {len(data)} bytes")
        weights, start, initial = (_lattice(data[i * width : (i + 1) * width]) for i in range(3))
        rest = memoryview(data)[3 * width :]
        rounds, at = read_varint(rest, 0)
        steps, at = read_varint(rest, at)
        size, at = read_varint(rest, at)
        frame = Frame.first(layout, initial, rounds).resumed(start, rest[at : at + size])
        at += size
        code = int.from_bytes(rest[at + 1 : at + 1 + rest[at]], "little") if rest[at] else None
        tail = rest[at + 1 + rest[at] :]
        levels = decode_integers(tail, frame.size) if len(tail) else None
        return cls(layout, weights, frame, levels, code, steps)


def _little(vector: Lattice) -> bytes:
    return np.ascontiguousarray(vector, dtype="<i4").tobytes()


def _lattice(data: bytes) -> Lattice:
    return np.frombuffer(data, dtype="<i4").astype(np.int32)
