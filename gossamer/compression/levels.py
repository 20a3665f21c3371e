"""Quantised coefficients, few of them other than zero, through the range coder in contexts.

Coefficients come with two numbers that both ends know: a group, all of whose members are equally likely to
be nonzero (for `hist`: layer, log2 of the row, log2 of the column), and a coarse group that shares its
magnitudes' statistics. A body is, in one range-coded message,

    which are nonzero, group by group       `runs.encode_flags` with the group's counts
    |level| of each nonzero                 unary flags "greater than j", j = 1 .. 14, counted by (coarse, j);
                                            then "greater than 15" and, if so, |level| - 16 in Elias-gamma bits
    signs                                   plain bits

Counts start from a `LevelPrior`, which may be informed by earlier messages, see `level_counts`. Time: a few
steps for a nonzero and one for a group. Every nonzero takes at least its sign's bit, so a hostile body has
no more of them than bits.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gossamer.compression.level_counts import LevelPrior, LevelStatistics
from gossamer.compression.range_coder import IMPLICIT_BYTES, RAW_BITS, AdaptiveBit, Decoder, Encoder
from gossamer.compression.runs import decode_flags, encode_flags
from gossamer.errors import InputError, MalformedBody

__all__ = ["MAX_LEVEL", "LevelPrior", "LevelStatistics", "Scan", "decode_levels", "encode_levels", "scan_of"]

MAX_LEVEL = (1 << 15) - 1
"""Of |level|: int16. A single message has at most 15; sums of several may have more."""

UNARY = 14
"""Unary flags before "greater than 15"."""

BEYOND = 0
"""The slot of (coarse, .) in which "greater than 15" is counted; j = 0 has no other use."""

SCANS_KEPT = 4
"""Scans in memory, 8 bytes a coefficient: a device has one model, a server a few."""

Levels = npt.NDArray[np.int16]
Groups = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Scan:
    """The order of coding, from groups and coarse groups, int32 (D,) each, both >= 0.

    ``order`` (D,): coefficients sorted by group, stably. ``starts`` (G + 1,): where in ``order`` each group
    begins. ``coarse`` (D,) in coding order.
    """

    order: npt.NDArray[np.intp]
    starts: list[int]
    coarse: Groups

    @classmethod
    def of(cls, groups: Groups, coarse: Groups) -> Scan:
        """The scan; 5 ms for 100,000 coefficients on x86: keep it, or use `encode_levels`, which does."""
        order = np.argsort(groups, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(groups))])
        return cls(order, [int(start) for start in starts], coarse[order])


@functools.lru_cache(maxsize=SCANS_KEPT)
def _scan(groups: bytes, coarse: bytes) -> Scan:
    return Scan.of(np.frombuffer(groups, dtype=np.int32), np.frombuffer(coarse, dtype=np.int32))


def scan_of(groups: Groups, coarse: Groups) -> Scan:
    """`Scan.of`, remembered by content: 0.3 ms for 100,000 coefficients that came before."""
    if groups.shape != coarse.shape or groups.ndim != 1:
        raise ValueError(f"expected groups of one shape (D,), got {groups.shape} and {coarse.shape}")
    return _scan(groups.astype(np.int32).tobytes(), coarse.astype(np.int32).tobytes())


def encode_levels(levels: npt.NDArray[Any], groups: Groups, coarse: Groups, prior: LevelPrior) -> bytes:
    """Integers (D,), |level| <= `MAX_LEVEL` -> bytes; D, the groups and the prior are not among them.

    Raises `InputError` for levels beyond or of another shape, `ValueError` for a prior for fewer groups.
    """
    scan = scan_of(groups, coarse)
    if levels.shape != scan.order.shape or int(np.abs(levels.astype(np.int64)).max(initial=0)) > MAX_LEVEL:
        raise InputError(f"expected {len(scan.order)} levels of magnitude up to {MAX_LEVEL}")
    _check(scan, prior)
    ordered = levels[scan.order].astype(np.int64)
    at = np.flatnonzero(ordered)
    encoder = Encoder()
    splits = np.searchsorted(at, scan.starts).tolist()
    positions = at.tolist()
    for g, (zeros, ones) in enumerate(prior.flags[: len(scan.starts) - 1].tolist()):
        start, end = scan.starts[g], scan.starts[g + 1]
        if end > start:
            inside = [p - start for p in positions[splits[g] : splits[g + 1]]]
            encode_flags(encoder, inside, end - start, zeros, ones)
    contexts = _Magnitudes(prior)
    for c, magnitude in zip(scan.coarse[at].tolist(), np.abs(ordered[at]).tolist(), strict=True):
        contexts.encode(encoder, c, magnitude)
    _encode_signs(encoder, ordered[at] < 0)
    return encoder.finish()


def decode_levels(data: bytes | memoryview, groups: Groups, coarse: Groups, prior: LevelPrior) -> Levels:
    """The inverse of `encode_levels` -> int16 (D,).

    Raises `MalformedBody` for any bytes it does not make; time in proportion to G + 8 len(data), but for
    making the result.
    """
    scan = scan_of(groups, coarse)
    _check(scan, prior)
    decoder = Decoder(data)
    most = 8 * (len(data) + IMPLICIT_BYTES + 1)  # the last interval holds up to 8 bits more
    positions: list[int] = []
    for g, (zeros, ones) in enumerate(prior.flags[: len(scan.starts) - 1].tolist()):
        start, end = scan.starts[g], scan.starts[g + 1]
        if end > start:
            inside = decode_flags(decoder, end - start, zeros, ones, most - len(positions))
            positions.extend([start + p for p in inside])
    at = np.array(positions, dtype=np.int64)
    contexts = _Magnitudes(prior)
    magnitudes = np.array([contexts.decode(decoder, c) for c in scan.coarse[at].tolist()], dtype=np.int16)
    negative = _decode_signs(decoder, len(at))
    decoder.finish()
    levels = np.zeros(len(scan.order), dtype=np.int16)
    levels[scan.order[at]] = np.where(negative, -magnitudes, magnitudes)
    return levels


def _check(scan: Scan, prior: LevelPrior) -> None:
    if len(prior.flags) < len(scan.starts) - 1 or len(prior.magnitudes) <= int(scan.coarse.max(initial=-1)):
        raise ValueError("expected a prior for every group and coarse group")


class _Magnitudes:
    """The adaptive contexts of |level|, one for each (coarse group, slot) in use."""

    __slots__ = ("_contexts", "_prior")

    def __init__(self, prior: LevelPrior) -> None:
        self._prior = prior.magnitudes
        self._contexts: dict[int, list[AdaptiveBit]] = {}

    def _of(self, coarse: int) -> list[AdaptiveBit]:
        contexts = self._contexts.get(coarse)
        if contexts is None:
            contexts = [AdaptiveBit(stop, more) for stop, more in self._prior[coarse].tolist()]
            self._contexts[coarse] = contexts
        return contexts

    def encode(self, encoder: Encoder, coarse: int, magnitude: int) -> None:
        """Code 1 <= magnitude <= `MAX_LEVEL`."""
        contexts = self._of(coarse)
        for j in range(1, min(magnitude, UNARY) + 1):
            contexts[j].encode(encoder, magnitude > j)
        if magnitude > UNARY:
            contexts[BEYOND].encode(encoder, magnitude > UNARY + 1)
        if magnitude > UNARY + 1:
            rest = magnitude - UNARY - 1
            more = rest.bit_length() - 1
            for bit in [1] * more + [0]:  # as many 1s as bits follow
                encoder.raw(bit, 1)
            encoder.raw(rest & ((1 << more) - 1), more)

    def decode(self, decoder: Decoder, coarse: int) -> int:
        """The inverse of `encode`."""
        contexts = self._of(coarse)
        j = 1
        while j <= UNARY and contexts[j].decode(decoder):
            j += 1
        if j <= UNARY or not contexts[BEYOND].decode(decoder):
            return j
        more = 0
        while decoder.raw(1):
            more += 1
            if more >= RAW_BITS - 1:
                raise MalformedBody(f"expected levels up to {MAX_LEVEL}")
        magnitude = UNARY + 1 + (1 << more | decoder.raw(more))
        if magnitude > MAX_LEVEL:
            raise MalformedBody(f"expected levels up to {MAX_LEVEL}, got {magnitude}")
        return magnitude


def _encode_signs(encoder: Encoder, negative: npt.NDArray[np.bool_]) -> None:
    """0/1 (n,), `RAW_BITS` at a time."""
    packed = np.packbits(negative, bitorder="little").tobytes()
    for i in range(0, len(negative), RAW_BITS):
        encoder.raw(int.from_bytes(packed[i // 8 : i // 8 + 2], "little"), min(RAW_BITS, len(negative) - i))


def _decode_signs(decoder: Decoder, n: int) -> npt.NDArray[np.bool_]:
    chunks = [decoder.raw(min(RAW_BITS, n - i)) for i in range(0, n, RAW_BITS)]
    packed = np.array(chunks, dtype="<u2").view(np.uint8)
    return np.unpackbits(packed, count=n, bitorder="little").astype(np.bool_)
