"""The fixed-point lattice on which the shared model lives.

A float sum depends on the order of its terms; an integer sum does not. Model, delta and residual are
therefore integers in units of 2^-20, so that every path to a model version gives the same bytes on any
machine and "sent + residual = trained" holds to the bit. 2^-20 is 100 times finer than what a 4-bit codec
can resolve of an update; the range of int32 then is +-2048, far beyond a healthy weight.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from gossamer.compression.arrays import Lattice, Vector
from gossamer.errors import LatticeOverflow, NonFiniteInput

LATTICE_BITS = 20
"""A lattice unit is 2^-20."""

MAX_LATTICE = 2048.0
"""Magnitudes on the lattice are below this."""

DIGEST_BYTES = 16
"""Of SHA-256: 2^64 work for a collision, and the manifest's signature stands in front of it."""

_UNITS = float(1 << LATTICE_BITS)
_MAX = float(np.iinfo(np.int32).max)


def to_lattice(vector: npt.ArrayLike) -> Lattice:
    """Real numbers (d,) -> lattice units int32 (d,), to the nearest, ties to even.

    Raises `NonFiniteInput` for NaN or infinity, `LatticeOverflow` for a magnitude of 2048 or more.
    """
    # The product is exact: a float32 times a power of two, in float64.
    units = np.rint(np.asarray(vector, dtype=np.float64) * _UNITS)
    if not np.isfinite(units).all():
        raise NonFiniteInput("expected finite numbers for the lattice, got NaN or infinity")
    if units.size and float(np.abs(units).max()) > _MAX:
        worst = float(np.abs(units).max()) / _UNITS
        raise LatticeOverflow(
            f"expected magnitudes below {(_MAX + 1) / _UNITS:.0f}, got {worst:.6g}; "
            "training may have diverged: lower the learning rate"
        )
    return units.astype(np.int32)


def from_lattice(units: npt.NDArray[np.integer]) -> Vector:
    """Lattice units (d,) -> float32 (d,); exact below 2^24 units (16.0), to the nearest above."""
    return (np.asarray(units).astype(np.float64) / _UNITS).astype(np.float32)


def narrowed(units: npt.NDArray[np.int64], what: str) -> Lattice:
    """int64 -> int32 (d,), or `LatticeOverflow` naming ``what`` left the lattice."""
    if units.size and max(-int(units.min()), int(units.max())) > _MAX:
        raise LatticeOverflow(
            f"the {what} left the lattice (magnitude 2048 or more); training may have diverged: lower the learning rate"
        )
    return units.astype(np.int32)


def digest(units: Lattice) -> bytes:
    """The name of a model version: the first 16 bytes of SHA-256 over little-endian int32."""
    return hashlib.sha256(np.ascontiguousarray(units, dtype="<i4").tobytes()).digest()[:DIGEST_BYTES]
