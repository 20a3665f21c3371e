"""A sparse integer vector, lossless: where it is not zero, and what it is there.

Steps of sparse codecs move coordinates by few distinct amounts, so the values are a dictionary and an
index for each position, written in whichever way is shorter:

    varint(2 D),     dictionary, parts           the index is the further bits of each position (`rice`)
    varint(2 D + 1), dictionary, varint(length), indexes (`integers`), parts
                                                 frequent values cost fewer bits; D = 0: no dictionary, the
                                                 "indexes" are the values, zigzag

    dictionary = D zigzag varints, the most frequent value first
"""

from __future__ import annotations

import numpy as np

from gossamer.compression import rice
from gossamer.compression.arrays import Lattice, Positions
from gossamer.compression.integers import (
    Numbers,
    decode_unsigned,
    encode_unsigned,
    unzigzag,
    zigzag,
)
from gossamer.compression.sparse import encode_parts, parts_of, split_parts
from gossamer.compression.varint import read_varint, write_varint
from gossamer.errors import MalformedBody

MAX_DICTIONARY = 4096
"""Distinct values; with more of them a dictionary costs more than it saves."""


def _ranked(values: Numbers) -> tuple[Numbers, Numbers]:
    """-> (dictionary (D,), most frequent first; index of each value (n,))."""
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return distinct[order], rank[inverse.reshape(-1)]


def encode_changes(change: Lattice) -> bytes:
    """int32 (d,) -> bytes; d is not among them."""
    positions = np.flatnonzero(change)
    values = change[positions].astype(np.int64)
    dictionary, index = _ranked(values)
    size = len(dictionary)
    bare = encode_parts(positions, index, change.size, 0)
    candidates = [_ranked_form(0, b"", zigzag(values)) + bare]
    if 0 < size <= MAX_DICTIONARY:
        entries = b"".join(map(write_varint, zigzag(dictionary).tolist()))
        width = (size - 1).bit_length()
        candidates += [
            _ranked_form(size, entries, index) + bare,
            write_varint(2 * size) + entries + encode_parts(positions, index, change.size, width),
        ]
    return min(candidates, key=len)


def _ranked_form(size: int, entries: bytes, numbers: Numbers) -> bytes:
    coded = encode_unsigned(numbers)
    return write_varint(2 * size + 1) + entries + write_varint(len(coded)) + coded


def decode_changes(data: memoryview, d: int) -> Numbers:
    """The inverse of `encode_changes`: int64 (d,), each below 2^32; raises `MalformedBody`."""
    head, at = read_varint(data, 0)
    size, ranked = divmod(head, 2)
    dictionary, at = _read_dictionary(data, at, size)
    if ranked:
        length, at = read_varint(data, at)
        if length > len(data) - at:
            raise MalformedBody(f"expected {length} bytes of indexes, but the delta ends")
        positions, _ = _read_parts(data[at + length :], d, 0)
        index = decode_unsigned(data[at : at + length], len(positions))
    else:
        positions, index = _read_parts(data[at:], d, max(0, size - 1).bit_length())
    if ranked and size == 0:
        values = unzigzag(index)
    elif len(index) and int(index.max()) >= size:
        raise MalformedBody(f"expected an index below {size}, got {int(index.max())}")
    else:
        values = dictionary[index]
    out = np.zeros(d, dtype=np.int64)
    out[positions] = values
    return out


def _read_dictionary(data: memoryview, at: int, size: int) -> tuple[Numbers, int]:
    if size > MAX_DICTIONARY:
        raise MalformedBody(f"expected at most {MAX_DICTIONARY} distinct values, got {size}")
    entries = []
    for _ in range(size):
        entry, at = read_varint(data, at)
        entries.append(entry)
    if entries and max(entries) >> 32:
        raise MalformedBody("expected changes below 2^32")
    return unzigzag(np.array(entries, dtype=np.int64)), at


def _read_parts(data: memoryview, d: int, width: int) -> tuple[Positions, Numbers]:
    found = [
        (start, *rice.decode_positions(part, stop - start, width))
        for (start, stop), part in zip(parts_of(d), split_parts(data, d), strict=True)
    ]
    none = np.zeros(0, dtype=np.int64)
    return (
        np.concatenate([none, *(start + positions for start, positions, _ in found)]),
        np.concatenate([none, *(codes for _, _, codes in found)]),
    )
