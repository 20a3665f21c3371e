"""``randk:P/FMT``: a random fraction P of the coordinates, with their values in ``fp16``, ``q4`` or ``sign``.

Random sparsification (Stich, Cordonnier, Jaggi 2018; Konečný, Richtárik 2018, "Randomized distributed mean
estimation"): decode = (d / k) x on k random coordinates, 0 elsewhere; unbiased, normalised squared error d / k - 1.
The coordinates follow from a seed, so not one bit says where the values are.

    body = tag, seed (4 bytes), varint(k), scale (2 bytes), k values of 16, 4 or 1 bits

The d coordinates fall into ceil(d / 65536) strata of equal size, give or take one, and each gets its share of k: so
a range is read without drawing all. In a stratum of n coordinates word i of a stream is the lot of coordinate i; the
ones with the m lowest lots are sent, in that order: the first values of a stratum are a random set themselves, and a
prefix is unbiased where it reaches, once scaled by what has come. ``q4`` and ``sign`` round at random to stay unbiased.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.compression import bits, scales
from gossamer.compression.arrays import Positions, Vector
from gossamer.compression.codec import Body, Codec
from gossamer.compression.context import Context
from gossamer.compression.draws import mix, words
from gossamer.compression.parts import PartedMethod
from gossamer.compression.selection import Wanted
from gossamer.compression.values import RandomValues, values_of
from gossamer.compression.varint import read_varint, write_varint
from gossamer.errors import MalformedBody, UnknownCodec

STRATUM = 1 << 16
"""Coordinates of a stratum at most: what has to be drawn to read one of them."""
_SEED_BYTES = 4
PART = 64
"""Values between two places at which a prefix may end; a whole number of bytes in every format."""


def strata_of(d: int) -> int:
    """Number of strata."""
    return -(-d // STRATUM)


def _cut(total: int, count: int, index: int) -> int:
    """Where share ``index`` of ``total`` begins; shares differ by one at most."""
    return index * total // count


def drawn(seed: int, stratum: int, n: int, m: int) -> Positions:
    """The m positions of a stratum of n coordinates, in the order of their lots, int64 (m,)."""
    index_bits = np.uint64(17)  # n <= 2^16: the position in the lower bits makes all lots distinct
    lots = words(mix((seed << 20) + stratum + 1), 0, n) >> index_bits << index_bits
    lots |= np.arange(n, dtype=np.uint64)
    if m < n:
        lots = np.partition(lots, m)[:m]
    return np.sort(lots)[:m].astype(np.int64) & ((1 << 17) - 1)


@dataclass(frozen=True)
class _RandK(Codec):
    spec: str
    method: str
    tag: int
    wanted: Wanted
    values: RandomValues
    unbiased: bool = True

    def _count(self, d: int) -> int:
        # Every stratum needs a value, or its coordinates would never be sent.
        return min(d, max(self.wanted.count(d), strata_of(d))) if d else 0

    def _encode(self, x: Vector, seed: int, _context: Context) -> bytes:
        d, k, count = x.size, self._count(x.size), strata_of(x.size)
        short = mix(seed) >> 32
        chosen = [
            x[start + drawn(short, i, _cut(d, count, i + 1) - start, _cut(k, count, i + 1) - _cut(k, count, i))]
            for i, start in ((i, _cut(d, count, i)) for i in range(count))
        ]
        values = np.concatenate(chosen) if chosen else x
        scale, codes = self.values.quantise(values, np.random.default_rng(seed))
        packed = np.packbits(bits.to_bits(codes, self.values.width), bitorder="little").tobytes()
        head = bytes([self.tag]) + short.to_bytes(_SEED_BYTES, "little") + write_varint(k)
        return head + scale.to_bytes(scales.SCALE_BYTES, "little") + packed

    def max_bytes(self, d: int) -> int:
        k = self._count(d)
        head = 1 + _SEED_BYTES + len(write_varint(k)) + scales.SCALE_BYTES
        return head + bits.packed_bytes(k, self.values.width)

    def error_bound(self, d: int) -> float:
        # ||x - y|| <= ||x|| + ||y||, and what is sent is scaled by at most the largest n / m of a stratum.
        k, count = self._count(d), strata_of(d)
        if not k:
            return 0.0
        return (1 + -(-d // count) / (k // count) * self.values.growth(k)) ** 2


class _RandKBody(Body):
    """Of a prefix, only ``came`` values are there: a stratum is scaled by how many of its values are."""

    def __init__(self, method: str, values: RandomValues, data: memoryview, d: int, came: int | None = None) -> None:
        self.spec = method
        self.d = d
        self._seed = int.from_bytes(data[:_SEED_BYTES], "little")
        self._k, at = read_varint(data, _SEED_BYTES)
        if self._k > d:
            raise MalformedBody(f"expected at most {d} values, got {self._k}")
        came = self._k if came is None else came
        expected = at + scales.SCALE_BYTES + bits.packed_bytes(came, values.width)
        if len(data) != expected:
            raise MalformedBody(f"expected {expected} bytes of {method}, got {len(data)}")
        raw = np.frombuffer(data, dtype=np.uint8)[at:]
        scale = np.float32(scales.from_bytes(raw[: scales.SCALE_BYTES].reshape(1, -1))[0])
        if scale > values.max_scale:
            raise MalformedBody(f"expected a scale of at most {values.max_scale}, got {float(scale)}")
        stream = np.unpackbits(raw[scales.SCALE_BYTES :], bitorder="little")
        if stream[came * values.width :].any():
            raise MalformedBody("expected zero bits after the last value")
        codes = bits.from_bits(stream[: came * values.width], values.width)
        self._values = values.dequantise(scale, codes)

    def _read(self, start: int, stop: int) -> Vector:
        out = np.zeros(stop - start, dtype=np.float32)
        count = strata_of(self.d)
        for i in range(count):
            low, high = _cut(self.d, count, i), _cut(self.d, count, i + 1)
            first, last = _cut(self._k, count, i), _cut(self._k, count, i + 1)
            came = self._values[first:last]
            if low < stop and high > start and len(came):
                at = drawn(self._seed, i, high - low, len(came)) + (low - start)
                inside = (at >= 0) & (at < out.size)
                out[at[inside]] = came[inside] * np.float32((high - low) / len(came))
        return out


def _head_bytes(data: memoryview) -> int:
    return read_varint(data, _SEED_BYTES)[1] + scales.SCALE_BYTES


def _part_sizes(k: int, width: int) -> list[int]:
    """Bytes of the first 1, 2, ... parts."""
    return [bits.packed_bytes(min(first + PART, k), width) for first in range(0, k, PART)] or [0]


def _method(name: str, tag: int, examples: tuple[str, ...]) -> PartedMethod:
    values = values_of(name.partition("/")[2])

    def build(spec: str) -> Codec:
        if "@" in spec:
            raise UnknownCodec(f"expected no '@' in {spec!r}: random coordinates know no layers")
        return _RandK(spec, name, tag, Wanted.of(spec), values)

    def opened(data: memoryview, d: int, _context: Context) -> Body:
        return _RandKBody(name, values, data, d)

    def ends(data: memoryview, _d: int, _context: Context) -> list[int]:
        k, _ = read_varint(data, _SEED_BYTES)
        return [_head_bytes(data) + size for size in _part_sizes(k, values.width)]

    def decode_prefix(data: memoryview, d: int, _context: Context) -> tuple[Vector, int]:
        try:
            k, at = read_varint(data, _SEED_BYTES)
        except MalformedBody:  # the head is cut off
            return np.zeros(d, dtype=np.float32), 0
        sizes = _part_sizes(min(k, d), values.width)
        head = at + scales.SCALE_BYTES
        used = int(np.searchsorted(sizes, len(data) - head, side="right")) if len(data) >= head else 0
        if not used:
            return np.zeros(d, dtype=np.float32), 0
        if len(data) > head + sizes[-1]:
            raise MalformedBody(f"expected at most {head + sizes[-1]} bytes of {name}, got {len(data)}")
        body = _RandKBody(name, values, data[: head + sizes[used - 1]], d, min(used * PART, k))
        return body.read(0, d), used

    return PartedMethod(name, tag, build, opened, examples, ends=ends, decode_prefix=decode_prefix)


RANDK = (
    _method("randk/fp16", 0x18, ("randk:0.1/fp16", "randk:0.01/fp16")),
    _method("randk/q4", 0x19, ("randk:0.1/q4",)),
    _method("randk/sign", 0x1A, ("randk:0.25/sign",)),
)
