"""Gaussian noise rounded to integers, drawn without floating point; sigma, key -> int64 (d,).

``Z = round(N(0, sigma^2))``. Added to a sum of integer vectors, this *is* the sum with real Gaussian noise, rounded
afterwards: the guarantee of the continuous mechanism holds, and its accounting stays tight.

A float64 Gaussian has no such guarantee. Its low bits depend on the value it is added to, and tell it (Mironov,
CCS 2012). Here the output has no bits below the lattice, and every step before it is integer arithmetic, so that
a machine's ``exp`` or a library's next release cannot change a bit either.

Method, after Karney ("Sampling exactly from the normal distribution", TOMS 2016): |N| = sigma (k + x) with k drawn
from the table of exp(-k^2/2) and x uniform in [0, 1), accepted with probability exp(-x (2k + x) / 2) =
exp(-x)^k exp(-x^2/2). Both factors are decided by runs of uniform numbers (von Neumann): the run
x > u1 > u2 > .. has even length with probability exp(-x). About half of the attempts are accepted.

Uniform numbers have nearly 62 bits, on a grid that the cells of the rounding divide evenly, and the table has 128.
So an integer within 11 sigma of zero has its probability to a relative 2^-50, and all beyond have together less than
2^-86. Over d coordinates and k releases that adds at most 2 d k 2^-50 to epsilon: 7e-8 for a million coordinates and 40
releases. Bits come from ChaCha20, since somebody who knows part of the noise must not find the rest.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from gossamer.errors import InputError

KEY_BYTES = 32
MAX_SIGMA = 1 << 48
"""Leaves 2^13 grid points to a cell, and |Z| <= 14 sigma far inside of int64."""

GRID_BITS = 62
CHUNK = 1 << 16
"""Coordinates of one keystream: bounds the memory of a draw, and is part of what the noise is."""


def rounded_gaussian(key: bytes, sigma: int, d: int) -> NDArray[np.int64]:
    """Return d independent values of ``round(N(0, sigma^2))``, int64 (d,); the same for the same key on any machine.

    Raises:
        InputError: a key that is not of 32 bytes, or sigma not in 0..2^48.

    >>> rounded_gaussian(bytes(32), 1000, 4).tolist()
    [428, 493, -666, 232]
    """
    if len(key) != KEY_BYTES or not 0 <= sigma <= MAX_SIGMA:
        raise InputError(f"expected a key of {KEY_BYTES} bytes and sigma in 0..2^48, got {len(key)} and {sigma}")
    noise = np.zeros(d, dtype=np.int64)
    if sigma:
        for chunk, start in enumerate(range(0, d, CHUNK)):
            part = noise[start : start + CHUNK]
            part[:] = _draw(Bits.of(key, chunk), sigma, len(part))
    return noise


@dataclass(frozen=True, slots=True)
class Bits:
    """A stream of random words."""

    cipher: CipherContext = field(repr=False)

    @classmethod
    def of(cls, key: bytes, number: int) -> Bits:
        """The stream of that number under a key of 32 bytes."""
        nonce = bytes(4) + number.to_bytes(12, "little")  # the first four bytes count the blocks
        return cls(Cipher(ChaCha20(key, nonce), mode=None).encryptor())

    def words(self, n: int) -> NDArray[np.uint64]:
        """The next n words of 64 bits."""
        return np.frombuffer(self.cipher.update(bytes(8 * n)), dtype="<u8").astype(np.uint64)

    def below(self, bound: int, n: int) -> NDArray[np.int64]:
        """Return n uniform integers in [0, bound), for 2^61 <= bound < 2^62."""
        out = np.empty(n, dtype=np.int64)
        missing = np.arange(n)
        while len(missing):
            drawn = (self.words(len(missing)) >> np.uint64(64 - GRID_BITS)).astype(np.int64)
            out[missing] = drawn
            missing = missing[drawn >= bound]
        return out


def _draw(bits: Bits, sigma: int, n: int) -> NDArray[np.int64]:
    accepted: list[NDArray[np.int64]] = []
    missing = n
    while missing > 0:
        accepted.append(_attempt(bits, sigma, 2 * missing + 64))
        missing -= len(accepted[-1])
    return np.concatenate(accepted)[:n]


def _attempt(bits: Bits, sigma: int, tries: int) -> NDArray[np.int64]:
    """The accepted ones of so many attempts."""
    shift = GRID_BITS - sigma.bit_length()
    bound = sigma << shift
    k = _level(bits, tries)
    x = bits.below(bound, tries)
    kept = np.flatnonzero(_survives(bits, x, bound, square=True))
    k, x = k[kept], x[kept]
    for level in range(1, len(LEVELS) + 1):  # a k of 2 has to survive twice
        high = np.flatnonzero(k >= level)
        fallen = high[~_survives(bits, x[high], bound, square=False)]
        k, x = np.delete(k, fallen), np.delete(x, fallen)
    cell = (x + (1 << (shift - 1))) >> shift
    negative = (bits.words(len(k)) >> np.uint64(63)).astype(bool)
    magnitude = k.astype(np.int64) * sigma + cell
    return np.where(negative, -magnitude, magnitude)


def _level(bits: Bits, n: int) -> NDArray[np.int64]:
    """Return k with probability proportional to exp(-k^2 / 2), int64 (n,)."""
    words = bits.words(n)
    k = np.searchsorted(FIRST_WORDS, words, side="right").astype(np.int64)
    for row in np.flatnonzero(np.isin(words, FIRST_WORDS)).tolist():  # once in 2^60: the second word decides
        k[row] = bisect_right(LEVELS, int(words[row]) << 64 | int(bits.words(1)[0]))
    return k


def _survives(bits: Bits, x: NDArray[np.int64], bound: int, *, square: bool) -> NDArray[np.bool_]:
    """True with probability exp(-x) for x / bound in [0, 1), with ``square`` exp(-x^2 / 2); bool (n,)."""
    even = np.ones(len(x), dtype=bool)
    last, going = x, np.arange(len(x))
    while len(going):
        drawn = bits.below(bound, len(going))
        longer = drawn < last
        if square:
            longer &= bits.below(bound, len(going)) < x[going]
            longer &= (bits.words(len(going)) >> np.uint64(63)).astype(bool)
        going, last = going[longer], drawn[longer]
        even[going] ^= True
    return even


def _levels() -> list[int]:
    """Thresholds of a uniform number of 128 bits: k is how many of them it reaches."""
    with localcontext() as context:
        context.prec = 60
        masses = [(Decimal(-k * k) / 2).exp() for k in range(20)]
        unit = Decimal(1 << 128) / sum(masses)
        reached = [int(sum(masses[: k + 1]) * unit) for k in range(20)]
    return [threshold for threshold in reached if threshold < (1 << 128) - 1]


LEVELS = _levels()
FIRST_WORDS = np.array([threshold >> 64 for threshold in LEVELS], dtype=np.uint64)
