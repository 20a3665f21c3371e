"""A magnitude in two bytes: float32 without its sign and its last 15 bits.

8 bits of exponent cover every magnitude an update can have (float16 overflows at 65504 and is coarse
below 6e-5); 8 bits of mantissa leave a relative error of at most 2^-9 to the nearest, 1/200 of what a
1-bit codec loses anyway. Unbiased codecs round at random, so that the expected scale is the exact one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gossamer.compression.arrays import Vector
from gossamer.errors import MalformedBody

SCALE_BYTES = 2
RELATIVE_ERROR = 2.0**-8
"""Of rounding up or at random; half of it to the nearest."""

MAX_SCALE = 2.0**96
"""Above anything an encoder makes of values below 2^64, and small enough that every level, every rotation
of levels and every sum in decoding stays finite: a scale that passes proves the vector finite."""

Codes = npt.NDArray[np.uint16]
_DROPPED = 15


def _floor(scale: npt.NDArray[np.float64]) -> npt.NDArray[np.uint32]:
    """The largest code not above each scale."""
    single = scale.astype(np.float32)
    # astype rounds to the nearest; step back where that went up.
    bits = single.view(np.uint32) - (single.astype(np.float64) > scale)
    return np.asarray(bits >> _DROPPED, dtype=np.uint32)


def round_up(scale: npt.ArrayLike) -> Codes:
    """The smallest code not below each scale (n,), so that no level clips."""
    exact = np.asarray(scale, dtype=np.float64)
    code = _floor(exact)
    return (code + (_value(code) < exact)).astype(np.uint16)


def round_nearest(scale: npt.ArrayLike) -> Codes:
    """The closest code to each scale (n,)."""
    exact = np.asarray(scale, dtype=np.float64)
    low = _floor(exact)
    up = exact - _value(low) > _value(low + 1) - exact
    return (low + up).astype(np.uint16)


def round_at_random(scale: npt.ArrayLike, rng: np.random.Generator) -> Codes:
    """One of the two neighbouring codes, with the exact scale (n,) as expectation."""
    exact = np.asarray(scale, dtype=np.float64)
    low = _floor(exact)
    gap = _value(low + 1) - _value(low)
    return (low + (rng.random(exact.shape) < (exact - _value(low)) / gap)).astype(np.uint16)


def _value(codes: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    return (codes.astype(np.uint32) << _DROPPED).astype(np.uint32).view(np.float32).astype(np.float64)


def value(code: int) -> float:
    """The scale of one code, exactly; `MalformedBody` for one no encoder makes."""
    return float(from_bytes(to_bytes(np.array([code], dtype=np.uint16)))[0])


def to_bytes(codes: Codes) -> npt.NDArray[np.uint8]:
    """Codes (n,) -> uint8 (n, 2), little-endian."""
    return np.ascontiguousarray(codes, dtype="<u2").view(np.uint8).reshape(-1, SCALE_BYTES)


def from_bytes(data: npt.NDArray[np.uint8]) -> Vector:
    """uint8 (n, 2) -> float32 (n,); `MalformedBody` for a scale no encoder makes."""
    codes = np.ascontiguousarray(data).view("<u2").reshape(-1).astype(np.uint32)
    scales: Vector = (codes << np.uint32(_DROPPED)).view(np.float32)
    # NaN compares false: the codes for infinity and NaN fail here too.
    if not (scales <= np.float32(MAX_SCALE)).all():
        raise MalformedBody(f"expected finite scales of at most 2^96, got {float(scales.max())}")
    return scales
