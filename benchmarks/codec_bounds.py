"""Bits a parameter that theory asks for: what ``bound_bits`` of the codec benchmark holds.

    sparse     log2 C(d, k) / d for the positions and the width of each of the k values
    random     the width of each of the k values: their positions follow from a seed
    b bits     b
    others     Gaussian rate-distortion at the error reached, 1/2 log2(1 / nmse)

The last is a bound for a Gaussian source only. Real updates have heavy tails and exact zeros, and a codec that knows
more of them than their variance goes below it.
"""

from __future__ import annotations

import math

from gossamer.compression import Codec
from gossamer.compression.blocks import BlockCodec

CODE_BITS = {"fp32": 32.0, "fp16": 16.0, "nf4": 4.0}


def rate_distortion_bits(nmse: float) -> float | None:
    """Bits a parameter of a Gaussian source at this error; None for no error at all, 0 from 1 on."""
    return max(0.0, 0.5 * math.log2(1 / nmse)) if nmse > 0 else None


def sparse_bits(d: int, k: int, width: int) -> float:
    """k positions of d, in any order, with ``width`` bits each; a parameter.

    >>> round(sparse_bits(101_770, 1018, 1), 4)
    0.0907
    """
    positions = (math.lgamma(d + 1) - math.lgamma(k + 1) - math.lgamma(d - k + 1)) / math.log(2)
    return (positions + k * width) / d if d else 0.0


def bound_bits(codec: Codec, d: int, sent: float, nmse: float) -> tuple[float | None, str]:
    """The bound of a codec of ours and its name; ``sent``: non-zero values of a decoded update, mean."""
    values = getattr(codec, "values", None)
    if codec.method.startswith("randk") and values is not None:
        return codec.wanted.count(d) * values.width / d, "values"  # type: ignore[attr-defined]
    if values is not None:
        return sparse_bits(d, round(sent), values.width), "positions and values"
    if isinstance(codec, BlockCodec):
        return float(codec.quantiser.bits), "bits of a code"
    if codec.spec in CODE_BITS:
        return CODE_BITS[codec.spec], "bits of a code"
    return rate_distortion_bits(nmse), "rate-distortion"
