"""``nf4``: 4 bits a coordinate, with levels where the fleet's values are.

A block of 128 coordinates is divided by its peak, with the peak's sign, and each quotient becomes the nearest of 16
levels from a table of the manifest (`codebooks`); without one, quantiles of N(0, 1) (Dettmers, Pagnoni, Holtzman,
Zettlemoyer 2023, "QLoRA"). Spikes are coded exactly and zero is a level, which is what the uniform levels of ``q4``
spend most of their error on: half of it is saved on real updates.

    body = tag, lowest byte of the codebook version, then for each block: scale (2 bytes), 64 bytes of codes

The last bit of a scale is the sign of the peak, 1 for negative. A block takes the table of the layer in which it
begins. Offsets follow from d alone, as for all codecs of `blocks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossamer.compression import bits, scales
from gossamer.compression.arrays import Bytes, Vector
from gossamer.compression.blocks import BlockBody, BlockCodec, parts_of_blocks
from gossamer.compression.codebooks import Codebooks, Usage
from gossamer.compression.codec import Body, Codec
from gossamer.compression.context import NOTHING, Context
from gossamer.compression.layout import Layout
from gossamer.compression.parts import fixed_method
from gossamer.compression.registry import Method
from gossamer.errors import InputError, MalformedBody

BLOCK = 128
TAG = 0x0D
_CODES = 16
_LOUDEST = 255  # weight of a body's loudest block in its usage
_CACHED_ROWS = 512  # blocks quantised at once: 64 Ki coordinates stay in a processor's second cache


@dataclass(frozen=True)
class _Tables:
    """The quantiser of one version for one layout."""

    codebooks: Codebooks
    layout: Layout | None
    bits: int = 4
    block: int = BLOCK
    joins_tail: bool = False
    salted: bool = False

    def groups(self, first: int, count: int) -> Bytes:
        """Group of each block, uint8 (count,)."""
        starts = np.arange(first, first + count, dtype=np.int64) * BLOCK
        return self.codebooks.groups_of(starts, self.layout).astype(np.uint8)

    def quantise(self, rows: Vector, _salt: int, first: int, _rng: np.random.Generator) -> tuple[scales.Codes, Bytes]:
        """See `blocks.Quantiser`."""
        low, high = rows.min(axis=1), rows.max(axis=1)
        negative = -low > high
        codes = _round_to_parity(np.maximum(-low, high), negative)
        signed = _signed(scales.from_bytes(scales.to_bytes(codes)))
        levels = self.codebooks.levels()[self.groups(first, len(rows))]
        edges = (levels[:, 1:] + levels[:, :-1]) * np.float32(0.5)
        packed = [
            bits.pack_rows(_nearest(rows[some], signed[some], edges[some]), self.bits)
            for some in (slice(i, i + _CACHED_ROWS) for i in range(0, len(rows), _CACHED_ROWS))
        ]
        return codes, np.concatenate(packed)

    def dequantise(self, scale: Vector, codes: Bytes, _salt: int, first: int) -> Vector:
        """See `blocks.Quantiser`."""
        values = self.codebooks.levels()[self.groups(first, len(codes))] * _signed(scale)[:, None]
        out = np.empty(codes.shape, dtype=np.float32)
        for i in range(0, len(codes), _CACHED_ROWS):
            some = slice(i, i + _CACHED_ROWS)
            row = np.arange(len(codes[some]), dtype=np.intp)[:, None] * _CODES
            np.take(values[some].reshape(-1), codes[some] + row, out=out[some])
        return out

    def error_bound(self, n: int) -> float:
        """Zero is a level, so no value gets worse, and the peak has its own."""
        return 1 - (1 - scales.RELATIVE_ERROR**2) / n


def _round_to_parity(peak: Vector, odd: npt.NDArray[np.bool_]) -> scales.Codes:
    """The nearest scale code of the wanted parity, at most half of a step of 2^-7 away; 0 for 0."""
    # A code is the upper bits of a float32; read as integers, floats above 0 are in order.
    pattern = peak.view(np.uint32).astype(np.int64)
    halves = (pattern - (odd.astype(np.int64) << 15) + (1 << 15)) >> 16
    return (2 * halves + odd).astype(np.uint16)


def _signed(scale: Vector) -> Vector:
    """Scales as they are stored -> with the sign of the peak."""
    odd = scale.view(np.uint32) >> np.uint32(15) & np.uint32(1)
    return np.where(odd, -scale, scale)


def _nearest(rows: Vector, peak: Vector, edges: Vector) -> Bytes:
    """Blocks (r, 128), signed peaks (r,), edges between levels (r, 15) -> codes uint8 (r, 128)."""
    quotient = rows / np.where(peak == 0, np.float32(1), peak)[:, None]
    codes = np.zeros(rows.shape, dtype=np.uint8)
    for edge in edges.T:
        codes += quotient >= edge[:, None]
    return codes


class Nf4Body(BlockBody):
    """A body that also tells what a refit needs."""

    def __init__(self, tables: _Tables, data: memoryview, d: int) -> None:
        super().__init__("nf4", tables, data, d)
        self._tables = tables

    def usage(self) -> Usage:
        """How often its codes were used, by layer group: what `Codebooks.refit` wants of every counted update."""
        books = self._tables.codebooks
        counts = np.zeros((len(books.groups), _CODES + 1), dtype=np.int64)
        cut = self._cut
        for records, n, first in ((self._full, cut.size, 0), (self._last, cut.last, cut.full)):
            if records.size:
                scale = scales.from_bytes(records[:, : scales.SCALE_BYTES]).astype(np.float64)
                codes = bits.unpack_rows(records[:, scales.SCALE_BYTES :], 4, n)
                _count(counts, codes, scale / self._loudest(), self._tables.groups(first, len(codes)))
        return Usage(books.version, counts)

    def _loudest(self) -> float:
        both = (scales.from_bytes(r[:, : scales.SCALE_BYTES]) for r in (self._full, self._last) if r.size)
        return max((float(scale.max()) for scale in both), default=0.0) or 1.0


def _count(counts: npt.NDArray[np.int64], codes: Bytes, relative: npt.NDArray[np.float64], groups: Bytes) -> None:
    """Add weighted counts of codes and blocks; blocks of zeros say nothing and weigh nothing."""
    weight = np.rint(np.square(relative) * _LOUDEST).astype(np.int64)
    for group in np.unique(groups):
        mine = groups == group
        each = np.repeat(weight[mine], codes.shape[1])
        # Sums of integers below 2^53: exact in the float64 that bincount adds in.
        used = np.bincount(codes[mine].reshape(-1), weights=each, minlength=_CODES)
        counts[group, :_CODES] += used.astype(np.int64)
        counts[group, _CODES] += int(weight[mine].sum())


@dataclass(frozen=True)
class _Nf4(Codec):
    spec: str = "nf4"
    method: str = "nf4"
    unbiased: bool = False

    def _encode(self, x: Vector, seed: int, context: Context) -> bytes:
        tables = _tables(context, None)
        if tables.layout is not None and tables.layout.size != x.size:
            raise InputError(f"expected {tables.layout.size} coordinates, got {x.size}")
        blocks = BlockCodec(self.spec, self.method, TAG, self.unbiased, tables).encode(x, seed=seed)
        return blocks[:1] + bytes([tables.codebooks.version & 0xFF]) + blocks[1:]

    def max_bytes(self, d: int) -> int:
        return 1 + BlockCodec(self.spec, self.method, TAG, self.unbiased, _PLAIN).max_bytes(d)

    def error_bound(self, d: int) -> float:
        return _PLAIN.error_bound(min(d, BLOCK)) if d else 0.0


def _tables(context: Context, version: int | None) -> _Tables:
    books = context.codebooks or Codebooks.initial()
    return _Tables(books if version is None else books.of_version(version), context.layout)


def _opened(data: memoryview, d: int, context: Context) -> Body:
    if len(data) == 0:
        raise MalformedBody("expected a codebook version, but the body ends")
    return Nf4Body(_tables(context, data[0]), data[1:], d)


_PLAIN = _tables(NOTHING, None)

NF4 = fixed_method(
    Method("nf4", TAG, lambda _spec: _Nf4(), _opened, ("nf4",)),
    lambda d: parts_of_blocks(_PLAIN, d, 1),
)
