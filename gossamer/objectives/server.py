"""The server's half: what a cohort sent beside its updates -> what the next manifest carries. Pure.

``auc-minimax``: mean (or median, where devices may lie) of the cohort's scalars; the next cohort starts from it.
``pairwise``: the last histogram of every turn of the cycle is kept, and all are merged: a cohort meets the scores of
every cohort, not only of the one before it. Where cohorts are dealt afresh each cycle, a device may be in two turns'
histograms, or in none, until the cycle is over.

What does not parse is left out and its position named; a round without anything usable changes nothing. A group is 1
cohort's histogram of 75 bytes; at most MAX_TURNS are kept.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gossamer.errors import InputError, MalformedMessage
from gossamer.objectives import histogram
from gossamer.objectives.auc_minimax import Dual
from gossamer.objectives.histogram import ScoreHistogram
from gossamer.objectives.merging import SIZE_CAP, merge

MAX_TURNS = 4096
"""Turns with a histogram of their own: 330 kB of state; a longer cycle shares them."""

_GROUP = struct.Struct(f">II{histogram.SECTION_BYTES}s")

Plain = int | str | bytes


def combine_dual(
    last: Dual, sent: Sequence[bytes], weights: Sequence[float] | None = None, *, robust: bool = False
) -> tuple[Dual, tuple[int, ...]]:
    """The scalars for the next manifest, and the positions in ``sent`` that were refused.

    Args:
        last: what the cohort started from; the answer if nothing is usable.
        sent: the devices' sections, in any order.
        weights: what each update weighs in the model, positive; None: all the same.
        robust: coordinate-wise median instead of the weighted mean; weights are ignored then.
    """
    shares = [1.0] * len(sent) if weights is None else list(weights)
    if len(shares) != len(sent) or not all(0.0 < share < float("inf") for share in shares):
        raise InputError(f"expected a positive weight for each of {len(sent)} devices, got {weights}")
    usable, refused = [], []
    for position, (data, share) in enumerate(zip(sent, shares, strict=True)):
        try:
            it = Dual.parse(data)
        except MalformedMessage:
            refused.append(position)
            continue
        usable.append((it.positive_centre, it.negative_centre, it.dual, share))
    if not usable:
        return last, tuple(refused)
    table = np.array(sorted(usable))  # sums in a fixed order: the same bits for any order of arrival
    if robust:
        middle = np.median(table[:, :3], axis=0)
    else:
        middle = (table[:, :3] * table[:, 3:]).sum(axis=0) / table[:, 3].sum()
    return Dual(*middle.tolist()).bounded(), tuple(refused)


@dataclass(frozen=True, slots=True)
class ScorePool:
    """The last histogram of each turn, and how many devices it is of; ascending by turn."""

    turns: tuple[tuple[int, int, ScoreHistogram], ...] = ()

    def absorb(self, turn: int, sent: Sequence[bytes], cap: int = SIZE_CAP) -> tuple[ScorePool, tuple[int, ...]]:
        """The pool with this cohort's histogram in the place of the turn's last; and the positions refused.

        Args:
            turn: of the cycle, from 0: round modulo cohorts.
            sent: the devices' sections, in any order.
            cap: see `merging`.
        """
        usable, refused = [], []
        for position, data in enumerate(sent):
            try:
                usable.append(ScoreHistogram.parse(data))
            except MalformedMessage:
                refused.append(position)
        if not usable:
            return self, tuple(refused)
        turn %= MAX_TURNS
        merged = merge(usable, [1] * len(usable), cap)
        others = [each for each in self.turns if each[0] != turn]
        entry = (turn, len(usable), merged)
        return ScorePool(tuple(sorted([*others, entry], key=lambda each: each[0]))), tuple(refused)

    def pooled(self, cap: int = SIZE_CAP) -> ScoreHistogram | None:
        """The fleet's histogram, or None before the first."""
        if not self.turns:
            return None
        return merge([each for _, _, each in self.turns], [devices for _, devices, _ in self.turns], cap)

    def section(self, cap: int = SIZE_CAP) -> bytes | None:
        """:meth:`pooled` for the manifest, 75 bytes."""
        pooled = self.pooled(cap)
        return None if pooled is None else pooled.serialize()

    def to_dict(self) -> dict[str, Plain]:
        """Plain values: a CBOR map without tags."""
        packed = [_GROUP.pack(turn, devices, each.serialize()) for turn, devices, each in self.turns]
        return {"objective": "pairwise", "turns": b"".join(packed)}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> ScorePool:
        """Inverse of :meth:`to_dict`; raises InputError if it is something else's or damaged."""
        packed = data.get("turns")
        if data.get("objective") != "pairwise" or not isinstance(packed, bytes) or len(packed) % _GROUP.size:
            raise InputError("stored state is not a score pool: begin with ScorePool()")
        turns = []
        try:
            for turn, devices, section in _GROUP.iter_unpack(packed):
                turns.append((turn, devices, ScoreHistogram.parse(section)))
        except MalformedMessage as wrong:
            raise InputError(f"stored score pool is damaged: begin with ScorePool(); {wrong}") from wrong
        return cls(tuple(turns))


def dual_to_dict(it: Dual) -> dict[str, Plain]:
    """Plain values: a CBOR map without tags."""
    return {"objective": "auc-minimax", "scalars": it.serialize()}


def dual_from_dict(data: Mapping[str, object]) -> Dual:
    """Inverse of :func:`dual_to_dict`; raises InputError if it is something else's or damaged."""
    packed = data.get("scalars")
    if data.get("objective") != "auc-minimax" or not isinstance(packed, bytes):
        raise InputError("stored state is not of auc-minimax: begin with Dual()")
    try:
        return Dual.parse(packed)
    except MalformedMessage as wrong:
        raise InputError(f"stored state of auc-minimax is damaged: begin with Dual(); {wrong}") from wrong
