"""Small unsigned integers to packed bytes and back, least significant bit first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gossamer.compression.arrays import Bytes


def packed_bytes(count: int, width: int) -> int:
    """Bytes that ``count`` fields of ``width`` bits take."""
    return (count * width + 7) // 8


def to_bits(fields: npt.NDArray[Any], width: int) -> Bytes:
    """Unsigned fields (n,) below 2^width -> their bits as 0/1 uint8 (n * width,)."""
    shifts = np.arange(width, dtype=np.int64)
    return ((fields.astype(np.int64)[:, None] >> shifts) & 1).astype(np.uint8).reshape(-1)


def from_bits(bits: Bytes, width: int) -> npt.NDArray[np.int64]:
    """0/1 uint8 (n * width,) -> fields int64 (n,); width > 0."""
    table = bits.reshape(-1, width)
    fields = np.zeros(len(table), dtype=np.int64)
    for bit in range(width):  # one pass a bit needs an eighth of the memory of a matrix product
        fields |= table[:, bit].astype(np.int64) << bit
    return fields


def pack_rows(codes: Bytes, width: int) -> Bytes:
    """Codes below 2^width, uint8 (r, n), width in 1, 2, 4, 8 -> uint8 (r, ceil(n * width / 8))."""
    if width == 8:
        return codes
    if width == 1:
        return np.packbits(codes, axis=1, bitorder="little")
    each = 8 // width
    short = -codes.shape[1] % each
    full = np.pad(codes, ((0, 0), (0, short))) if short else codes
    out: Bytes = full[:, 0::each].copy()
    for i in range(1, each):
        out |= full[:, i::each] << np.uint8(i * width)
    return out


def unpack_rows(packed: Bytes, width: int, n: int) -> Bytes:
    """The inverse of `pack_rows` for rows of n codes."""
    if width == 8:
        return packed
    if width == 1:
        return np.unpackbits(packed, axis=1, count=n, bitorder="little")
    each = 8 // width
    out: Bytes = np.empty((packed.shape[0], packed.shape[1] * each), dtype=np.uint8)
    for i in range(each):
        out[:, i::each] = (packed >> np.uint8(i * width)) & np.uint8((1 << width) - 1)
    return out[:, :n]
