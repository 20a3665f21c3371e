"""The value tables of ``nf4``: fitted to what the fleet has sent so far, named by a version.

A block's values are divided by its peak (the value of largest magnitude, with its sign), so they lie in [-1, 1] and one
of them is 1. A table holds 16 levels: -m7 .. -m1, 0, m1 .. m7 and 1, where m_i = (b_i / 256)^2 for bytes b1 < .. < b7;
the square spends resolution where levels are dense. There is a table for each *group* of layers. With M matrices
(arrays of two or more dimensions) and G = min(M, 8) groups, matrix j belongs to group j G // M, and a vector (a bias)
to the group of the matrix before it.

    serialize = version (2 bytes), G (1 byte), 7 bytes for each group: at most 59 bytes of a manifest

The server refits from `Usage`: how often each code was used. Nothing but integers goes into a fit (`lloyd`), so every
machine comes to the same tables. Bodies made with one of the `KNOWN` versions before stay readable where the object
itself is kept; `parse` gives the announced version alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gossamer.compression.arrays import Positions, Vector
from gossamer.compression.layout import Layout
from gossamer.compression.lloyd import refitted
from gossamer.errors import InputError, MalformedBody, MalformedMessage

MAX_GROUPS = 8
"""Tables in a manifest, whose 300 bytes are also needed for other things."""
MAGNITUDES = 7
"""Free levels of a table."""
MAX_VERSION = (1 << 16) - 1
"""Refits of a job. A body names its version by the lowest byte."""
KNOWN = 4
"""Earlier versions kept: a straggler's update is a few rounds old at most."""
_HEAD_BYTES = 3

NORMAL = (72, 103, 127, 149, 170, 192, 218)
"""Bytes of the quantiles of N(0, 1) that NF4 uses (Dettmers, Pagnoni, Holtzman, Zettlemoyer 2023, "QLoRA")."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Usage:
    """How often the codes of one version were used: int64 (groups, 17), the last column for blocks.

    All counts of a block are weighted by its energy, 0 to 255 of the body's largest: what a fit should lower is the
    squared error, and the loudest blocks make it.
    """

    version: int
    counts: Counts

    def __add__(self, other: Usage) -> Usage:
        """The sum of two of the same version; `InputError` for others."""
        if self.version != other.version or self.counts.shape != other.counts.shape:
            raise InputError(f"expected usage of version {self.version}, got version {other.version}")
        return Usage(self.version, self.counts + other.counts)


@dataclass(frozen=True)
class Codebooks:
    """One version: the bytes (b1, .., b7) of each group, and a few versions before it."""

    version: int
    groups: tuple[tuple[int, ...], ...]
    known: tuple[Codebooks, ...] = ()

    def __post_init__(self) -> None:
        """Raise `InputError` for tables that are no tables."""
        fine = 0 <= self.version <= MAX_VERSION and 0 < len(self.groups) <= MAX_GROUPS
        if not fine or not all(_ascending(table) for table in self.groups):
            raise InputError(f"expected 1 to {MAX_GROUPS} tables of {MAGNITUDES} ascending bytes, got {self.groups}")

    @classmethod
    def initial(cls, layout: Layout | None = None) -> Codebooks:
        """Version 0, which nobody has to announce: normal quantiles for every group of ``layout``."""
        matrices = sum(len(shape) > 1 for _, shape in layout.entries) if layout else 1
        return cls(0, (NORMAL,) * min(max(matrices, 1), MAX_GROUPS))

    @classmethod
    def parse(cls, data: bytes) -> Codebooks:
        """The inverse of `serialize`; raises `MalformedMessage`."""
        count = data[2] if len(data) >= _HEAD_BYTES else 0
        if not 0 < count <= MAX_GROUPS or len(data) != _HEAD_BYTES + MAGNITUDES * count:
            raise MalformedMessage(f"expected 1 to {MAX_GROUPS} tables of {MAGNITUDES} bytes, got {len(data)} bytes")
        tables = [tuple(data[at : at + MAGNITUDES]) for at in range(_HEAD_BYTES, len(data), MAGNITUDES)]
        if not all(map(_ascending, tables)):
            raise MalformedMessage(f"expected ascending bytes above 0 in every table, got {tables}")
        return cls(int.from_bytes(data[:2], "little"), tuple(tables))

    def serialize(self) -> bytes:
        """The announced version, without the known ones."""
        return self.version.to_bytes(2, "little") + bytes([len(self.groups)]) + b"".join(map(bytes, self.groups))

    def of_version(self, low_byte: int) -> Codebooks:
        """The newest version whose lowest byte is this; raises `MalformedBody` if none is known."""
        versions = (self, *self.known, Codebooks(0, (NORMAL,) * len(self.groups)))
        for books in versions:
            if books.version & 0xFF == low_byte:
                return books
        have = ", ".join(str(books.version) for books in versions)
        raise MalformedBody(f"expected codebook version {have} (lowest byte), got {low_byte}; fetch the manifest again")

    def levels(self) -> Vector:
        """float32 (groups, 16), ascending; multiples of 2^-16, so exact."""
        rows = [[-(b * b) for b in reversed(t)] + [0] + [b * b for b in t] + [1 << 16] for t in self.groups]
        return (np.array(rows, dtype=np.float64) / (1 << 16)).astype(np.float32)

    def groups_of(self, starts: Positions, layout: Layout | None) -> Positions:
        """The group of each coordinate, int64 (n,); raises `InputError` where a layout is needed and missing."""
        if len(self.groups) == 1:
            return np.zeros(len(starts), dtype=np.int64)
        if layout is None:
            raise InputError("expected the model's layout in the context: the codebooks are by layer")
        first, group = _spans(layout, len(self.groups))
        # A coordinate beyond the layout (bytes of another model) falls into the last group.
        return group[np.searchsorted(first, starts, side="right") - 1]

    def refit(self, usage: Usage) -> Codebooks:
        """The next version, from how this one was used; a group hardly used keeps its table.

        Raises `InputError` for usage of another version, or after `MAX_VERSION`.
        """
        if usage.version != self.version or usage.counts.shape != (len(self.groups), 17):
            raise InputError(f"expected usage of version {self.version}, got version {usage.version}")
        tables = tuple(refitted(t, [int(c) for c in row]) for t, row in zip(self.groups, usage.counts, strict=True))
        return Codebooks(self.version + 1, tables, (Codebooks(self.version, self.groups), *self.known)[:KNOWN])


def _ascending(table: tuple[int, ...]) -> bool:
    return len(table) == MAGNITUDES and all(a < b for a, b in pairwise((0, *table, 256)))


@lru_cache(maxsize=16)
def _spans(layout: Layout, groups: int) -> tuple[Positions, Positions]:
    """First coordinate and group of each array, both int64 (arrays,)."""
    matrices = [len(shape) > 1 for _, shape in layout.entries]
    before = np.maximum(np.cumsum(matrices) - 1, 0)
    sizes = [int(np.prod(shape, dtype=np.int64)) for _, shape in layout.entries]
    first = np.cumsum([0, *sizes[:-1]])
    return first.astype(np.int64), (before * groups // max(1, sum(matrices))).astype(np.int64)
