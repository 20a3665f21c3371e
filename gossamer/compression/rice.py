"""Golomb-Rice coding of non-negative integers and of position sets, without a loop over the items.

An integer g is its low b bits as they are, and g >> b in unary: that many 0s and a 1 (Golomb 1966, Rice
1979). With b near log2(0.69 mean) this is within 3 % of the entropy of geometric gaps, which is what the
positions of the largest coordinates look like.

A set of ``count`` positions out of n, with ``width`` further bits for each (a sign, a value):

    varint(4 * count + choice) | low bits of all gaps | further bits of all | unary parts | 0-7 zero bits

b is not sent: both ends compute a guess from n and count, and 2 bits choose one of four parameters around
it. The sections of known length come first, so that numpy unpacks them as matrices; the unary parts end
the string.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gossamer.compression import bits
from gossamer.compression.arrays import Bytes, Positions
from gossamer.compression.varint import read_varint, write_varint
from gossamer.errors import MalformedBody

CHOICES = 4


def rice_bits(values: npt.NDArray[np.int64], b: int) -> int:
    """Length in bits of ``values`` (n,) with parameter b."""
    return len(values) * (b + 1) + int((values >> b).sum())


def unary_encode(values: npt.NDArray[np.int64]) -> Bytes:
    """(n,) -> 0/1 uint8 (sum(values) + n,): each value as that many 0s and a 1."""
    ends = np.cumsum(values + 1)
    out = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    out[ends - 1] = 1
    return out


def unary_decode(stream: Bytes, count: int) -> npt.NDArray[np.int64]:
    """0/1 uint8 -> (count,); the stream must end with the last value, but for up to 7 padding zeros."""
    ends = np.flatnonzero(stream)
    used = int(ends[-1]) + 1 if len(ends) else 0
    if len(ends) != count or not 0 <= len(stream) - used < 8:
        raise MalformedBody(f"expected {count} unary numbers and at most 7 bits of padding")
    return np.diff(ends, prepend=-1) - 1


def _first_choice(n: int, count: int) -> int:
    """The least of the four parameters for ``count`` positions of n; count > 0."""
    best = ((n - count) * 177 // (count * 256)).bit_length() - 1  # floor(log2(0.69 mean gap))
    return max(0, best - 2)  # clustered positions want less than the mean gap says, never much more


def encode_positions(positions: Positions, n: int, codes: npt.NDArray[Any], width: int) -> bytes:
    """Ascending positions below n, int64 (count,), with a code below 2^width each -> bytes."""
    count = len(positions)
    if count == 0:
        return write_varint(0)
    gaps = np.diff(positions, prepend=-1) - 1
    least = _first_choice(n, count)
    choice = min(range(CHOICES), key=lambda c: rice_bits(gaps, least + c))
    b = least + choice
    stream = np.concatenate(
        [bits.to_bits(gaps & ((1 << b) - 1), b), bits.to_bits(codes, width), unary_encode(gaps >> b)]
    )
    return write_varint(count * CHOICES + choice) + np.packbits(stream, bitorder="little").tobytes()


def decode_positions(data: memoryview, n: int, width: int) -> tuple[Positions, npt.NDArray[np.int64]]:
    """The inverse of `encode_positions`: -> positions int64 (count,), codes int64 (count,).

    Raises `MalformedBody` for anything it does not make: positions beyond n, more items than bits, other
    padding. Time and memory in proportion to len(data), whatever it says.
    """
    head, at = read_varint(data, 0)
    count, choice = divmod(head, CHOICES)
    if count == 0:
        if head or at != len(data):
            raise MalformedBody("expected nothing after an empty set of positions")
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    if count > n:
        raise MalformedBody(f"expected at most {n} positions, got {count}")
    b = _first_choice(n, count) + choice
    if count * (b + width + 1) > 8 * (len(data) - at):
        raise MalformedBody(f"expected {count} positions, but the body ends before the last")
    stream = np.unpackbits(np.frombuffer(data, dtype=np.uint8)[at:], bitorder="little")
    split = np.cumsum([count * b, count * width])
    low, further, unary = stream[: split[0]], stream[split[0] : split[1]], stream[split[1] :]
    gaps = unary_decode(unary, count) << b
    if b:
        gaps |= bits.from_bits(low, b)
    positions = np.cumsum(gaps + 1) - 1
    if int(positions[-1]) >= n:
        raise MalformedBody(f"expected positions below {n}, got {int(positions[-1])}")
    codes = bits.from_bits(further, width) if width else np.zeros(count, dtype=np.int64)
    return positions, codes


def max_parts_bytes(n: int, count: int, width: int, parts: int) -> int:
    """A bound on ``count`` positions spread in any way over ``parts`` sets out of n in all.

    With 2^b > 0.345 (n - c) / c the unary parts take less than 2.9 c + c bits and the low bits
    c log2(0.69 n / c); that is concave in c, so the even spread is the worst.
    """
    if count == 0:
        return parts
    low = max(0.0, float(np.log2(0.6915 * n / count)))
    return parts * 4 + int(count * (low + 3.9 + width) / 8) + 1
