"""``ternary:P/msb`` and ``topk:P/FMT/msb``: the most significant coordinates first.

The k largest coordinates are cut by magnitude into four classes: the first k/8, as many again, then k/4 and
k/2. Each is a sparse vector of its own, with its own scale; any number of them from the first on is an update.

    body = tag, number of classes (1 byte), for each: varint(length), scale, lengths and parts as in `sparse`

That a position is in this class and not in that one costs 1.75 bits a position more than `sparse` (of 9 to 13); for
``ternary`` the magnitudes of the classes give most of it back in squared error.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gossamer.compression.arrays import Positions, Vector
from gossamer.compression.codec import Body, Codec
from gossamer.compression.context import Context
from gossamer.compression.parts import PartedMethod
from gossamer.compression.selection import Wanted
from gossamer.compression.sparse import (
    SparseBody,
    ValueFormat,
    decode_sparse_prefix,
    encode_sparse,
    max_sparse_bytes,
)
from gossamer.compression.varint import MAX_VARINT_BYTES, read_varint, write_varint
from gossamer.errors import MalformedBody

CUTS = (0.125, 0.25, 0.5, 1.0)
"""Where classes end, as fractions of k. Energy falls steeply with rank, so the first ones are small."""


def classes_of(values: Vector) -> list[Positions]:
    """Values (k,) -> ascending indexes of each class, the largest magnitudes first; of equals the first ones."""
    order = np.argsort(-np.abs(values), kind="stable")
    ends = [-(-int(cut * 8) * len(order) // 8) for cut in CUTS]
    classes = [np.sort(order[a:b]) for a, b in pairwise([0, *ends])]
    return [c for c in classes if len(c)]


@dataclass(frozen=True)
class SignificanceCodec(Codec):
    """`sparse.SparseCodec` in classes of magnitude."""

    spec: str
    method: str
    tag: int
    wanted: Wanted
    values: ValueFormat
    unbiased: bool = False

    def _encode(self, x: Vector, _seed: int, context: Context) -> bytes:
        positions = self.wanted.positions(x, context)
        chosen = x[positions]
        classes = classes_of(chosen)
        coded = [encode_sparse(positions[c], chosen[c], x.size, self.values) for c in classes]
        return bytes([self.tag, len(coded)]) + b"".join(write_varint(len(c)) + c for c in coded)

    def max_bytes(self, d: int) -> int:
        k = self.wanted.count(d)
        sizes = [-(-k // 8), -(-k // 8), -(-k // 4), -(-k // 2)]
        return 2 + sum(MAX_VARINT_BYTES + max_sparse_bytes(d, min(size, d), self.values.width) for size in sizes)

    def error_bound(self, d: int) -> float:
        return self.wanted.error_bound(d, self.values)


class SignificanceBody(Body):
    """The sum of the classes, each checked when it is opened."""

    def __init__(self, method: str, values: ValueFormat, data: memoryview, d: int) -> None:
        self.spec = method
        self.d = d
        if len(data) == 0 or data[0] > len(CUTS):
            raise MalformedBody(f"expected a number of classes up to {len(CUTS)}, got {bytes(data[:1]).hex()!r}")
        self._classes: list[SparseBody] = []
        self._starts: list[int] = []
        at = 1
        for _ in range(data[0]):
            length, at = read_varint(data, at)
            if length > len(data) - at:
                raise MalformedBody(f"expected {length} bytes of a class, but the body ends")
            self._classes.append(SparseBody(method, values, data[at : at + length], d))
            self._starts.append(at)
            at += length
        if at != len(data):
            raise MalformedBody(f"expected {at} bytes, got {len(data)}")

    def _read(self, start: int, stop: int) -> Vector:
        out = np.zeros(stop - start, dtype=np.float32)
        for body in self._classes:
            body.add_to(out, start)
        return out

    def ends(self) -> list[int]:
        """Offsets at which the parts of all classes end."""
        both = zip(self._starts, self._classes, strict=True)
        return [start + end for start, body in both for end in body.ends()] or [1]


def _decode_prefix(values: ValueFormat, data: memoryview, d: int) -> tuple[Vector, int]:
    out = np.zeros(d, dtype=np.float32)
    used, at = int(len(data) > 0 and data[0] == 0), 1  # nothing to send is one part
    for _ in range(min(data[0], len(CUTS)) if len(data) else 0):
        try:
            length, at = read_varint(data, at)
        except MalformedBody:
            break
        if length <= len(data) - at:
            body = SparseBody("", values, data[at : at + length], d)
            body.add_to(out, 0)
            used += len(body.ends())
        else:
            vector, parts = decode_sparse_prefix(values, data[at:], d, ended=False)
            return out + vector, used + parts
        at += length
    return out, used


def significance_method(name: str, tag: int, values: ValueFormat, examples: tuple[str, ...]) -> PartedMethod:
    """The registry's row of a sparse codec in classes."""

    def build(spec: str) -> Codec:
        return SignificanceCodec(spec, name, tag, Wanted.of(spec), values)

    def opened(data: memoryview, d: int, _context: Context) -> SignificanceBody:
        return SignificanceBody(name, values, data, d)

    def ends(data: memoryview, d: int, context: Context) -> list[int]:
        return opened(data, d, context).ends()

    def decode_prefix(data: memoryview, d: int, _context: Context) -> tuple[Vector, int]:
        return _decode_prefix(values, data, d)

    return PartedMethod(name, tag, build, opened, examples, ends=ends, decode_prefix=decode_prefix)
