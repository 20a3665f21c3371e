"""A second implementation, naive on purpose: one bit at a time, matrices written out, nothing shared.

It judges the real one: a body that both read alike is what the module docstrings say it is.
"""

from __future__ import annotations

import math
import struct

MASK = (1 << 64) - 1


class BitReader:
    """Bits of bytes, least significant first."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def bit(self) -> int:
        value = self.data[self.at // 8] >> (self.at % 8) & 1
        self.at += 1
        return value

    def number(self, width: int) -> int:
        return sum(self.bit() << i for i in range(width))

    def unary(self) -> int:
        zeros = 0
        while not self.bit():
            zeros += 1
        return zeros


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        shift += 7
        if byte < 128:
            return value, at


def scale(code: int) -> float:
    return struct.unpack("<f", struct.pack("<I", code << 15))[0]


def positions(data: bytes, n: int, width: int) -> list[tuple[int, int]]:
    """-> [(position, code)] of one part."""
    head, at = varint(data, 0)
    count, choice = head // 4, head % 4
    if not count:
        return []
    z = (n - count) * 177 // (count * 256)
    best = math.floor(math.log2(z)) if z else -1
    b = max(0, best - 2) + choice
    reader = BitReader(data[at:])
    low = [reader.number(b) for _ in range(count)]
    codes = [reader.number(width) for _ in range(count)]
    out = []
    position = -1
    for i in range(count):
        position += 1 + (reader.unary() << b | low[i])
        out.append((position, codes[i]))
    return out


def golomb_positions(data: bytes, n: int, width: int) -> list[tuple[int, int]]:
    """-> [(position, code)] of one part, with gaps in truncated binary and unary."""
    head, at = varint(data, 0)
    count, choice = head // 4, head % 4
    if not count:
        return []
    best = max(1, math.ceil((177 * n - 217 * count) / (256 * count)))
    m = max(1, best * (16, 11, 7, 4)[choice] // 16)
    b = (m - 1).bit_length()
    reader = BitReader(data[at:])
    upper = [reader.number(b - 1) if b else 0 for _ in range(count)]
    codes = [reader.number(width) for _ in range(count)]
    short = 2**b - m
    low = [u if b == 0 or u < short else 2 * u + reader.bit() - short for u in upper]
    out = []
    position = -1
    for i in range(count):
        position += 1 + reader.unary() * m + low[i]
        out.append((position, codes[i]))
    return out


def ternary(body: bytes, d: int) -> list[float]:
    magnitude = scale(body[1] | body[2] << 8)
    at = 3
    lengths = []
    for _ in range((d - 1) // 65536):
        length, at = varint(body, at)
        lengths.append(length)
    lengths.append(len(body) - at - sum(lengths))
    x = [0.0] * d
    for part, length in enumerate(lengths):
        n = min(65536, d - part * 65536)
        for position, negative in golomb_positions(body[at : at + length], n, 1):
            x[part * 65536 + position] = -magnitude if negative else magnitude
        at += length
    return x


def sign(body: bytes, d: int) -> list[float]:
    x: list[float] = []
    at = 1
    while len(x) < d:
        n = min(1024, d - len(x))
        magnitude = scale(body[at] | body[at + 1] << 8)
        reader = BitReader(body[at + 2 : at + 2 + (n + 7) // 8])
        x += [-magnitude if reader.bit() else magnitude for _ in range(n)]
        at += 2 + (n + 7) // 8
    return x


def uniform(body: bytes, d: int, width: int, block: int) -> list[float]:
    x: list[float] = []
    at = 1
    while len(x) < d:
        n = min(block, d - len(x))
        step = scale(body[at] | body[at + 1] << 8)
        size = (n * width + 7) // 8
        reader = BitReader(body[at + 2 : at + 2 + size])
        x += [step * (reader.number(width) - 2 ** (width - 1)) for _ in range(n)]
        at += 2 + size
    return x


def mix(word: int) -> int:
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK
    return word ^ word >> 31


def random_sign(salt: int, number: int, block: int, m: int, i: int) -> int:
    """The sign of coordinate i of a window of m in pass ``number`` of a block."""
    word = block * ((m + 63) // 64) + i // 64
    key = mix(salt * 8 + number + 1)
    return 1 - 2 * (mix(key + (word + 1) * 0x9E3779B97F4A7C15 & MASK) >> (i % 64) & 1)


def hadamard_matrix(m: int) -> list[list[int]]:
    """Entry (i, j) is -1 to the number of bits that i and j share."""
    return [[1 - 2 * (bin(i & j).count("1") % 2) for j in range(m)] for i in range(m)]


def unrotate(y: list[float], salt: int, block: int) -> list[float]:
    """R^T y: the passes in reverse, each a window's matrix product and sign flips."""
    n = len(y)
    m = 1
    while 2 * m <= n:
        m *= 2
    starts = [0, 0] if m == n else [0, n - m, 0, n - m]
    matrix = hadamard_matrix(m)
    x = list(y)
    for number in range(len(starts) - 1, -1, -1):
        start = starts[number]
        window = x[start : start + m]
        for i in range(m):
            total = sum(h * v for h, v in zip(matrix[i], window, strict=True))
            x[start + i] = total / math.sqrt(m) * random_sign(salt, number, block, m, i)
        if number == 2:
            half = (n + 1) // 2
            x = [x[i // 2 + half * (i % 2)] for i in range(n)]
    return x


def rotated(body: bytes, d: int, levels: list[float]) -> list[float]:
    """One block only: d below 4096."""
    salt = body[1] | body[2] << 8
    reader = BitReader(body[5:])
    width = (2 * len(levels)).bit_length() - 1
    table = [-v for v in reversed(levels)] + levels
    y = [table[reader.number(width)] for _ in range(d)]
    return [v * scale(body[3] | body[4] << 8) for v in unrotate(y, salt, 0)]


def nf4(body: bytes, d: int, tables: list[tuple[int, ...]], groups: list[int]) -> list[float]:
    """``groups``: the table of each block."""
    x: list[float] = []
    at = 2
    for group in groups:
        n = min(128, d - len(x))
        code = body[at] | body[at + 1] << 8
        peak = -scale(code) if code % 2 else scale(code)
        magnitudes = [(b / 256) ** 2 for b in tables[group]]
        levels = [-m for m in reversed(magnitudes)] + [0.0, *magnitudes, 1.0]
        reader = BitReader(body[at + 2 : at + 2 + (n + 1) // 2])
        x += [levels[reader.number(4)] * peak for _ in range(n)]
        at += 2 + (n + 1) // 2
    return x


def words(key: int, count: int) -> list[int]:
    return [mix(key + (i + 1) * 0x9E3779B97F4A7C15 & MASK) for i in range(count)]


def randk_sign(body: bytes, d: int) -> list[float]:
    """``randk:P/sign`` by sorting all lots."""
    seed = int.from_bytes(body[1:5], "little")
    k, at = varint(body, 5)
    magnitude = scale(body[at] | body[at + 1] << 8)
    reader = BitReader(body[at + 2 :])
    x = [0.0] * d
    strata = math.ceil(d / 65536)
    for i in range(strata):
        low, high = i * d // strata, (i + 1) * d // strata
        share = (i + 1) * k // strata - i * k // strata
        lots = words(mix((seed << 20) + i + 1), high - low)
        order = sorted(range(high - low), key=lambda j, lots=lots: (lots[j] >> 17, j))
        for j in order[:share]:
            x[low + j] = (magnitude if reader.bit() else -magnitude) * (high - low) / share
    return x
