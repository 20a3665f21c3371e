"""What a codec leaves unsent, kept exactly: sent + residual = trained, to the bit.

Memory (Seide and others 2014; Karimireddy and others 2019): u = delta + residual is what should go out,
``sent`` is what the receiver will decode. If the update is counted, u - sent remains; if its round closes
without it, all of u does. Both are lattice integers, so nothing is lost to rounding, and the caller
stores both before it sends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossamer.compression.arrays import Lattice
from gossamer.compression.codec import Codec
from gossamer.compression.codecs import decode
from gossamer.compression.context import NOTHING, Context
from gossamer.compression.lattice import from_lattice, narrowed, to_lattice
from gossamer.errors import InputError

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Compressed:
    """An update ready to send and the two residuals it can leave, int32 (d,) in lattice units."""

    body: bytes
    sent: Lattice
    if_counted: Lattice
    if_dropped: Lattice


def send(codec: Codec, units: Lattice, seed: int, context: Context) -> tuple[bytes, Lattice]:
    """Encode int32 (d,): the body, and what the receiver decodes of it."""
    body = codec.encode(from_lattice(units), seed=seed, context=context)
    return body, to_lattice(decode(body, units.size, context))


def compress(
    codec: Codec, delta: Lattice | Integers, residual: Lattice, *, seed: int, context: Context = NOTHING
) -> Compressed:
    """Encode delta + residual. For a codec with ``uses_residual`` False pass a residual of zeros.

    Raises `LatticeOverflow` if the sum, or what remains of it, leaves the lattice.
    """
    if delta.shape != residual.shape or delta.ndim != 1:
        raise InputError(f"expected a residual of shape {delta.shape}, got {residual.shape}")
    wanted = delta.astype(np.int64) + residual
    if_dropped = narrowed(wanted, "update")
    body, sent = send(codec, if_dropped, seed, context)
    return Compressed(body, sent, narrowed(wanted - sent, "residual"), if_dropped)
