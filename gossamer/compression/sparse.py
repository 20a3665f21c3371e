"""Codecs that send the largest coordinates only: what ``topk`` and ``ternary`` share.

    body = tag, scale (2 bytes), lengths of all parts but the last (varints), parts

A part is 65,536 coordinates: one `golomb.encode_positions` string, with the value of each position as its
further bits. A model that fits one part has no length on the wire, so a sparse update of 3,300 parameters
has 5 bytes that are neither position nor value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gossamer.compression import golomb, rice, scales
from gossamer.compression.arrays import Positions, Vector
from gossamer.compression.codec import Body, Codec
from gossamer.compression.context import Context
from gossamer.compression.parts import PartedMethod
from gossamer.compression.selection import Wanted
from gossamer.compression.varint import read_varint, write_varint
from gossamer.errors import MalformedBody

PART = 1 << 16
"""Coordinates of a part: small enough to read a range cheaply, large enough that its length is no cost."""


class ValueFormat(Protocol):
    """How the chosen values are written: one scale for all, ``width`` bits for each."""

    @property
    def width(self) -> int:
        """Bits a value."""

    def quantise(self, values: Vector) -> tuple[int, npt.NDArray[np.int64]]:
        """Non-zero float32 (k,) -> scale code, codes (k,); -1 for a value not worth its bytes."""

    def dequantise(self, scale: np.float32, codes: npt.NDArray[np.int64]) -> Vector:
        """Scale and codes (k,) -> float32 (k,); `MalformedBody` for codes that are no number."""

    def error(self, k: int) -> float:
        """Normalised squared error of k values at worst; below 1."""


def parts_of(d: int) -> Iterator[tuple[int, int]]:
    """Start and stop of every part of d coordinates."""
    for start in range(0, d, PART):
        yield start, min(start + PART, d)


def split_parts(data: memoryview, d: int) -> list[memoryview]:
    """The strings of the parts of d coordinates; `MalformedBody` if their lengths do not add up."""
    count = -(-d // PART)
    if count > len(data):  # every part takes a byte: refuse before making a list of them
        raise MalformedBody(f"expected {count} parts, got {len(data)} bytes")
    lengths = []
    at = 0
    for _ in range(count - 1):
        length, at = read_varint(data, at)
        lengths.append(length)
    rest = len(data) - at - sum(lengths)
    if rest < 0 or (count == 0 and rest):
        raise MalformedBody(f"expected parts that fill {len(data) - at} bytes, got {sum(lengths)}")
    out = []
    for length in [*lengths, rest][:count]:
        out.append(data[at : at + length])
        at += length
    return out


def join_parts(parts: list[bytes]) -> bytes:
    """The inverse of `split_parts`."""
    return b"".join([*(write_varint(len(p)) for p in parts[:-1]), *parts])


PositionCoder = Callable[[Positions, int, npt.NDArray[Any], int], bytes]


def encode_parts(
    positions: Positions,
    codes: npt.NDArray[Any],
    d: int,
    width: int,
    encode_positions: PositionCoder = rice.encode_positions,
) -> bytes:
    """Ascending positions of d coordinates and their codes -> lengths and parts, by default Rice's (deltas)."""
    parts = []
    for start, stop in parts_of(d):
        low, high = np.searchsorted(positions, [start, stop])
        parts.append(encode_positions(positions[low:high] - start, stop - start, codes[low:high], width))
    return join_parts(parts)


@dataclass(frozen=True)
class SparseCodec(Codec):
    """The fraction of coordinates with the largest magnitudes, of all or of each layer, in a value format."""

    spec: str
    method: str
    tag: int
    wanted: Wanted
    values: ValueFormat
    unbiased: bool = False

    def _encode(self, x: Vector, _seed: int, context: Context) -> bytes:
        positions = self.wanted.positions(x, context)
        return bytes([self.tag]) + encode_sparse(positions, x[positions], x.size, self.values)

    def max_bytes(self, d: int) -> int:
        return 1 + max_sparse_bytes(d, self.wanted.count(d), self.values.width)

    def error_bound(self, d: int) -> float:
        return self.wanted.error_bound(d, self.values)


def encode_sparse(positions: Positions, values: Vector, d: int, kind: ValueFormat) -> bytes:
    """Ascending positions and non-zero values (k,) -> scale, lengths and parts."""
    scale, codes = kind.quantise(values)
    sent = codes >= 0
    coded = encode_parts(positions[sent], codes[sent], d, kind.width, golomb.encode_positions)
    return scale.to_bytes(scales.SCALE_BYTES, "little") + coded


def max_sparse_bytes(d: int, k: int, width: int) -> int:
    """A bound on `encode_sparse` of k positions."""
    parts = -(-d // PART)
    reach = parts * PART if parts > 1 else d
    return scales.SCALE_BYTES + 3 * max(0, parts - 1) + golomb.max_parts_bytes(reach, k, width, parts)


class SparseBody(Body):
    """Keeps the bytes; decodes a part when it is read, and remembers the last one."""

    def __init__(self, method: str, values: ValueFormat, data: memoryview, d: int) -> None:
        self.spec = method
        self.d = d
        self._values = values
        if len(data) < scales.SCALE_BYTES:
            raise MalformedBody("expected a scale, but the body ends")
        head = np.frombuffer(data[: scales.SCALE_BYTES], dtype=np.uint8).reshape(1, -1)
        self._scale = np.float32(scales.from_bytes(head)[0])
        self._size = len(data)
        self._parts = split_parts(data[scales.SCALE_BYTES :], d)
        self._last: tuple[int, Positions, Vector] = (-1, np.zeros(0, np.int64), np.zeros(0, np.float32))
        for index in range(len(self._parts)):
            self._part(index)

    def _part(self, index: int) -> tuple[Positions, Vector]:
        last = self._last
        if last[0] != index:
            n = min(PART, self.d - index * PART)
            positions, codes = golomb.decode_positions(self._parts[index], n, self._values.width)
            # Threads may read different parts: each goes on with its own, whichever is remembered.
            last = self._last = (index, positions, self._values.dequantise(self._scale, codes))
        return last[1], last[2]

    def _read(self, start: int, stop: int) -> Vector:
        out = np.zeros(stop - start, dtype=np.float32)
        self.add_to(out, start)
        return out

    def add_to(self, out: Vector, start: int) -> None:
        """Add coordinates start to start + len(out)."""
        for index in range(start // PART, -(-(start + out.size) // PART)):
            positions, values = self._part(index)
            at = positions + (index * PART - start)
            inside = (at >= 0) & (at < out.size)
            out[at[inside]] += values[inside]

    def ends(self) -> list[int]:
        """Offsets at which the parts end."""
        lengths = list(map(len, self._parts))
        return np.cumsum([self._size - sum(lengths), *lengths])[1:].tolist() or [self._size]


def decode_sparse_prefix(values: ValueFormat, data: memoryview, d: int, *, ended: bool) -> tuple[Vector, int]:
    """The first bytes of a `SparseBody` -> float32 (d,) of its whole parts, and how many they are.

    The last part has no length on the wire; ``ended``: what is there of it may be all of it.
    """
    count = -(-d // PART)
    try:
        if ended:
            return SparseBody("", values, data, d).read(0, d), max(count, 1)
    except MalformedBody:
        pass
    if len(data) < scales.SCALE_BYTES:
        return np.zeros(d, dtype=np.float32), 0
    at, lengths = scales.SCALE_BYTES, list[int]()
    try:
        for _ in range(count - 1):
            length, at = read_varint(data, at)
            lengths.append(length)
    except MalformedBody:  # the lengths themselves are cut off
        return np.zeros(d, dtype=np.float32), 0
    parts = []
    for length in lengths:
        if at + length > len(data):
            break
        parts.append(bytes(data[at : at + length]))
        at += length
    whole = bytes(data[: scales.SCALE_BYTES]) + join_parts(parts + [b"\0"] * (count - len(parts)))
    return SparseBody("", values, memoryview(whole), d).read(0, d), len(parts)


def sparse_method(name: str, tag: int, values: ValueFormat, examples: tuple[str, ...]) -> PartedMethod:
    """The registry's row of a sparse codec."""

    def build(spec: str) -> Codec:
        return SparseCodec(spec, name, tag, Wanted.of(spec), values)

    def opened(data: memoryview, d: int, _context: Context) -> SparseBody:
        return SparseBody(name, values, data, d)

    def ends(data: memoryview, d: int, context: Context) -> list[int]:
        return opened(data, d, context).ends()

    def decode_prefix(data: memoryview, d: int, _context: Context) -> tuple[Vector, int]:
        return decode_sparse_prefix(values, data, d, ended=True)

    return PartedMethod(name, tag, build, opened, examples, ends=ends, decode_prefix=decode_prefix)
