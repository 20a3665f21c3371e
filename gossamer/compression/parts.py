"""Which prefixes of a body are updates of their own: what a method says of its parts.

A transfer that is cut off leaves a prefix. Where the codec puts the most significant part first, or just one block
after the other, what has come is worth applying: the coordinates that have not come are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gossamer.compression.arrays import Vector
from gossamer.compression.codec import Body
from gossamer.compression.context import Context
from gossamer.compression.registry import Method
from gossamer.errors import MalformedBody

Opener = Callable[[memoryview, int, Context], Body]


@dataclass(frozen=True)
class PartedMethod(Method):
    """A row of the registry whose bodies may be cut between parts. All offsets are after the tag."""

    ends: Callable[[memoryview, int, Context], list[int]]
    """(whole body, d, context) -> ascending offsets at which a prefix may end, the last its length."""
    decode_prefix: Callable[[memoryview, int, Context], tuple[Vector, int]]
    """(prefix, d, context) -> float32 (d,) of its whole parts, and how many they are."""


@dataclass(frozen=True)
class FixedParts:
    """Parts whose sizes follow from d: ``head`` bytes, ``full`` parts of one size, and a last one of another."""

    head: int
    full: int
    part_bytes: int
    coordinates: int
    last_bytes: int

    def ends(self) -> list[int]:
        """Offsets of the ends of all parts."""
        out = [self.head + self.part_bytes * (i + 1) for i in range(self.full)]
        if self.last_bytes or not out:
            out.append(self.head + self.part_bytes * self.full + self.last_bytes)
        return out


def fixed_method(method: Method, shape: Callable[[int], FixedParts]) -> PartedMethod:
    """A method whose parts lie one after the other, as those of `blocks` do; a part of zeros must be well-formed."""

    def ends(_data: memoryview, d: int, _context: Context) -> list[int]:
        return shape(d).ends()

    def decode_prefix(data: memoryview, d: int, context: Context) -> tuple[Vector, int]:
        parts = shape(d)
        offsets = parts.ends()
        if len(data) > offsets[-1]:
            raise MalformedBody(f"expected at most {offsets[-1]} bytes of {method.name} for d = {d}, got {len(data)}")
        used = int(np.searchsorted(offsets, len(data), side="right"))
        out = np.zeros(d, dtype=np.float32)
        if used:
            end = offsets[used - 1]
            body = method.open(memoryview(bytes(data[:end]) + bytes(offsets[-1] - end)), d, context)
            covered = d if used == len(offsets) else used * parts.coordinates
            out[:covered] = body.read(0, covered)
        return out, used

    return PartedMethod(
        method.name, method.tag, method.build, method.open, method.examples, ends=ends, decode_prefix=decode_prefix
    )
