"""A count in one byte: four bits of exponent, four of mantissa. Integers only.

Code c below 16 is the count c; above, ``(16 + c % 16) << (c // 16 - 1)``. Counts up to 31 are exact, larger ones
within 1 part in 33; 255 stands for 507,904. Linear bytes scaled by the fullest bin would lose bins below 1/510 of it,
and the tails of a score histogram are where positives and negatives meet.

Shapes: counts int64 (n,), codes uint8 (n,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CODES = np.arange(256, dtype=np.int64)
VALUES: NDArray[np.int64] = np.where(_CODES < 16, _CODES, (16 + _CODES % 16) << np.maximum(_CODES // 16 - 1, 0))
"""Count of each code, ascending, (256,)."""

LARGEST = int(VALUES[-1])

_MIDDLES = (VALUES[:-1] + VALUES[1:]) // 2  # at most this: the lower code


def encode_counts(counts: NDArray[np.int64]) -> bytes:
    """Nearest codes, (n,) bytes; all counts halved until the largest fits, but none that is positive to 0.

    >>> decode_counts(encode_counts(np.array([0, 1, 31, 100, 10**9]))).tolist()
    [0, 1, 1, 1, 491520]
    """
    largest = int(counts.max(initial=0))
    shift = max(0, largest.bit_length() - LARGEST.bit_length())
    if largest >> shift > LARGEST:
        shift += 1
    scaled = np.where(counts > 0, np.maximum(counts >> shift, 1), 0)
    return np.searchsorted(_MIDDLES, scaled, side="left").astype(np.uint8).tobytes()


def decode_counts(codes: bytes) -> NDArray[np.int64]:
    """Int64 (len(codes),)."""
    decoded: NDArray[np.int64] = VALUES[np.frombuffer(codes, np.uint8)]
    return decoded
