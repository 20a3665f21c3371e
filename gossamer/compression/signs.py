"""``sign``: one bit a coordinate and the mean magnitude of its block.

EF-signSGD (Karimireddy, Rebjock, Stich, Jaggi 2019, "Error feedback fixes SignSGD"):
decode(x) = (||x||_1 / n) sign(x), which is the best magnitude for these signs:
||x - decode||^2 = ||x||^2 - ||x||_1^2 / n. Not unbiased: use it with a residual.

A zero has no sign; it gets a seeded random one, because many coordinates of a real update are exactly
zero (39 % were measured) and with a fixed sign every device would push them the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.compression import scales
from gossamer.compression.arrays import Bytes, Vector
from gossamer.compression.blocks import block_method


@dataclass(frozen=True)
class _Sign:
    bits: int = 1
    block: int = 1024
    joins_tail: bool = False
    salted: bool = False

    def quantise(self, rows: Vector, _salt: int, _first: int, rng: np.random.Generator) -> tuple[scales.Codes, Bytes]:
        mean = np.add.reduce(np.abs(rows), axis=1, dtype=np.float64) / rows.shape[1]
        negative = np.packbits(rows < 0, axis=1, bitorder="little")
        zero = np.packbits(rows == 0, axis=1, bitorder="little")
        coins = np.frombuffer(rng.bytes(zero.size), dtype=np.uint8).reshape(zero.shape)
        return scales.round_nearest(mean), negative | (zero & coins)

    def dequantise(self, scale: Vector, codes: Bytes, _salt: int, _first: int) -> Vector:
        sign: Vector = np.float32(1) - np.float32(2) * codes.astype(np.float32)
        return np.multiply(sign, scale[:, None])

    def error_bound(self, n: int) -> float:
        # ||x||_1 >= ||x||_2; the rounded magnitude m' of a mean m costs (m' - m)^2 n <= 2^-18 of it.
        return 1 - 1 / n * (1 - scales.RELATIVE_ERROR**2)


SIGN = block_method("sign", 0x06, _Sign())
