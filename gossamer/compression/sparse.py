"""Codecs that send the largest coordinates only: what ``topk`` and ``ternary`` share.

    body = tag, scale (2 bytes), lengths of all parts but the last (varints), parts

A part is 65,536 coordinates: one `rice.encode_positions` string, with the value of each position as its
further bits. A model that fits one part has no length on the wire, so a sparse update of 3,300 parameters
has 5 bytes that are neither position nor value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gossamer.compression import rice, scales
from gossamer.compression.arrays import Positions, Vector
from gossamer.compression.codec import Body, Codec
from gossamer.compression.registry import Method
from gossamer.compression.varint import read_varint, write_varint
from gossamer.errors import MalformedBody, UnknownCodec

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


def encode_parts(positions: Positions, codes: npt.NDArray[Any], d: int, width: int) -> bytes:
    """Ascending positions of d coordinates and their codes -> lengths and parts."""
    parts = []
    for start, stop in parts_of(d):
        low, high = np.searchsorted(positions, [start, stop])
        parts.append(rice.encode_positions(positions[low:high] - start, stop - start, codes[low:high], width))
    return join_parts(parts)


def largest(x: Vector, k: int) -> Positions:
    """Ascending positions of the k largest non-zero magnitudes, int64 (<= k,); of equals the first ones."""
    magnitude = np.abs(x)
    if k < x.size:
        threshold = np.partition(magnitude, x.size - k)[x.size - k]
        above = magnitude > threshold
        # np.argpartition would choose among equals as it likes, and lattice values are often equal.
        equal = np.flatnonzero(magnitude == threshold)[: k - int(above.sum())]
        above[equal] = True
        magnitude = np.where(above, magnitude, np.float32(0))
    return np.flatnonzero(magnitude)


@dataclass(frozen=True)
class SparseCodec(Codec):
    """The fraction of coordinates with the largest magnitudes, in a value format."""

    spec: str
    method: str
    tag: int
    fraction: float
    values: ValueFormat
    unbiased: bool = False

    def _count(self, d: int) -> int:
        return min(d, max(1, int(self.fraction * d + 0.5)))

    def _encode(self, x: Vector, _seed: int) -> bytes:
        positions = largest(x, self._count(x.size))
        scale, codes = self.values.quantise(x[positions])
        sent = codes >= 0
        coded = encode_parts(positions[sent], codes[sent], x.size, self.values.width)
        return bytes([self.tag]) + scale.to_bytes(scales.SCALE_BYTES, "little") + coded

    def max_bytes(self, d: int) -> int:
        parts = -(-d // PART)
        reach = parts * PART if parts > 1 else d
        coded = rice.max_parts_bytes(reach, self._count(d), self.values.width, parts)
        return 1 + scales.SCALE_BYTES + 3 * max(0, parts - 1) + coded

    def error_bound(self, d: int) -> float:
        # The k largest of d hold at least k / d of the squared norm.
        return 1 - self._count(d) / d * (1 - self.values.error(self._count(d))) if d else 0.0


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
        self._parts = split_parts(data[scales.SCALE_BYTES :], d)
        self._last: tuple[int, Positions, Vector] = (-1, np.zeros(0, np.int64), np.zeros(0, np.float32))
        for index in range(len(self._parts)):
            self._part(index)

    def _part(self, index: int) -> tuple[Positions, Vector]:
        if self._last[0] != index:
            n = min(PART, self.d - index * PART)
            positions, codes = rice.decode_positions(self._parts[index], n, self._values.width)
            self._last = (index, positions, self._values.dequantise(self._scale, codes))
        return self._last[1], self._last[2]

    def _read(self, start: int, stop: int) -> Vector:
        out = np.zeros(stop - start, dtype=np.float32)
        for index in range(start // PART, -(-stop // PART)):
            positions, values = self._part(index)
            at = positions + (index * PART - start)
            inside = (at >= 0) & (at < out.size)
            out[at[inside]] = values[inside]
        return out


def fraction_of(spec: str) -> float:
    """P of ``name:P`` or ``name:P/FMT``; `UnknownCodec` unless 0 < P <= 1."""
    text = spec.partition(":")[2].partition("/")[0]
    try:
        fraction = float(text)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 1:
        raise UnknownCodec(f"expected a fraction above 0 and up to 1 in {spec!r}, got {text!r}")
    return fraction


def sparse_method(name: str, tag: int, values: ValueFormat, examples: tuple[str, ...]) -> Method:
    """The registry's row of a sparse codec."""

    def build(spec: str) -> Codec:
        return SparseCodec(spec, name, tag, fraction_of(spec), values)

    def opened(data: memoryview, d: int) -> Body:
        return SparseBody(name, values, data, d)

    return Method(name, tag, build, opened, examples)
