"""``topk:P/FMT``: the fraction P of largest coordinates, with values in ``q4``, ``sign`` or ``fp16``.

Top-k sparsification with memory (Stich, Cordonnier, Jaggi 2018, "Sparsified SGD with memory"). ``sign``
gives all values one magnitude, like ``ternary``; ``q4`` has 15 levels between -max and max; ``fp16`` is
float16 times a power of two. ``topk:P@layer/FMT`` takes the fraction P of each layer (`selection`), ``/msb`` at the end
sends the largest first (`significance`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossamer.compression import scales
from gossamer.compression.arrays import Vector
from gossamer.compression.floats import from_halves, half_exponent, to_halves
from gossamer.compression.significance import significance_method
from gossamer.compression.sparse import sparse_method
from gossamer.compression.ternary import SignValues


@dataclass(frozen=True)
class _Q4Values:
    """Code = level + 7 for a level -7 to 7 of the scale max|v| / 7; values that round to 0 are not sent."""

    width: int = 4

    def quantise(self, values: Vector) -> tuple[int, npt.NDArray[np.int64]]:
        peak = np.abs(values).max(initial=0.0).astype(np.float64)
        code = scales.round_up(np.array([peak / 7]))
        scale = float(scales.from_bytes(scales.to_bytes(code))[0]) or 1.0
        level = np.rint(values.astype(np.float64) / scale).astype(np.int64)
        return int(code[0]), np.where(level == 0, -1, level + 7)

    def dequantise(self, scale: np.float32, codes: npt.NDArray[np.int64]) -> Vector:
        return np.multiply((codes - 7).astype(np.float32), scale)

    def error(self, k: int) -> float:
        # Half a step of max / 7 each; and rounding to the nearest never moves a value by more than itself.
        return min(1.0, k * ((1 + scales.RELATIVE_ERROR) / 14) ** 2)


@dataclass(frozen=True)
class _HalfValues:
    """Code = the bit pattern of a float16; the scale is the power of two that it is multiplied by."""

    width: int = 16

    def quantise(self, values: Vector) -> tuple[int, npt.NDArray[np.int64]]:
        exponent = half_exponent(float(np.abs(values).max(initial=0.0)))
        exponent = max(exponent, _LEAST_EXPONENT)
        code = scales.round_nearest(np.array([2.0**exponent]))
        return int(code[0]), to_halves(values, exponent).astype(np.int64)

    def dequantise(self, scale: np.float32, codes: npt.NDArray[np.int64]) -> Vector:
        return np.multiply(from_halves(codes.astype("<u2").view("<f2")), scale)

    def error(self, k: int) -> float:
        return 2.0**-22 + k * 2.0**-78


_LEAST_EXPONENT = -126 - 8
"""The scale must have an exact code: 2^-134 is the smallest."""

TOPK = (
    sparse_method("topk/q4", 0x11, _Q4Values(), ("topk:0.01/q4", "topk:0.3/q4", "topk:0.05@layer/q4")),
    sparse_method("topk/sign", 0x12, SignValues(), ("topk:0.01/sign",)),
    sparse_method("topk/fp16", 0x13, _HalfValues(), ("topk:0.01/fp16", "topk:1/fp16")),
    significance_method("topk/q4/msb", 0x15, _Q4Values(), ("topk:0.05/q4/msb",)),
    significance_method("topk/sign/msb", 0x16, SignValues(), ("topk:0.05/sign/msb",)),
    significance_method("topk/fp16/msb", 0x17, _HalfValues(), ("topk:0.05/fp16/msb",)),
)
