"""Golomb coding of position sets, for any parameter, without a loop over the items.

The gap g before a position is g // M in unary and g % M in truncated binary (Golomb 1966; the best M for
a share p of positions, the least with (1-p)^M + (1-p)^(M+1) <= 1, is Gallager and van Voorhis 1975's).
With M a power of two (Rice 1979, `rice`) random positions cost up to 2.3 % more than log2 C(n, count); with
the best M 0.4 to 1.0 % for 100 positions or more, and 1 bit more in all for very few.

Truncated binary of r < M, with b bits holding M - 1 and u = 2^b - M short codes: r in b - 1 bits if r < u,
else r + u in b bits, whose upper b - 1 bits are then at least u: they tell which it is. So the upper bits
have a known length, the last bits follow for those that have one, and numpy takes each part as a whole:

    varint(4 * count + choice) | upper bits of all | further bits of all | last bits | unary parts | 0-7 zeros

M is not sent: both ends compute the best for random positions from n and count, and 2 bits choose among it
and fractions of it, which clustered positions want.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gossamer.compression import bits
from gossamer.compression.arrays import Positions
from gossamer.compression.rice import unary_decode, unary_encode
from gossamer.compression.varint import read_varint, write_varint
from gossamer.errors import MalformedBody

SIXTEENTHS = (16, 11, 7, 4)
"""The four parameters, in sixteenths of the best for random positions."""

CHOICES = len(SIXTEENTHS)


def _parameter(n: int, count: int, choice: int) -> int:
    """M for ``count`` positions of n, 0 < count <= n: ln 2 / p - 0.847 for p = count / n, upwards."""
    best = max(1, -((217 * count - 177 * n) // (256 * count)))
    return max(1, best * SIXTEENTHS[choice] // 16)


def _lengths(m: int) -> tuple[int, int]:
    """-> (upper bits of a remainder below m, short codes): a remainder has one more bit but for those."""
    width = (m - 1).bit_length()
    return max(width - 1, 0), (1 << width) - m if m > 1 else 1


def golomb_bits(gaps: Positions, m: int) -> int:
    """Length in bits of ``gaps`` (k,) with parameter m."""
    upper, short = _lengths(m)
    quotients = gaps // m
    return len(gaps) * (upper + 1) + int(quotients.sum()) + int(np.count_nonzero(gaps - quotients * m >= short))


def encode_positions(positions: Positions, n: int, codes: npt.NDArray[Any], width: int) -> bytes:
    """Ascending positions below n, int64 (count,), with a code below 2^width each -> bytes."""
    count = len(positions)
    if count == 0:
        return write_varint(0)
    gaps = np.diff(positions, prepend=-1) - 1
    choice = min(range(CHOICES), key=lambda c: golomb_bits(gaps, _parameter(n, count, c)))
    m = _parameter(n, count, choice)
    upper, short = _lengths(m)
    quotients = gaps // m
    remainders = gaps - quotients * m
    long = remainders >= short
    shifted = remainders[long] + short
    remainders[long] = shifted >> 1
    stream = np.concatenate(
        [
            bits.to_bits(remainders, upper),
            bits.to_bits(codes, width),
            (shifted & 1).astype(np.uint8),
            unary_encode(quotients),
        ]
    )
    return write_varint(count * CHOICES + choice) + np.packbits(stream, bitorder="little").tobytes()


def decode_positions(data: memoryview, n: int, width: int) -> tuple[Positions, npt.NDArray[np.int64]]:
    """The inverse of `encode_positions`: -> positions int64 (count,), codes int64 (count,).

    Raises `MalformedBody` for positions beyond n, more items than bits, other padding. Time and memory in
    proportion to len(data), whatever it says.
    """
    head, at = read_varint(data, 0)
    count, choice = divmod(head, CHOICES)
    if count == 0:
        if head or at != len(data):
            raise MalformedBody("expected nothing after an empty set of positions")
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    if count > n:
        raise MalformedBody(f"expected at most {n} positions, got {count}")
    m = _parameter(n, count, choice)
    upper, short = _lengths(m)
    if count * (upper + width + 1) > 8 * (len(data) - at):
        raise MalformedBody(f"expected {count} positions, but the body ends before the last")
    stream = np.unpackbits(np.frombuffer(data, dtype=np.uint8)[at:], bitorder="little")
    start, rest = count * upper, count * (upper + width)
    remainders = bits.from_bits(stream[:start], upper) if upper else np.zeros(count, dtype=np.int64)
    codes = bits.from_bits(stream[start:rest], width) if width else np.zeros(count, dtype=np.int64)
    if m > 1:
        long = np.flatnonzero(remainders >= short)
        unary_at = rest + len(long)
        last = stream[rest:unary_at]
        if len(last) < len(long):
            raise MalformedBody(f"expected {count} positions, but the body ends before the last")
        remainders[long] += remainders[long] + last - short
        rest = unary_at
    positions = np.cumsum(unary_decode(stream[rest:], count) * m + remainders + 1) - 1
    if int(positions[-1]) >= n:
        raise MalformedBody(f"expected positions below {n}, got {int(positions[-1])}")
    return positions, codes


def max_parts_bytes(n: int, count: int, width: int, parts: int) -> int:
    """A bound on ``count`` positions spread in any way over ``parts`` sets out of n in all.

    For sets of less than 2^19, whose number takes 3 bytes. With the first choice c positions take at most
    2.68 c unary bits and c (log2 M + 1) others, where M <= 0.6915 n / c + 0.16; that is concave in c, so the
    even spread is the worst.
    """
    if count == 0:
        return parts
    low = float(np.log2(max(0.6915 * n / count + 0.16, 1.0)))
    return parts * 4 + int(count * (low + 3.68 + width) / 8) + 1
