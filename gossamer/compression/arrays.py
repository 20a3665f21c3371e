"""The array types of this package, and the check every float passes before it is encoded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gossamer.errors import InputError, NonFiniteInput

Vector = npt.NDArray[np.float32]
Lattice = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]

MAX_COORDINATES = 1 << 28
"""Coordinates in a model: 1 GiB of float32; above this a size is a mistake or an attack."""

MAX_MAGNITUDE = 2.0**64
"""Of an encoded value. Far above any weight (the lattice ends at 2^11), and small enough that no
sum, rotation or scale that a codec forms of such values leaves the range of float32."""


def checked_vector(x: npt.ArrayLike) -> Vector:
    """``x`` as a contiguous float32 vector.

    Raises `InputError` if it is not one-dimensional or too long and `NonFiniteInput` if a value is
    NaN, infinite, or beyond `MAX_MAGNITUDE`.
    """
    vector = np.ascontiguousarray(x, dtype=np.float32)
    if np.ndim(x) != 1 or vector.size > MAX_COORDINATES:
        raise InputError(f"expected a vector of at most {MAX_COORDINATES} coordinates, got shape {np.shape(x)}")
    # NaN compares false, so this one comparison finds NaN, infinity and the far too large.
    fine = np.abs(vector) <= np.float32(MAX_MAGNITUDE)
    if not fine.all():
        at = int(np.argmin(fine))
        raise NonFiniteInput(
            f"expected finite numbers of magnitude below 2^64, got {vector[at]} at coordinate {at}; "
            "training may have diverged: lower the learning rate"
        )
    return vector
