"""Outcomes of majority votes on one-bit bodies, from their bits and scales; see :mod:`sign_majority`.

A vote with scale 0 is a zero and does not count. Where a block has one, its bits are counted one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.majority import majority
from gossamer.aggregator.rules.norms import tree_rows
from gossamer.aggregator.rules.screening import SUSPICIOUS_SQUARES, Screen, Suspicious
from gossamer.aggregator.rules.updates import Updates
from gossamer.compression.hadamard import rotate, unrotate
from gossamer.compression.votes import Votes

Outcome = NDArray[np.float64]
Scales = NDArray[np.float32]
Bits = NDArray[np.uint8]

COUNTED_BYTES = 8 << 20
"""Bits of all bodies that are counted at once: bodies may be mapped from a file that is larger than memory."""

COUNTED_BLOCKS = 192
"""Blocks that are counted at once, of few bodies: memory that is written again costs less than fresh memory."""

ROTATED_AT_ONCE = 32
"""Blocks of 2,048 that are rotated at once."""


def packed_outcome(votes: list[Votes], d: int, screen: Screen) -> Outcome:
    """Of bodies that are not rotated and share their blocks, float64 (d,)."""
    block, full = votes[0].block, len(votes[0].full[0])
    split = full * block
    out = np.empty(d)
    at_once = max(1, min(COUNTED_BLOCKS, full, COUNTED_BYTES * 8 // (block * len(votes))))
    scratch = np.empty((len(votes) * at_once, block // 8), dtype=np.uint8)
    for low in range(0, full, at_once):
        high = min(low + at_once, full)
        rows = scratch[: len(votes) * (high - low)]
        np.concatenate([each.full[1][low:high] for each in votes], out=rows)
        bits = rows.reshape(len(votes), high - low, -1)
        scales = np.array([each.full[0][low:high] for each in votes])
        _watch(screen, scales, block, 1.0)
        _outcomes(bits, scales, block, False, out[low * block : high * block].reshape(-1, block))
    if split < d:
        scales = np.array([each.last[0] for each in votes])
        _watch(screen, scales, d - split, 1.0)
        out[split:] = _outcomes(_stacked([each.last[1] for each in votes]), scales, d - split, False)[0]
    return out


def rotated_outcome(updates: Updates, votes: list[Votes | None], salt: int, screen: Screen) -> Outcome:
    """Of updates whose majority carries the rotation ``salt``; the others are rotated. Float64 (d,)."""
    sharing = next(each for each in votes if each is not None and each.salt == salt)
    own = [each if each is not None and each.salt == salt else None for each in votes]
    block, full = sharing.block, len(sharing.full[0])
    split = full * block
    out = np.empty(updates.d)
    runs = [(i, min(i + ROTATED_AT_ONCE, full)) for i in range(0, full, ROTATED_AT_ONCE)]
    for low, high in runs:
        pieces = [None if each is None else (each.full[0][low:high], each.full[1][low:high]) for each in own]
        values = _rotated(updates, pieces, (low * block, high * block), block, salt, low, screen)
        out[low * block : high * block] = values.reshape(-1)
    if split < updates.d:
        pieces = [None if each is None else each.last for each in own]
        size = updates.d - split
        out[split:] = _rotated(updates, pieces, (split, updates.d), size, salt, full, screen)[0]
    return out


def _rotated(
    updates: Updates, pieces: list[tuple[Scales, Bits] | None], place: tuple[int, int], size: int, salt: int,
    first: int, screen: Screen,
) -> Outcome:  # fmt: skip
    """Outcome of r blocks of ``size``, float64 (r, size), rotated back."""
    scales, bits = [], []
    for row, piece in enumerate(pieces):
        if piece is None:
            x = updates.checked_read(row, *place).reshape(-1, size)
            if not np.isfinite(x).all():
                raise Suspicious
            turned = rotate(x, salt, first)
            lengths = tree_rows(np.abs(turned), 1 << (size - 1).bit_length()) / size
            piece = (lengths.astype(np.float32), np.packbits(turned > 0, axis=1, bitorder="little"))
        scales.append(piece[0])
        bits.append(piece[1])
    stacked: Scales = np.array(scales, dtype=np.float32)
    _watch(screen, stacked, size, float(size))
    voted = _outcomes(_stacked(bits), stacked, size, True)
    return unrotate(voted.astype(np.float32), salt, first).astype(np.float64)


def _stacked(bits: list[Bits]) -> Bits:
    """Bits (r, b) of n bodies -> (n, r, b), one after the other in memory."""
    return np.array(bits)


def _watch(screen: Screen, scales: Scales, size: int, spread: float) -> None:
    """Tell the screen about scales (n, blocks); the largest square of a coordinate is ``spread`` of theirs at most."""
    if screen.watches:
        exact = scales.astype(np.float64) ** 2
        if (exact * spread >= SUSPICIOUS_SQUARES).any():
            raise Suspicious
        screen.add_known(exact.sum(axis=1) * size)


def _outcomes(bits: Bits, scales: Scales, size: int, positive: bool, out: Outcome | None = None) -> Outcome:
    """Bits (n, r, b) and scales (n, r) of r blocks of ``size`` -> float64 (r, size), in ``out`` if there is one."""
    n, r, b = bits.shape
    more, tied = majority(bits.reshape(n, r * b))
    signs = _signs(more.reshape(r, b), size, positive)
    if tied.any():
        signs *= np.unpackbits(~tied.reshape(r, b), axis=1, count=size, bitorder="little").view(np.int8)
    for row, of_voting in _with_silent(bits, scales, size, positive):
        signs[row] = of_voting
    length = np.sort(np.ascontiguousarray(scales.T), axis=1)[:, (n - 1) // 2].astype(np.float64)
    return np.multiply(signs, length[:, None], out=out)


def _signs(bits: Bits, size: int, positive: bool) -> NDArray[np.int8]:
    """+1 and -1 of packed bits (r, b), int8 (r, size)."""
    set_bits: NDArray[np.int8] = np.unpackbits(bits, axis=1, count=size, bitorder="little").view(np.int8)
    set_bits += set_bits
    out: NDArray[np.int8] = set_bits - np.int8(1) if positive else np.int8(1) - set_bits
    return out


def _with_silent(bits: Bits, scales: Scales, size: int, positive: bool) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Blocks in which not every body votes, and their outcome -1, 0 or 1 (size,)."""
    for row in np.flatnonzero((scales == 0).any(axis=0)).tolist():
        voting = bits[scales[:, row] > 0, row]
        yield row, np.sign(_signs(voting, size, positive).sum(axis=0, dtype=np.int64))
