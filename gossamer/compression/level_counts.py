"""What the coder of `levels` expects: prior counts, and the statistics of earlier messages they start from.

`LevelStatistics` sums up messages with a weight of 7/10 for each message since: for every group how many
were nonzero, for every coarse group how often each magnitude came. Zeros follow from the groups' sizes and
the sum of the weights. Integers in `PART` of an observation throughout, rounded down: both ends get the
same from the same messages, and old traces end.

Prior counts: two observations for a group and for a magnitude's flag, plus 1/2
(down) or 3/20 (up) of the statistics, with nonzeros and magnitudes scaled to the number expected now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gossamer.compression import entropy
from gossamer.compression.arrays import MAX_COORDINATES
from gossamer.compression.range_coder import COUNT_UNIT, MAX_TOTAL, Decoder
from gossamer.compression.runs import MAX_COUNT
from gossamer.errors import MalformedBody

SLOTS = 15
"""Magnitude contexts of a coarse group: slot j = 1 .. 14 for "greater than j", slot 0 for "greater than 15"."""

MAGNITUDES = 16
"""Magnitudes told apart: 1 .. 15, and all above."""

PART = 64
"""Parts of an observation in `LevelStatistics`."""

DECAY = (7, 10)
"""Weight of a message against that of the next: the model moves on, and its past tells less."""

MAX_WEIGHT = 4 * PART
"""Of all messages together: the sum of the powers of 7/10 is 3.33."""

MAX_GROUPS = 1 << 12
"""Of each kind in serialized statistics: 32 layers of 11 x 11 octaves. Bounds the time of a hostile string."""

WEIGHT_DOWN = (1, 2)
WEIGHT_UP = (3, 20)
"""Of the statistics of past steps in the prior of a step and of a device's update."""

BASE_STOP, BASE_MORE = 1229, 819
"""1.2 and 0.8 in `COUNT_UNIT`: prior counts of a magnitude that stays and one that goes on."""

BEYOND_STOP, BEYOND_MORE = 4096, 128
"""4 and 1/8: "greater than 15" comes in sums of messages only."""

MAX_WEIGHTING = 1 << 10
"""Of either side of a fraction in `LevelPrior.informed`: products stay below 2^63."""

SPARSITY_UNIT = 1024
MAX_SPARSITY = 64 * SPARSITY_UNIT
"""Of nonzeros expected now over those of the statistics, in 1/1024."""

Counts = npt.NDArray[np.int64]
Groups = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class LevelStatistics:
    """Counts of past messages, in `PART`, older ones weighing less.

    ``weight``: the sum of the messages' weights. ``nonzeros`` int64 (G,). ``magnitudes`` int64 (C, 16): how
    often |level| was 1 .. 15 and more.
    """

    weight: int
    nonzeros: Counts
    magnitudes: Counts

    @classmethod
    def empty(cls) -> LevelStatistics:
        """Of no message, for any groups."""
        return cls(0, np.zeros(0, dtype=np.int64), np.zeros((0, MAGNITUDES), dtype=np.int64))

    @classmethod
    def of(cls, levels: npt.NDArray[Any], groups: Groups, coarse: Groups) -> LevelStatistics:
        """Of one message: levels, groups and coarse groups (D,)."""
        if not levels.shape == groups.shape == coarse.shape:
            raise ValueError(f"expected three of one shape, got {levels.shape}, {groups.shape}, {coarse.shape}")
        at = np.flatnonzero(levels)
        magnitude = np.minimum(np.abs(levels[at].astype(np.int64)), MAGNITUDES) - 1
        nonzeros = np.bincount(groups[at], minlength=_count(groups))
        cells = np.bincount(coarse[at].astype(np.int64) * MAGNITUDES + magnitude, minlength=_count(coarse) * MAGNITUDES)
        return cls(PART, PART * nonzeros.astype(np.int64), PART * cells.astype(np.int64).reshape(-1, MAGNITUDES))

    def decayed_plus(self, new: LevelStatistics) -> LevelStatistics:
        """These, weighing 7/10 of what they did, and ``new`` (of one message)."""
        times, over = DECAY
        groups, coarse = (max(map(len, pair)) for pair in zip(self._counts(), new._counts(), strict=True))
        return LevelStatistics(
            self.weight * times // over + new.weight,
            _padded(self.nonzeros, groups) * times // over + _padded(new.nonzeros, groups),
            _padded(self.magnitudes, coarse) * times // over + _padded(new.magnitudes, coarse),
        )

    def prior(self, groups: Groups, coarse: Groups, count: int, *, upward: bool) -> LevelPrior:
        """What a message of about ``count`` nonzeros looks like: a device's (``upward``) or a step's."""
        flat = LevelPrior.flat(_count(groups), _count(coarse), groups.size, count)
        past = int(self.nonzeros.sum())
        if not past:
            return flat
        sparsity = min(max(count * self.weight * SPARSITY_UNIT // past, 1), MAX_SPARSITY)
        return LevelPrior.informed(flat, self, np.bincount(groups), WEIGHT_UP if upward else WEIGHT_DOWN, sparsity)

    def _counts(self) -> tuple[Counts, Counts]:
        return self.nonzeros, self.magnitudes

    def stopped_and_more(self) -> Counts:
        """(C, `SLOTS`, 2) in `PART`: how often a magnitude that came as far as slot j stopped and went on."""
        reached = np.cumsum(self.magnitudes[:, ::-1], axis=1)[:, ::-1]  # at least j + 1
        by_slot = np.stack([self.magnitudes[:, :-1], reached[:, 1:]], axis=2)  # j = 1 .. 15
        return np.concatenate([by_slot[:, -1:], by_slot[:, :-1]], axis=1)

    def serialize(self) -> bytes:
        """A few hundred bytes for a hundred groups; at most `MAX_GROUPS` of each kind."""
        head = [self.weight, len(self.nonzeros), len(self.magnitudes)]
        return entropy.encode_numbers(np.concatenate([head, self.nonzeros, self.magnitudes.reshape(-1)]))

    @classmethod
    def parse(cls, data: bytes | memoryview) -> LevelStatistics:
        """The inverse of `serialize`.

        Raises `MalformedBody` for other bytes and for counts that no messages have.
        """
        decoder = Decoder(data)
        numbers = entropy.NumberCode()
        weight, groups, coarse = (numbers.decode(decoder) for _ in range(3))
        if weight > MAX_WEIGHT or groups > MAX_GROUPS or coarse > MAX_GROUPS:
            raise MalformedBody(f"expected statistics of up to {MAX_GROUPS} groups, got {groups}, {coarse}")
        rest = [numbers.decode(decoder) for _ in range(groups + coarse * MAGNITUDES)]
        decoder.finish()
        if sum(rest[:groups]) > weight * MAX_COORDINATES or sum(rest[groups:]) > weight * MAX_COORDINATES:
            raise MalformedBody("expected no more nonzero levels than a model has coordinates")
        counts = np.array(rest, dtype=np.int64)
        return cls(weight, counts[:groups], counts[groups:].reshape(coarse, MAGNITUDES))


def _count(groups: Groups) -> int:
    return int(groups.max(initial=-1)) + 1


def _padded(counts: Counts, length: int) -> Counts:
    """``counts`` (n, ...) with zeros behind or cut, (length, ...)."""
    out = np.zeros((length, *counts.shape[1:]), dtype=np.int64)
    out[: min(len(counts), length)] = counts[:length]
    return out


@dataclass(frozen=True, eq=False)
class LevelPrior:
    """Counts to start from, in `COUNT_UNIT`, all positive.

    ``flags`` int64 (G, 2): zero and nonzero. ``magnitudes`` int64 (C, `SLOTS`, 2): stop and go on.
    """

    flags: Counts
    magnitudes: Counts

    @classmethod
    def flat(cls, group_count: int, coarse_count: int, coefficients: int, nonzeros: int) -> LevelPrior:
        """For about ``nonzeros`` of ``coefficients`` anywhere: two observations a group, two a magnitude."""
        ones = 2 * COUNT_UNIT * nonzeros // max(coefficients, 1)
        ones = min(max(ones, 1), COUNT_UNIT)  # a half at most
        flags = np.tile(np.array([2 * COUNT_UNIT - ones, ones], dtype=np.int64), (group_count, 1))
        magnitudes = np.tile(np.array([BASE_STOP, BASE_MORE], dtype=np.int64), (coarse_count, SLOTS, 1))
        magnitudes[:, 0] = BEYOND_STOP, BEYOND_MORE
        return cls(flags, magnitudes)

    @classmethod
    def informed(
        cls,
        flat: LevelPrior,
        statistics: LevelStatistics,
        sizes: npt.NDArray[Any],
        weight: tuple[int, int],
        sparsity: int = SPARSITY_UNIT,
    ) -> LevelPrior:
        """``flat`` plus ``weight`` (a fraction) x the counts of earlier messages.

        ``sizes`` (G,): members of each group. ``sparsity``, in 1/1024, further multiplies nonzeros and
        magnitudes: nonzeros of this message over those of an earlier one.
        """
        if not (0 < min(weight) <= max(weight) <= MAX_WEIGHTING and 0 < sparsity <= MAX_SPARSITY):
            raise ValueError(f"expected fractions within limits, got {weight} and {sparsity}")
        times, over = weight[0] * (COUNT_UNIT // PART), weight[1]
        nonzeros = _padded(statistics.nonzeros, len(flat.flags))
        zeros = np.maximum(sizes.astype(np.int64) * statistics.weight - nonzeros, 0) * times // over
        ones = np.minimum(_scaled(nonzeros, sparsity) * times // over, MAX_COUNT >> 1)
        more = _scaled(_padded(statistics.stopped_and_more(), len(flat.magnitudes)), sparsity)
        flags = flat.flags + np.stack([np.minimum(zeros, MAX_COUNT >> 1), ones], axis=1)
        return cls(flags, flat.magnitudes + np.minimum(more * times // over, MAX_TOTAL >> 2))


def _scaled(counts: Counts, sparsity: int) -> Counts:
    """``counts`` x sparsity / 1024, limited so that a fraction of it still fits 63 bits."""
    return np.minimum(counts, 1 << 40) * sparsity // SPARSITY_UNIT
