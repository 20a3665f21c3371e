"""Small arrays through the range coder: symbols of a small alphabet, and integers of any size.

A symbol is its bits from the top, each in a context of its own for the bits before it: a binary tree of
`AdaptiveBit` (a symbol's probability is the product along its path, each a Krichevsky-Trofimov estimate).
An integer is the symbol of its length in bits, then the bits below the highest, the first of them
adaptive and the others plain (Elias 1975, with learned lengths). The trees learn from the message itself:
nothing is sent ahead, and a hundred numbers are enough to gain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gossamer.compression.range_coder import RAW_BITS, AdaptiveBit, Decoder, Encoder
from gossamer.errors import MalformedBody

MAX_ALPHABET = 4096
"""Symbols of a tree: above that it would not learn from messages as small as ours."""

MAX_NUMBER_BITS = 48
"""Of an integer: more than any count of this package."""

Numbers = npt.NDArray[np.int64]


class SymbolTree:
    """An adaptive code for symbols 0 .. alphabet - 1; one object for each context, at both ends."""

    __slots__ = ("_alphabet", "_bits", "_nodes")

    def __init__(self, alphabet: int) -> None:
        if not 1 <= alphabet <= MAX_ALPHABET:
            raise ValueError(f"expected an alphabet of 1 to {MAX_ALPHABET} symbols, got {alphabet}")
        self._alphabet = alphabet
        self._bits = (alphabet - 1).bit_length()
        self._nodes = [AdaptiveBit() for _ in range(1 << self._bits)]

    def encode(self, encoder: Encoder, symbol: int) -> None:
        """Code 0 <= symbol < alphabet."""
        if not 0 <= symbol < self._alphabet:
            raise ValueError(f"expected a symbol below {self._alphabet}, got {symbol}")
        prefix = 0
        for bit in range(self._bits - 1, -1, -1):
            if ((prefix << 1 | 1) << bit) < self._alphabet:
                self._nodes[prefix + (1 << (self._bits - 1 - bit)) - 1].encode(encoder, symbol >> bit & 1)
            prefix = symbol >> bit

    def decode(self, decoder: Decoder) -> int:
        """The inverse of `encode`; never a symbol beyond the alphabet, for those have no code."""
        prefix = 0
        for bit in range(self._bits - 1, -1, -1):
            node, prefix = prefix + (1 << (self._bits - 1 - bit)) - 1, prefix << 1
            if ((prefix | 1) << bit) < self._alphabet:
                prefix |= self._nodes[node].decode(decoder)
        return prefix


class NumberCode:
    """An adaptive code for integers 0 <= value < 2^48; one object for each context, at both ends."""

    __slots__ = ("_lengths", "_seconds")

    def __init__(self) -> None:
        self._lengths = SymbolTree(MAX_NUMBER_BITS + 1)
        self._seconds = [AdaptiveBit() for _ in range(MAX_NUMBER_BITS)]

    def encode(self, encoder: Encoder, value: int) -> None:
        """Code ``value``."""
        if value < 0:
            raise ValueError(f"expected a number of at least 0, got {value}")
        bits = value.bit_length()
        self._lengths.encode(encoder, bits)
        if bits > 1:
            bits -= 2
            self._seconds[bits].encode(encoder, value >> bits & 1)
            while bits > 0:
                chunk = min(bits, RAW_BITS)
                bits -= chunk
                encoder.raw(value >> bits & ((1 << chunk) - 1), chunk)

    def decode(self, decoder: Decoder) -> int:
        """The inverse of `encode`."""
        bits = self._lengths.decode(decoder)
        if bits < 2:
            return bits
        bits -= 2
        value = 2 | self._seconds[bits].decode(decoder)
        while bits > 0:
            chunk = min(bits, RAW_BITS)
            bits -= chunk
            value = value << chunk | decoder.raw(chunk)
        return value


def encode_symbols(values: npt.NDArray[Any], alphabet: int) -> bytes:
    """Integers (n,), 0 <= value < alphabet <= `MAX_ALPHABET` -> bytes; n is not among them.

    Raises `ValueError` for a value outside of the alphabet.
    """
    encoder, tree = Encoder(), SymbolTree(alphabet)
    for symbol in values.tolist():
        tree.encode(encoder, symbol)
    return encoder.finish()


def decode_symbols(data: bytes | memoryview, n: int, alphabet: int) -> Numbers:
    """The inverse of `encode_symbols` -> int64 (n,); raises `MalformedBody`. Time in proportion to n."""
    decoder, tree = Decoder(data), SymbolTree(alphabet)
    values = [tree.decode(decoder) for _ in range(n)]
    decoder.finish()
    return np.array(values, dtype=np.int64)


def encode_numbers(values: npt.NDArray[Any]) -> bytes:
    """Integers (n,), 0 <= value < 2^48 -> bytes; n is not among them. Raises `ValueError` beyond."""
    encoder, code = Encoder(), NumberCode()
    for value in values.tolist():
        code.encode(encoder, value)
    return encoder.finish()


def decode_numbers(data: bytes | memoryview, n: int, below: int = 1 << MAX_NUMBER_BITS) -> Numbers:
    """The inverse of `encode_numbers` -> int64 (n,); raises `MalformedBody`, for a value not under ``below`` too."""
    decoder, code = Decoder(data), NumberCode()
    values = [code.decode(decoder) for _ in range(n)]
    decoder.finish()
    if max(values, default=0) >= below:
        raise MalformedBody(f"expected numbers below {below}, got {max(values)}")
    return np.array(values, dtype=np.int64)
