"""``q8``, ``q4``, ``q4s``: uniform levels between -max and max of a block.

decode = s k with s = max|x| / K and k an integer in [-K, K], K = 127 (8 bits) or 7 (4 bits). ``q8`` and
``q4`` round to the nearest; ``q4s`` rounds up or down at random so that E[k] = x / s: unbiased (QSGD with
the maximum norm: Alistarh, Grubic, Li, Tomioka, Vojnovic 2017). The scale is rounded up, so that no value
clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.compression import bits, scales
from gossamer.compression.arrays import Bytes, Vector
from gossamer.compression.blocks import block_method


@dataclass(frozen=True)
class _Uniform:
    bits: int
    block: int
    at_random: bool = False
    joins_tail: bool = False
    salted: bool = False

    @property
    def _top(self) -> int:
        return (1 << (self.bits - 1)) - 1

    def quantise(self, rows: Vector, _salt: int, _first: int, rng: np.random.Generator) -> tuple[scales.Codes, Bytes]:
        codes = scales.round_up(np.abs(rows.astype(np.float64)).max(axis=1) / self._top)
        scale = scales.from_bytes(scales.to_bytes(codes)).astype(np.float64)
        level = rows / np.where(scale > 0, scale, 1.0)[:, None]
        level = np.floor(level + rng.random(rows.shape)) if self.at_random else np.rint(level)
        # Biased by K + 1: level -K is code 1. Code 0 is never made, but it is a finite number too.
        return codes, bits.pack_rows((level + (self._top + 1)).astype(np.uint8), self.bits)

    def dequantise(self, scale: Vector, codes: Bytes, _salt: int, _first: int) -> Vector:
        level: Vector = codes.astype(np.float32) - np.float32(self._top + 1)
        return np.multiply(level, scale[:, None])

    def error_bound(self, n: int) -> float:
        step = (1 + scales.RELATIVE_ERROR) / self._top  # of max|x|, and max|x|^2 <= ||x||^2
        worst = step if self.at_random else step / 2
        return n * worst**2


Q8 = block_method("q8", 0x03, _Uniform(bits=8, block=256))
Q4 = block_method("q4", 0x04, _Uniform(bits=4, block=128))
Q4S = block_method("q4s", 0x05, _Uniform(bits=4, block=128, at_random=True), unbiased=True)
