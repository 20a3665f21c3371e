"""``rot1``, ``rot2``, ``rot4``: a random rotation makes every block Gaussian, so fixed levels fit all.

DRIVE (Vargaftik and others 2021) and EDEN (Vargaftik and others 2022). For a block x of n coordinates:
y = R x (`hadamard.rotate`), q = the Lloyd-Max level of N(0, 1) nearest to y sqrt(n) / ||x||, and
decode = s R^T q with

    s = ||x||^2 / <y, q>       unbiased over rotations; ``rot1``, normalised squared error pi/2 - 1 = .571
    s = <y, q> / ||q||^2       least squares, for use with a residual; ``rot1:ls``, 1 - 2/pi = .363

(2 bits .133 and .117, 4 bits .0096 and .0095.) Unbiasedness is exact for a uniform rotation. With Hadamard passes
the bias of ``rot1`` measured over 60,000 rotations is at most 0.4 % of ||x|| for n = 64 to 2,048, but for one vector
(two non-zero values at distance n / 2 - 1 in n = 128: 1.9 %); for n = 24 0.8 %, for n = 12 3.5 %, and below n = 9 up to
29 %, where ``q4s``, which is unbiased for every x, costs as little.

Blocks are 2,048 to 4,095 long, shorter only if d is. With scales and salt that is at most 1.01 bits a parameter from
d = 12,698 on (1.0078 in the limit), 2.02 from 2,298 and 4.02 from 2,200 on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossamer.compression import bits, scales
from gossamer.compression.arrays import Bytes, Vector
from gossamer.compression.blocks import block_method
from gossamer.compression.hadamard import rotate, unrotate

# The positive levels of the Lloyd-Max quantiser of N(0, 1) (Max 1960, "Quantizing for minimum distortion").
# With 1 bit only the sign matters, so the level is 1.
LEVELS: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (0.45278, 1.51042),
    4: (0.12840, 0.38805, 0.65676, 0.94234, 1.25623, 1.61805, 2.06902, 2.73259),
}


_CACHED = 1 << 16
"""Coordinates rotated at once: what the passes over them touch stays in a processor's second cache."""


def _at_once(n: int) -> int:
    """Blocks of n coordinates that fit it."""
    return max(1, _CACHED // n)


@dataclass(frozen=True)
class _Rotated:
    bits: int
    least_squares: bool
    block: int = 2048
    joins_tail: bool = True
    salted: bool = True

    @property
    def _table(self) -> Vector:
        """Levels in ascending order, float32 (2^bits,): a code is an index."""
        positive = np.array(LEVELS[self.bits], dtype=np.float32)
        return np.concatenate([-positive[::-1], positive])

    def quantise(self, rows: Vector, salt: int, first: int, rng: np.random.Generator) -> tuple[scales.Codes, Bytes]:
        """See `blocks.Quantiser`."""
        step = _at_once(rows.shape[1])
        done = [self._quantise(rows[i : i + step], salt, first + i) for i in range(0, len(rows), step)]
        scale = np.concatenate([scale for scale, _ in done])
        packed = np.concatenate([packed for _, packed in done])
        if self.least_squares:
            return scales.round_nearest(scale), packed
        return scales.round_at_random(scale, rng), packed

    def _quantise(self, rows: Vector, salt: int, first: int) -> tuple[npt.NDArray[np.float64], Bytes]:
        """-> exact scales float64 (r,), packed codes."""
        # A power of two brings each block near 1: rotating denormals would lose their last bits.
        exponent = np.frexp(np.abs(rows).max(axis=1))[1]
        near_one = np.ldexp(rows, -exponent[:, None])
        y = rotate(near_one, salt, first).astype(np.float64)
        power = np.square(near_one.astype(np.float64)).sum(axis=1)
        unit = np.sqrt(power / rows.shape[1])
        table = self._table.astype(np.float64)
        # (r, 1) thresholds against (r, n) values: a pass for each is faster than a search for each value.
        codes = np.zeros(rows.shape, dtype=np.uint8)
        for between in (table[1:] + table[:-1]) / 2:
            codes += y >= (between * unit)[:, None]
        q = table[codes] if self.bits > 1 else codes * 2.0 - 1.0
        inner = np.einsum("ij,ij->i", y, q)
        below = np.einsum("ij,ij->i", q, q) if self.least_squares else np.where(inner > 0, inner, 1.0)
        scale = np.ldexp((inner if self.least_squares else power) / below, exponent)
        return scale, bits.pack_rows(codes, self.bits)

    def dequantise(self, scale: Vector, codes: Bytes, salt: int, first: int) -> Vector:
        """See `blocks.Quantiser`."""
        out = np.empty(codes.shape, dtype=np.float32)
        step = _at_once(codes.shape[1])
        for i in range(0, len(codes), step):
            some = slice(i, i + step)
            np.multiply(unrotate(self._table[codes[some]], salt, first + i), scale[some, None], out=out[some])
        return out

    def error_bound(self, n: int) -> float:
        if self.least_squares:
            return 1.0  # contractive, but how much depends on the rotation
        # s = ||x||^2 / <y, q> <= ||x|| / (smallest level), and decode is that times ||q||.
        levels = LEVELS[self.bits]
        return n * (levels[-1] / levels[0]) ** 2


ROTATED = tuple(
    block_method(f"rot{bits}{kind}", tag, _Rotated(bits, least_squares=bool(kind)), unbiased=not kind)
    for bits, kind, tag in (
        (1, "", 0x07),
        (2, "", 0x08),
        (4, "", 0x09),
        (1, ":ls", 0x0A),
        (2, ":ls", 0x0B),
        (4, ":ls", 0x0C),
    )
)
