"""Bits that both ends draw from a seed, without a library whose stream might change.

SplitMix64 (Steele, Lea, Flood 2014: "Fast splittable pseudorandom number generators") used as a counter:
word i is mix(key + (i + 1) * golden), so any range of words is drawn without the ones before it. All
arithmetic is modulo 2^64 on integers: the same on every machine.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix(word: int) -> int:
    """The output function of SplitMix64 on one word."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)


def salt_of(seed: int) -> int:
    """What of a seed a body carries: 16 bits; 65,536 rotations are plenty, and bytes are not."""
    return mix((seed + _GOLDEN) & _MASK) >> 48


def words(key: int, start: int, count: int) -> npt.NDArray[np.uint64]:
    """Words start to start + count of the stream of ``key``, uint64 (count,)."""
    index = np.arange(start + 1, start + count + 1, dtype=np.uint64)
    word = index * np.uint64(_GOLDEN) + np.uint64(key & _MASK)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: npt.NDArray[np.uint64] = word ^ (word >> np.uint64(31))
    return out


def signs(key: int, first: int, rows: int, n: int) -> npt.NDArray[np.float32]:
    """+1 and -1, float32 (n, rows): column j belongs to block first + j, whichever range is drawn."""
    per_row = (n + 63) // 64
    drawn = words(key, first * per_row, rows * per_row)
    if sys.byteorder == "big":  # the bits of a word are counted from its little end
        drawn = drawn.byteswap()
    ones = np.unpackbits(drawn.view(np.uint8).reshape(rows, -1), axis=1, count=n, bitorder="little")
    return np.ascontiguousarray(np.float32(1) - np.float32(2) * ones.T.astype(np.float32))
