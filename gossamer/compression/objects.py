"""Model objects: what brings a device from one model version to another, exactly.

    snapshot   0x00, all weights (`integers`)
    delta      0x01, all changes (`integers`)
               0x02, the changes that are not zero (`changes`)
               0x80 + n - 1, a chain: n step bodies, as every device of that round decoded them;
                             lengths of all but the last (varints), then the bodies

All of them add lattice integers, so whichever way a device takes, it holds the same bytes. `encode_delta`
makes every kind that can be and keeps the shortest: a chain of sparse steps while they hardly overlap, a
merged delta when they do or when the steps are not kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gossamer.compression.arrays import Lattice
from gossamer.compression.changes import decode_changes, encode_changes
from gossamer.compression.codecs import decode
from gossamer.compression.integers import decode_integers, encode_integers
from gossamer.compression.lattice import narrowed, to_lattice
from gossamer.compression.varint import read_varint, write_varint
from gossamer.errors import InputError, LatticeOverflow, MalformedBody

SNAPSHOT = 0x00
DENSE = 0x01
SPARSE = 0x02
CHAIN = 0x80

MAX_CHAIN = 128
"""Steps in a chain: the kind byte has 7 bits for them, and a longer way is a merged delta or a snapshot."""


def encode_snapshot(w: Lattice) -> bytes:
    """A whole model, int32 (d,) -> bytes."""
    return bytes([SNAPSHOT]) + encode_integers(w)


def decode_snapshot(data: bytes, d: int) -> Lattice:
    """-> int32 (d,); raises `MalformedBody`."""
    if not data or data[0] != SNAPSHOT:
        raise MalformedBody("expected a snapshot")
    return decode_integers(memoryview(data)[1:], d)


def encode_delta(steps: Sequence[bytes], change: Lattice) -> bytes:
    """The shortest delta for ``change``, int32 (d,).

    ``steps`` are the bodies of the versions between, in order; leave them empty if they are not all there.
    Raises `InputError` if they do not add up to ``change``.
    """
    candidates = [bytes([DENSE]) + encode_integers(change)]
    if 2 * np.count_nonzero(change) <= change.size:  # above, naming positions never pays
        candidates.append(bytes([SPARSE]) + encode_changes(change))
    if 0 < len(steps) <= MAX_CHAIN:
        total = sum((step_of(s, change.size).astype(np.int64) for s in steps), np.int64(0))
        if not np.array_equal(total, change):
            raise InputError(f"expected {len(steps)} steps that add up to the change, got others")
        candidates.append(chain(steps))
    return min(candidates, key=len)


def chain(steps: Sequence[bytes]) -> bytes:
    """1 to `MAX_CHAIN` step bodies in a row, with their kind byte."""
    return bytes([CHAIN + len(steps) - 1]) + b"".join([*(write_varint(len(s)) for s in steps[:-1]), *steps])


def split_chain(data: memoryview) -> list[memoryview]:
    """The bodies of a `chain`; raises `MalformedBody`."""
    return _split_chain(data[1:], data[0] - CHAIN + 1)


def step_of(body: bytes | memoryview, d: int) -> Lattice:
    """What a step body adds to the shared model: int32 (d,); raises `MalformedBody`."""
    try:
        return to_lattice(decode(body, d))
    except LatticeOverflow as error:
        raise MalformedBody(f"expected a step on the lattice: {error}") from error


def apply_delta(w: Lattice, data: bytes) -> Lattice:
    """Model int32 (d,) and a delta -> the new model int32 (d,); ``w`` stays. Raises `MalformedBody`."""
    if not data:
        raise MalformedBody("expected a delta, got 0 bytes")
    kind, rest = data[0], memoryview(data)[1:]
    total = w.astype(np.int64)
    if kind == DENSE:
        total += decode_integers(rest, w.size)
    elif kind == SPARSE:
        total += decode_changes(rest, w.size)
    elif kind >= CHAIN:
        for body in _split_chain(rest, kind - CHAIN + 1):
            total += step_of(body, w.size)
    else:
        raise MalformedBody(f"expected the kind of a delta in the first byte, got {kind:#04x}")
    try:
        return narrowed(total, "model")
    except LatticeOverflow as error:
        raise MalformedBody(f"the delta does not fit this model: {error}") from error


def _split_chain(data: memoryview, count: int) -> list[memoryview]:
    lengths = []
    at = 0
    for _ in range(count - 1):
        length, at = read_varint(data, at)
        lengths.append(length)
    if at + sum(lengths) > len(data):
        raise MalformedBody(f"expected {count} steps, but the delta ends")
    bodies = []
    for length in lengths:
        bodies.append(data[at : at + length])
        at += length
    return [*bodies, data[at:]]
