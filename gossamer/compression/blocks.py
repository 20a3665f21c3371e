"""Codecs with a fixed number of bits a coordinate: blocks of one scale and n codes each.

    body = tag, salt (0 or 2 bytes), then for each block: scale (2 bytes), codes (ceil(n * bits / 8) bytes)

Every offset follows from d, so there is no table, and a range of coordinates is read by slicing. What the
codes mean is the business of a `Quantiser`; this file only lays them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gossamer.compression import bits, scales
from gossamer.compression.arrays import Bytes, Vector
from gossamer.compression.codec import Body, Codec
from gossamer.compression.context import Context
from gossamer.compression.draws import salt_of
from gossamer.compression.parts import FixedParts, PartedMethod, fixed_method
from gossamer.compression.registry import Method
from gossamer.compression.votes import Votes
from gossamer.errors import MalformedBody


class Quantiser(Protocol):
    """Rows of r blocks to scales and codes, and back."""

    @property
    def bits(self) -> int:
        """A code: 1, 2, 4 or 8."""

    @property
    def block(self) -> int:
        """Coordinates that share a scale; a multiple of 8."""

    @property
    def joins_tail(self) -> bool:
        """The rest of d / block makes the last block longer, instead of a short block of its own."""

    @property
    def salted(self) -> bool:
        """Decoding needs 2 bytes derived from the seed."""

    def quantise(self, rows: Vector, salt: int, first: int, rng: np.random.Generator, /) -> tuple[scales.Codes, Bytes]:
        """Blocks float32 (r, n), numbered from ``first`` -> scale codes (r,), codes packed by `bits.pack_rows`.

        Packed, because ``sign`` never needs a byte for each of its bits.
        """

    def dequantise(self, scale: Vector, codes: Bytes, salt: int, first: int, /) -> Vector:
        """Scales float32 (r,), codes uint8 (r, n) -> float32 (r, n), elementwise IEEE only."""

    def error_bound(self, n: int) -> float:
        """As `Codec.error_bound`, for one block of n coordinates."""


@dataclass(frozen=True)
class Blocks:
    """How d coordinates fall into ``full`` blocks of equal size and one last block of another size."""

    size: int
    full: int
    last: int

    @classmethod
    def of(cls, quantiser: Quantiser, d: int) -> Blocks:
        """The division of d coordinates."""
        full, rest = divmod(d, quantiser.block)
        if rest and full and quantiser.joins_tail:
            return cls(quantiser.block, full - 1, quantiser.block + rest)
        return cls(quantiser.block, full, rest)


def _record_bytes(quantiser: Quantiser, n: int) -> int:
    return scales.SCALE_BYTES + bits.packed_bytes(n, quantiser.bits) if n else 0


@dataclass(frozen=True)
class BlockCodec(Codec):
    """A quantiser with a name and a tag."""

    spec: str
    method: str
    tag: int
    unbiased: bool
    quantiser: Quantiser

    def _encode(self, x: Vector, seed: int, _context: Context) -> bytes:
        salt = salt_of(seed) if self.quantiser.salted else 0
        rng = np.random.default_rng(seed)
        cut = Blocks.of(self.quantiser, x.size)
        split = cut.full * cut.size
        pieces = [bytes([self.tag]), salt.to_bytes(2, "little") if self.quantiser.salted else b""]
        for rows, first in ((x[:split].reshape(cut.full, cut.size), 0), (x[split:].reshape(1, -1), cut.full)):
            if rows.size:
                scale, packed = self.quantiser.quantise(rows, salt, first, rng)
                pieces.append(np.concatenate([scales.to_bytes(scale), packed], axis=1).tobytes())
        return b"".join(pieces)

    def max_bytes(self, d: int) -> int:
        cut = Blocks.of(self.quantiser, d)
        head = 3 if self.quantiser.salted else 1
        return head + cut.full * _record_bytes(self.quantiser, cut.size) + _record_bytes(self.quantiser, cut.last)

    def error_bound(self, d: int) -> float:
        cut = Blocks.of(self.quantiser, d)
        sizes = [cut.size] * bool(cut.full) + [cut.last] * bool(cut.last)
        return max((self.quantiser.error_bound(n) for n in sizes), default=0.0)


class BlockBody(Body):
    """A view on the bytes of a `BlockCodec`'s body; nothing is unpacked before it is read."""

    def __init__(self, method: str, quantiser: Quantiser, data: memoryview, d: int) -> None:
        self.spec = method
        self.d = d
        self._quantiser = quantiser
        cut = self._cut = Blocks.of(quantiser, d)
        head = 2 if quantiser.salted else 0
        row = _record_bytes(quantiser, cut.size)
        expected = head + cut.full * row + _record_bytes(quantiser, cut.last)
        if len(data) != expected:
            raise MalformedBody(f"expected {expected} bytes of {method} for d = {d}, got {len(data)}")
        self._salt = int.from_bytes(data[:head], "little")
        raw = np.frombuffer(data, dtype=np.uint8)[head:]
        self._full = raw[: cut.full * row].reshape(cut.full, row)
        self._last = raw[cut.full * row :].reshape(1, -1)
        # A bounded scale proves every value finite (scales.MAX_SCALE), whatever the codes.
        scales.from_bytes(self._full[:, : scales.SCALE_BYTES])
        scales.from_bytes(self._last[:, : scales.SCALE_BYTES])

    def _read(self, start: int, stop: int) -> Vector:
        cut = self._cut
        low = min(start // cut.size, cut.full)
        high = min(-(-stop // cut.size), cut.full)
        pieces = []
        if high > low:
            pieces.append(self._rows(self._full[low:high], cut.size, low))
        if stop > cut.full * cut.size:
            pieces.append(self._rows(self._last, cut.last, cut.full))
        if not pieces:
            return np.zeros(0, dtype=np.float32)
        offset = low * cut.size
        return np.concatenate([p.reshape(-1) for p in pieces])[start - offset : stop - offset]

    def votes(self) -> Votes | None:
        """The bits of a body with one a coordinate, where they lie; None for others."""
        if self._quantiser.bits != 1:
            return None
        rotated = self._quantiser.salted
        full, last = (
            (scales.from_bytes(records[:, : scales.SCALE_BYTES]), records[:, scales.SCALE_BYTES :])
            for records in (self._full, self._last)
        )
        return Votes(self._cut.size, full, last, positive=rotated, salt=self._salt if rotated else None)

    def _rows(self, records: Bytes, n: int, first: int) -> Vector:
        scale = scales.from_bytes(records[:, : scales.SCALE_BYTES])
        codes = bits.unpack_rows(records[:, scales.SCALE_BYTES :], self._quantiser.bits, n)
        return self._quantiser.dequantise(scale, codes, self._salt, first)


def parts_of_blocks(quantiser: Quantiser, d: int, head: int) -> FixedParts:
    """Each block is a part; ``head`` bytes stand before the first."""
    cut = Blocks.of(quantiser, d)
    return FixedParts(head, cut.full, _record_bytes(quantiser, cut.size), cut.size, _record_bytes(quantiser, cut.last))


def block_method(name: str, tag: int, quantiser: Quantiser, *, unbiased: bool = False) -> PartedMethod:
    """The registry's row of a quantiser."""
    codec = BlockCodec(name, name, tag, unbiased, quantiser)

    def opened(data: memoryview, d: int, _context: Context) -> Body:
        return BlockBody(name, quantiser, data, d)

    head = 2 if quantiser.salted else 0
    method = Method(name, tag, lambda _spec: codec, opened, (name,))
    return fixed_method(method, lambda d: parts_of_blocks(quantiser, d, head))
