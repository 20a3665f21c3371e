"""``fp32`` and ``fp16``: the references, 4 and 2 bytes a coordinate.

fp16 is float16 times a power of two that brings the largest value below 2^15, one byte for the exponent:
nothing overflows, and values down to 2^-29 of the largest keep all 11 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossamer.compression.arrays import Vector
from gossamer.compression.codec import Body, Codec
from gossamer.compression.context import Context
from gossamer.compression.registry import Method
from gossamer.errors import MalformedBody

HALF_TOP = 15
"""The largest float16 is just below 2^16; one bit is left so that rounding up cannot reach it."""

_EXPONENT_BIAS = 192
"""Stored exponent = exponent + 192: the largest value is between 2^-149 and 2^64."""


def half_exponent(peak: float) -> int:
    """Exponent e such that peak / 2^e fits float16 with full precision; 0 for peak 0."""
    return int(np.frexp(peak)[1]) - HALF_TOP if peak > 0 else 0


def to_halves(x: Vector, exponent: int) -> npt.NDArray[np.uint16]:
    """float32 (n,) -> float16 bit patterns (n,) of x / 2^exponent."""
    return np.ldexp(x.astype(np.float64), -exponent).astype("<f2").view("<u2")


def from_halves(halves: npt.NDArray[np.float16]) -> Vector:
    """float16 (n,) -> float32 (n,), exact; `MalformedBody` for NaN and infinity."""
    if not np.isfinite(halves).all():
        raise MalformedBody("expected finite values, got NaN or infinity")
    return halves.astype(np.float32)


@dataclass(frozen=True)
class _Single(Codec):
    spec: str = "fp32"
    method: str = "fp32"
    unbiased: bool = True

    def _encode(self, x: Vector, _seed: int, _context: Context) -> bytes:
        return bytes([FP32.tag]) + x.astype("<f4").tobytes()

    def max_bytes(self, d: int) -> int:
        return 1 + 4 * d

    def error_bound(self, _d: int) -> float:
        return 0.0


@dataclass(frozen=True)
class _Half(Codec):
    spec: str = "fp16"
    method: str = "fp16"
    unbiased: bool = False

    def _encode(self, x: Vector, _seed: int, _context: Context) -> bytes:
        exponent = half_exponent(float(np.abs(x).max(initial=0.0)))
        return bytes([FP16.tag, exponent + _EXPONENT_BIAS]) + to_halves(x, exponent).tobytes()

    def max_bytes(self, d: int) -> int:
        return 2 + 2 * d

    def error_bound(self, d: int) -> float:
        return 2.0**-22 + d * 2.0**-78  # rounding of normal halves, and of denormal ones


class _FloatBody(Body):
    def __init__(self, method: str, data: memoryview, d: int, kind: str, exponent: int) -> None:
        self.spec = method
        self.d = d
        self._exponent = exponent
        width = np.dtype(kind).itemsize
        if len(data) != d * width:
            raise MalformedBody(f"expected {d * width} bytes of {d} values, got {len(data)}")
        self._values = np.frombuffer(data, dtype=kind)
        if not np.isfinite(self._values).all():
            raise MalformedBody("expected finite values, got NaN or infinity")

    def _read(self, start: int, stop: int) -> Vector:
        return np.ldexp(self._values[start:stop].astype(np.float32), self._exponent)


def _open_single(data: memoryview, d: int, _context: Context) -> Body:
    return _FloatBody("fp32", data, d, "<f4", 0)


def _open_half(data: memoryview, d: int, _context: Context) -> Body:
    if len(data) == 0:
        raise MalformedBody("expected an exponent, but the body ends")
    return _FloatBody("fp16", data[1:], d, "<f2", data[0] - _EXPONENT_BIAS)


FP32 = Method("fp32", 0x01, lambda _spec: _Single(), _open_single, ("fp32",))
FP16 = Method("fp16", 0x02, lambda _spec: _Half(), _open_half, ("fp16",))
