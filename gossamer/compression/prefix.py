"""Reading the beginning of a body.

>>> import numpy as np
>>> from gossamer.compression import codec
>>> body = codec("ternary:0.1/msb").encode(np.linspace(-1, 1, 1000), seed=1)
>>> ends = part_ends(body, 1000)
>>> vector, parts = decode_prefix(body[: ends[1]], 1000)
>>> parts
2
"""

from __future__ import annotations

from gossamer.compression.arrays import MAX_COORDINATES, Vector
from gossamer.compression.codecs import REGISTRY
from gossamer.compression.context import NOTHING, Context
from gossamer.compression.parts import FixedParts, PartedMethod, fixed_method
from gossamer.compression.registry import Method
from gossamer.errors import InputError, MalformedBody

_PLAIN = {"fp32": (4, 0), "fp16": (2, 1)}
"""Bytes of a coordinate and of the head."""
_PLAIN_PART = 256
"""Coordinates of a part of plain floats: there is nothing smaller worth handing over."""


def _parted(method: Method) -> Method:
    if method.name not in _PLAIN:
        return method
    width, head = _PLAIN[method.name]

    def shape(d: int) -> FixedParts:
        full, rest = divmod(d, _PLAIN_PART)
        return FixedParts(head, full, _PLAIN_PART * width, _PLAIN_PART, rest * width)

    return fixed_method(method, shape)


_METHODS = {method.tag: _parted(method) for method in REGISTRY.methods}


def part_ends(body: bytes, d: int, context: Context = NOTHING) -> list[int]:
    """Ascending offsets at which a prefix of ``body`` may end, the last its length.

    Raises `MalformedBody` if it is no body of d coordinates.
    """
    REGISTRY.open_body(body, d, context)
    method = _METHODS[body[0]]
    if not isinstance(method, PartedMethod):
        return [len(body)]
    return [1 + end for end in method.ends(memoryview(body)[1:], d, context)]


def decode_prefix(data: bytes, d: int, context: Context = NOTHING) -> tuple[Vector, int]:
    """The first bytes of a body -> (float32 (d,), number of whole parts it is made of).

    ``data`` should end at one of `part_ends`; bytes after the last whole part are passed over. What has not come is 0:
    with /msb the smaller ones of the chosen coordinates, with ``randk`` a random set (what has come is scaled
    accordingly), with all others the coordinates after the last part. A method without parts (``hist``) has to be there
    whole.

    Raises `MalformedBody` for bytes that begin no body; not for being too few.
    """
    if not 0 <= d <= MAX_COORDINATES:
        raise InputError(f"expected 0 <= d <= {MAX_COORDINATES}, got {d}")
    method = _METHODS.get(data[0]) if data else None
    if method is None:
        raise MalformedBody("expected the tag of a codec in the first byte")
    if not isinstance(method, PartedMethod):
        return method.open(memoryview(data)[1:], d, context).read(0, d), 1
    return method.decode_prefix(memoryview(data)[1:], d, context)
