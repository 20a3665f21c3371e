"""Majorities of bits, 64 at a time: carry-save adders over rows of packed words.

A full adder turns three bits of one weight into a sum bit and a carry of twice the weight, ``s = a ^ b ^ c``, ``carry
= a b | c (a ^ b)``, for all 64 columns of a word at once. Counting n rows costs about n adders of five operations.
Source: Harley and Seal's population count, in Warren, "Hacker's Delight", chapter 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
WORD = 8
"""Bytes of a word."""

COLUMNS = 4096
"""Words of a row that are counted at once: all planes stay in a processor's first caches."""


def majority(rows: NDArray[np.uint8], scratch: int = COLUMNS) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Where more than half of the rows have a set bit, and where exactly half have: uint8 (n, b) -> (b,), (b,).

    >>> more, tied = majority(np.array([[0b1100], [0b1010]], dtype=np.uint8))
    >>> bin(more[0]), bin(tied[0])
    ('0b1000', '0b110')
    """
    n, b = rows.shape
    short = -b % WORD
    padded = np.ascontiguousarray(np.pad(rows, ((0, 0), (0, short))) if short else rows)
    words = padded.view(np.uint64)
    more, tied = np.empty(words.shape[1], dtype=np.uint64), np.empty(words.shape[1], dtype=np.uint64)
    for start in range(0, words.shape[1], scratch):
        some = slice(start, start + scratch)
        more[some], tied[some] = _compare(_planes(words[:, some]), n)
    return more.view(np.uint8)[:b], tied.view(np.uint8)[:b]


def _planes(rows: Words) -> list[Words]:
    """The counts of set bits of every column in binary, least significant plane first."""
    planes = []
    level = list(rows)
    while level:
        carries = []
        while len(level) >= 3:
            a, b, c = level.pop(), level.pop(), level.pop()
            either = a ^ b
            carry = either & c
            carry |= a & b
            either ^= c
            level.append(either)
            carries.append(carry)
        if len(level) == 2:
            carries.append(level[0] & level[1])
            level = [level[0] ^ level[1]]
        planes.append(level[0])
        level = carries
    return planes


def _compare(planes: list[Words], n: int) -> tuple[Words, Words]:
    """Columns whose count is above n / 2, and those whose count is n / 2."""
    half = n // 2
    above = np.zeros_like(planes[0])
    equal = ~above
    for place in range(max(len(planes), half.bit_length()) - 1, -1, -1):
        plane = planes[place] if place < len(planes) else np.zeros_like(above)
        if half >> place & 1:
            equal = equal & plane
        else:
            above = above | (equal & plane)
            equal = equal & ~plane
    if n % 2:  # a count of (n - 1) / 2 is below half
        equal = np.zeros_like(above)
    return above, equal
