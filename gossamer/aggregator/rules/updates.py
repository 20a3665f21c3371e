"""The updates of one round as a rule sees them: still encoded, read by coordinate range.

Shapes: n updates of d coordinates; ``read`` gives float32 (b,), ``block`` float32 (n, b).

Updates lie in ascending (device index, round), whatever order they arrived in: every rule adds in that
order, so the order of arrival cannot reach the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.weights import EXAMPLE_CAP, bounded_weights
from gossamer.compression.votes import Votes
from gossamer.errors import InputError, MalformedBody

BLOCK_BYTES = 4 << 20
"""Aimed-at size of one (n, b) float32 block: far below any server's memory, far above per-call overhead."""

GRID = 1 << 11
"""Widths of blocks are multiples of this, so that rotated bodies decode a block of theirs once, and sums whose
order matters are made over the same coordinates whatever the width."""

WIDE_BLOCK = 1 << 16
"""Coordinates that are read at once of one update after the other."""

PADDING = 16
"""Coordinates between the rows of a block."""


class Body(Protocol):
    """An encoded update that can be decoded in part (``gossamer.compression``'s open body is one)."""

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Coordinates [start, stop) as float32 (stop - start,)."""
        ...


@runtime_checkable
class Raw(Protocol):
    """A body that gives its encoded bytes: a memory of all devices keeps those, not vectors."""

    def raw(self) -> bytes:
        """As the device sent them."""
        ...


@runtime_checkable
class Packed(Protocol):
    """A body whose votes can be counted without unpacking them."""

    def votes(self) -> Votes | None:
        """Its bits if it has one for each coordinate, or None."""
        ...


class Source(Protocol):
    """Where the coordinates of all updates come from at once: a matrix in memory, or a pre-step's mixing."""

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """Coordinates [start, stop) of all updates, float32 (n, stop - start), not to be written to."""
        ...


@dataclass(frozen=True, slots=True)
class Matrix:
    """Float32 (n, d) in memory, as a source."""

    rows: NDArray[np.float32]

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """See :class:`Source`; a view."""
        return self.rows[:, start:stop]


@dataclass(frozen=True, slots=True)
class Dense:
    """A vector float32 (d,) in memory, as a body."""

    vector: NDArray[np.float32]

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """See :class:`Body`."""
        return self.vector[start:stop]


@dataclass(frozen=True, slots=True)
class Update:
    """One device's contribution.

    Args:
        index: device index.
        body: what it sent.
        examples: what it claims to have trained on.
        lag: model versions since its base.
        round: the round it was made for; tells a device's late update from its current one.
        sections: number and bytes of what its signed header adds (:mod:`gossamer.wire.codes`).
    """

    index: int
    body: Body
    examples: int = 1
    lag: int = 0
    round: int = 0
    sections: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Updates:
    """A round's updates, sorted. Build it with :meth:`of` or :meth:`dense`.

    Args:
        items: in ascending (device index, round, lag).
        d: coordinates.
        block_coordinates: width of :meth:`blocks`, rounded up to a multiple of ``GRID`` (0: chosen from n); no
            result depends on it.
        example_cap: set by the rule.
        fleet: devices in the whole fleet; 0: as many as there are updates.
        round: the round that is aggregated; it seeds what a rule draws.
        workers: threads over blocks of coordinates; no result depends on it.
        source: gives all updates at once where that is cheaper than to read one by one.
    """

    items: tuple[Update, ...]
    d: int
    block_coordinates: int = 0
    example_cap: int = EXAMPLE_CAP
    fleet: int = 0
    round: int = 0
    workers: int = 1
    source: Source | None = None

    @classmethod
    def of(
        cls, items: Iterable[Update], d: int, *, block_coordinates: int = 0, fleet: int = 0, round: int = 0,
        workers: int = 1,
    ) -> Updates:  # fmt: skip
        """Sort; that each (device, round) comes once is the inbox's promise.

        Raises InputError if d < 1 or workers < 1.
        """
        ordered = tuple(sorted(items, key=lambda item: (item.index, item.round, item.lag)))
        if d < 1 or workers < 1:
            raise InputError(f"d and workers must be at least 1, got {d} and {workers}")
        return cls(ordered, d, block_coordinates, fleet=fleet, round=round, workers=workers)

    @classmethod
    def dense(
        cls, matrix: NDArray[np.float32], *, block_coordinates: int = 0, fleet: int = 0, round: int = 0,
        workers: int = 1,
    ) -> Updates:  # fmt: skip
        """Rows of float32 (n, d) as devices 0..n-1 with one example each."""
        items = (Update(index, Dense(row)) for index, row in enumerate(matrix))
        d = matrix.shape[1]
        made = cls.of(items, d, block_coordinates=block_coordinates, fleet=fleet, round=round, workers=workers)
        return replace(made, source=Matrix(matrix)) if matrix.dtype == np.float32 else made

    @property
    def n(self) -> int:
        """How many updates there are."""
        return len(self.items)

    @property
    def indices(self) -> tuple[int, ...]:
        """Device indices, ascending; a device's late update stands beside its current one."""
        return tuple(item.index for item in self.items)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Float64 (n,), not normalised: bounded example counts times the staleness weight."""
        examples = [item.examples for item in self.items]
        return bounded_weights(examples, [item.lag for item in self.items], self.example_cap)

    def read(self, row: int, start: int, stop: int) -> NDArray[np.float32]:
        """Coordinates [start, stop) of the row-th update."""
        return self.items[row].body.read(start, stop)

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """Coordinates [start, stop) of all updates, float32 (n, stop - start), not to be written to."""
        if self.source is not None:
            return self.source.block(start, stop)
        # Rows a power of two apart would meet in the same lines of the cache when they are transposed.
        out = np.empty((self.n, stop - start + PADDING), dtype=np.float32)[:, : stop - start]
        for row in range(self.n):
            out[row] = self.checked_read(row, start, stop)
        return out

    def checked_read(self, row: int, start: int, stop: int) -> NDArray[np.float32]:
        """As :meth:`read`; raises MalformedBody for another number of coordinates."""
        x = self.read(row, start, stop)
        if x.shape != (stop - start,):
            raise MalformedBody(f"expected {stop - start} coordinates, got shape {x.shape}")
        return x

    def rows(self, start: int, stop: int) -> Iterator[NDArray[np.float32]]:
        """Coordinates [start, stop) of one update after the other, without a block of all."""
        if self.source is not None:
            yield from self.source.block(start, stop)
            return
        for row in range(self.n):
            yield self.checked_read(row, start, stop)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Ranges (start, stop) that cover 0..d in order, for :meth:`block`."""
        yield from self._ranges(BLOCK_BYTES // (4 * max(self.n, 1)))

    def wide_blocks(self) -> Iterator[tuple[int, int]]:
        """Ranges that cover 0..d in order, for :meth:`rows`."""
        yield from self.blocks() if self.source is not None else self._ranges(WIDE_BLOCK)

    def _ranges(self, wanted: int) -> Iterator[tuple[int, int]]:
        width = max(1, -(-(self.block_coordinates or wanted) // GRID)) * GRID
        for start in range(0, self.d, width):
            yield start, min(start + width, self.d)

    def keep(self, rows: Iterable[int]) -> Updates:
        """The given rows only, order kept."""
        kept = sorted(set(rows))
        if len(kept) == self.n:
            return self
        return replace(self, items=tuple(self.items[row] for row in kept), source=None)
