"""Which chunks are missing: an array of indices or a bitmap, whichever is shorter.

The array is ascending. In the bitmap bit ``i % 8`` (least significant first) of byte ``i // 8`` is chunk i;
it ends with its last non-zero byte. A tie goes to the array, an empty list is the empty array: one list has
exactly one encoding.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from gossamer.errors import MalformedMessage
from gossamer.wire.items import ARRAY, BYTES, Reader, encode, head
from gossamer.wire.limits import MAX_CHUNKS, MAX_MISSING_BYTES

Missing = tuple[int, ...]
"""Ascending chunk indices, each below MAX_CHUNKS."""


def canonical(indices: Iterable[int]) -> Missing:
    """Return the indices once each, ascending."""
    return tuple(sorted(set(indices)))


def check_missing(missing: Missing) -> None:
    """Raise MalformedMessage unless ``missing`` is ascending and in range."""
    if any(a >= b for a, b in pairwise(missing)):
        raise MalformedMessage("missing chunks must be listed in ascending order, each once")
    if missing and not 0 <= missing[0] <= missing[-1] < MAX_CHUNKS:
        raise MalformedMessage(f"chunk indices are 0..{MAX_CHUNKS - 1}, got {missing[0]}..{missing[-1]}")


def encode_missing(missing: Missing) -> bytes:
    """Return the one item that stands for the list.

    >>> encode_missing(()).hex(), encode_missing((2, 50)).hex(), encode_missing((0, 1, 2, 3)).hex()
    ('80', '82021832', '410f')
    """
    array = encode(missing)
    if not missing:
        return array
    bits = bytearray(missing[-1] // 8 + 1)
    for index in missing:
        bits[index // 8] |= 1 << index % 8
    bitmap = encode(bytes(bits))
    return bitmap if len(bitmap) < len(array) else array


def read_missing(reader: Reader) -> Missing:
    """Read the list; raises IncompleteMessage or MalformedMessage (also when the longer form was used)."""
    if reader.peek_major() == BYTES:
        bits = reader.bytes_("missing", MAX_MISSING_BYTES, least=1)
        missing = tuple(i for i in range(8 * len(bits)) if bits[i // 8] >> i % 8 & 1)
        used = head(BYTES, len(bits)) + bits
    else:
        count = reader.array("missing", MAX_CHUNKS)
        missing = tuple(reader.uint("chunk index", MAX_CHUNKS - 1) for _ in range(count))
        used = head(ARRAY, count) + b"".join(encode(index) for index in missing)
        check_missing(missing)
    if encode_missing(missing) != used:
        raise MalformedMessage("the list of missing chunks is not in its shortest form")
    return missing
