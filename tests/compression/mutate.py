"""Valid bodies made wrong, one to three changes each, from a seeded generator: the same bytes in every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

HEAD = 12
"""Bytes at the start where tags, scales, counts and lengths are."""
EDGES = (0x00, 0x01, 0x03, 0x7F, 0x80, 0x81, 0xFE, 0xFF)
LENGTHS = tuple(
    bytes.fromhex(text) for text in ("ffffffff7f", "8080808010", "ffff03", "8000", "ffffffffff01", "00", "7f")
)
MAX_CHANGES = 3
MAX_RANDOM = 200

Change = Callable[[bytearray, Sequence[bytes], Random], None]


def mutated(bodies: Sequence[bytes], rng: Random) -> bytes:
    """One of ``bodies`` after one to three changes; now and then nothing of it is left but its tag."""
    data = bytearray(rng.choice(bodies))
    for _ in range(rng.randint(1, MAX_CHANGES)):
        rng.choice(CHANGES)(data, bodies, rng)
    return bytes(data)


def _flip(data: bytearray, _bodies: Sequence[bytes], rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _flip_head(data: bytearray, _bodies: Sequence[bytes], rng: Random) -> None:
    if data:
        data[rng.randrange(min(HEAD, len(data)))] ^= 1 << rng.randrange(8)


def _edge(data: bytearray, _bodies: Sequence[bytes], rng: Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice(EDGES)


def _truncate(data: bytearray, _bodies: Sequence[bytes], rng: Random) -> None:
    keep = rng.choice((rng.randint(0, len(data)), rng.randint(0, min(HEAD, len(data))), max(0, len(data) - 1)))
    del data[keep:]


def _insert(data: bytearray, _bodies: Sequence[bytes], rng: Random) -> None:
    at = rng.randint(0, len(data))
    data[at:at] = rng.randbytes(rng.randint(1, 9))


def _delete(data: bytearray, _bodies: Sequence[bytes], rng: Random) -> None:
    at = rng.randint(0, len(data))
    del data[at : at + rng.randint(1, 9)]


def _length(data: bytearray, _bodies: Sequence[bytes], rng: Random) -> None:
    """A number near the start becomes another, often a huge one."""
    at = rng.randint(0, min(HEAD, len(data)))
    data[at : at + rng.randint(0, 3)] = rng.choice(LENGTHS)


def _splice(data: bytearray, bodies: Sequence[bytes], rng: Random) -> None:
    other = rng.choice(bodies)
    data[rng.randint(0, len(data)) :] = other[rng.randint(0, len(other)) :]


def _repeat(data: bytearray, _bodies: Sequence[bytes], rng: Random) -> None:
    at = rng.randint(0, len(data))
    data[at:at] = data[at : at + rng.randint(1, 40)]


def _fill(data: bytearray, _bodies: Sequence[bytes], rng: Random) -> None:
    at = rng.randint(0, len(data))
    count = min(rng.randint(1, 16), len(data) - at)
    data[at : at + count] = bytes([rng.choice(EDGES)]) * count


def _random(data: bytearray, _bodies: Sequence[bytes], rng: Random) -> None:
    """Nothing but the tag stays, and sometimes a few bytes more."""
    keep = rng.choice((1, 1, 3, 5))
    data[keep:] = rng.randbytes(rng.randint(0, MAX_RANDOM))


CHANGES: tuple[Change, ...] = (
    _flip, _flip, _flip_head, _edge, _truncate, _insert, _delete, _length, _splice, _repeat, _fill, _random,
)  # fmt: skip
