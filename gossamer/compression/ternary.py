"""``ternary:P``: the fraction P of largest coordinates, all with one magnitude.

Sparse ternary compression (Sattler, Wiedemann, Müller, Samek 2019, "Robust and communication-efficient
federated learning from non-i.i.d. data"): decode = mu sign(x) on the k largest, mu their mean magnitude,
which is the best value for these positions and signs: ||x - decode||^2 = ||x||^2 - k mu^2. Use it with a
residual.

``ternary:P@layer`` takes the fraction P of each layer (`selection`), ``/msb`` sends the largest first (`significance`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossamer.compression import scales
from gossamer.compression.arrays import Vector
from gossamer.compression.significance import significance_method
from gossamer.compression.sparse import sparse_method


@dataclass(frozen=True)
class SignValues:
    """One bit a value: its sign; the scale is the mean magnitude."""

    width: int = 1

    def quantise(self, values: Vector) -> tuple[int, npt.NDArray[np.int64]]:
        """See `sparse.ValueFormat`."""
        mean = np.abs(values.astype(np.float64)).mean() if values.size else 0.0
        return int(scales.round_nearest(np.array([mean]))[0]), (values < 0).astype(np.int64)

    def dequantise(self, scale: np.float32, codes: npt.NDArray[np.int64]) -> Vector:
        """See `sparse.ValueFormat`."""
        return np.where(codes, -scale, scale).astype(np.float32)

    def error(self, k: int) -> float:
        """1 - ||v||_1^2 / (k ||v||^2), as for ``sign``."""
        return 1 - 1 / k * (1 - scales.RELATIVE_ERROR**2)


_EXAMPLES = ("ternary:0.02", "ternary:0.5", "ternary:0.02@layer")

TERNARY = (
    sparse_method("ternary", 0x10, SignValues(), _EXAMPLES),
    significance_method("ternary/msb", 0x14, SignValues(), ("ternary:0.02/msb", "ternary:0.3@layer/msb")),
)
