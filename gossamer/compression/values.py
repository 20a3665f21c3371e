"""Formats of single values that round at random, so that the expectation of decode is the value: for ``randk``.

A scale and a code for each: ``fp16`` is float16 times a power of two, to the nearest (2^-11 is no bias to speak of);
``q4`` has 15 levels between -max and max; ``sign`` has -max and max, with the odds that make the mean right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gossamer.compression import scales
from gossamer.compression.arrays import Vector
from gossamer.compression.floats import from_halves, half_exponent, to_halves
from gossamer.errors import UnknownCodec

Codes = npt.NDArray[np.int64]


class RandomValues(Protocol):
    """How values are written: one scale for all, ``width`` bits for each."""

    @property
    def width(self) -> int:
        """Bits a value."""

    @property
    def max_scale(self) -> float:
        """A scale up to which decoded values times 2^28 are finite."""

    def quantise(self, values: Vector, rng: np.random.Generator, /) -> tuple[int, Codes]:
        """float32 (k,) -> scale code, codes (k,)."""

    def dequantise(self, scale: np.float32, codes: Codes, /) -> Vector:
        """Scale and codes (k,) -> float32 (k,); `MalformedBody` for codes that are no number."""

    def growth(self, k: int) -> float:
        """A bound of ||decoded|| / ||values|| for k values."""


@dataclass(frozen=True)
class _Levels:
    """2 top + 1 levels i of the scale max|v| / top; with one bit only -1 and 1."""

    width: int
    top: int
    step: int
    max_scale: float = scales.MAX_SCALE

    def quantise(self, values: Vector, rng: np.random.Generator) -> tuple[int, Codes]:
        """See `RandomValues`."""
        peak = np.abs(values).max(initial=0.0).astype(np.float64)
        code = scales.round_up(np.array([peak / self.top]))
        scale = float(scales.from_bytes(scales.to_bytes(code))[0]) or 1.0
        above = (values.astype(np.float64) / scale + self.top) / self.step
        level = np.floor(above + rng.random(values.shape)).astype(np.int64)
        return int(code[0]), np.clip(level, 0, 2 * self.top // self.step)

    def dequantise(self, scale: np.float32, codes: Codes) -> Vector:
        """See `RandomValues`."""
        return np.multiply((codes * self.step - self.top).astype(np.float32), scale)

    def growth(self, k: int) -> float:
        """See `RandomValues`: no decoded value is a step further from 0 than its value."""
        return 1 + self.step * float(np.sqrt(k)) / self.top * (1 + scales.RELATIVE_ERROR)


@dataclass(frozen=True)
class _Halves:
    """Code = the bit pattern of a float16; the scale is the power of two that it is multiplied by."""

    width: int = 16
    max_scale: float = 2.0**80

    def quantise(self, values: Vector, _rng: np.random.Generator) -> tuple[int, Codes]:
        """See `RandomValues`."""
        exponent = max(half_exponent(float(np.abs(values).max(initial=0.0))), _LEAST_EXPONENT)
        code = scales.round_nearest(np.array([2.0**exponent]))
        return int(code[0]), to_halves(values, exponent).astype(np.int64)

    def dequantise(self, scale: np.float32, codes: Codes) -> Vector:
        """See `RandomValues`."""
        return np.multiply(from_halves(codes.astype("<u2").view("<f2")), scale)

    def growth(self, _k: int) -> float:
        """See `RandomValues`."""
        return 1.01


_LEAST_EXPONENT = -126 - 8
"""The scale must have an exact code: 2^-134 is the smallest."""

_FORMATS: dict[str, RandomValues] = {
    "fp16": _Halves(),
    "q4": _Levels(width=4, top=7, step=1),
    "sign": _Levels(width=1, top=1, step=2),
}


def values_of(name: str) -> RandomValues:
    """The format of this name; raises `UnknownCodec`."""
    if name not in _FORMATS:
        raise UnknownCodec(f"expected one of {', '.join(_FORMATS)}, got {name!r}")
    return _FORMATS[name]
