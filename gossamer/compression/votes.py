"""One-bit bodies as they are counted: bits and scales, without unpacking a coordinate.

A body of ``sign`` or ``rot1`` is ``scale * (1 - 2 bit)`` in each of its blocks, or a rotation of that. Where many are
added by majority, their bits can be counted 64 at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.compression.arrays import Bytes, Vector


@dataclass(frozen=True, slots=True)
class Votes:
    """The bits of one body.

    Args:
        block: coordinates of every block but the last.
        full: scales float32 (r,) and bits uint8 (r, block / 8) of those blocks, least significant bit first.
        last: scale float32 (1,) and bits uint8 (1, ceil(n / 8)) of the last, or empty (0,) and (0, 0).
        positive: a bit that is set stands for +scale, not -scale.
        salt: of the rotation, `hadamard.unrotate`, that leads to the coordinates; None: they are not rotated.
    """

    block: int
    full: tuple[Vector, Bytes]
    last: tuple[Vector, Bytes]
    positive: bool
    salt: int | None
