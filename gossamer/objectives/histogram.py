"""What leaves a device of its scores: two histograms of 32 bins, one per class, in 75 bytes.

Bins lie on one grid for all: widths are powers of two from 1/64 to 2, edges multiples of the width. So each histogram
picks the width that its own scores need, no range has to be agreed on, and a coarse bin is a whole number of fine
ones: histograms of any width add up in integers, in any order (`merge`). Scores beyond +-32, thirty margins, count in
the outermost bin.

::

    level (1)  first bin (2, signed)  class sizes (4 + 4, in 1/256 examples)  counts (32 + 32, `small_floats`)

big-endian. The width is ``2^level / 64``; bin k covers ``[(first + k) width, (first + k + 1) width)``. Sizes and shape
are apart: the same bytes carry one device's histogram up, and the fleet's down, with the mean sizes of a device.

A histogram is less than raw scores, not nothing: where a device has one positive example, its bin says its score to
within a width. It is no substitute for noise.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError, MalformedMessage, NonFiniteInput
from gossamer.objectives.small_floats import decode_counts, encode_counts

BINS = 32
FINE_PER_UNIT = 64
MAX_SCORE = 32
GRID = 2 * MAX_SCORE * FINE_PER_UNIT
"""Fine bins of the whole range, 4,096."""
MAX_LEVEL = 7
"""Width 2: 32 bins cover the whole range."""
SIZE_UNITS = 256
"""Sizes count in 1/256 examples: the mean of a rare class over devices may be below 1."""
MAX_SIZE = (1 << 32) - 1

_PACKED = struct.Struct(f">BhII{BINS}s{BINS}s")
SECTION_BYTES = _PACKED.size

Fine = NDArray[np.int64]
"""Counts on the fine grid, (GRID,); entry 0 is the bin at -MAX_SCORE."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class: its size in 1/256 examples, and its counts as 32 bytes; both zero, or neither."""

    size: int
    codes: bytes

    @property
    def counts(self) -> NDArray[np.int64]:
        """Int64 (32,)."""
        return decode_counts(self.codes)


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """See the module. ``first`` is the index of the first bin in units of the width."""

    level: int
    first: int
    positives: ClassScores
    negatives: ClassScores

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise MalformedMessage unless bins lie in range and sizes agree with counts."""
        if not 0 <= self.level <= MAX_LEVEL:
            raise MalformedMessage(f"score histogram: expected level 0..{MAX_LEVEL}, got {self.level}")
        edge = GRID // 2 >> self.level
        for name, scores in (("positives", self.positives), ("negatives", self.negatives)):
            if not 0 <= scores.size <= MAX_SIZE or len(scores.codes) != BINS:
                raise MalformedMessage(f"score histogram: {name} need a size of 4 bytes and {BINS} counts")
            if (scores.size > 0) != any(scores.codes):
                raise MalformedMessage(f"score histogram: size and counts of {name} disagree on whether there are any")
        if not self.positives.size + self.negatives.size:
            raise MalformedMessage("score histogram: expected at least one example")
        low, high = self._occupied()
        if not -edge <= self.first + low <= self.first + high < edge:
            raise MalformedMessage(f"score histogram: bins reach beyond +-{MAX_SCORE}")

    def serialize(self) -> bytes:
        """75 bytes."""
        plus, minus = self.positives, self.negatives
        return _PACKED.pack(self.level, self.first, plus.size, minus.size, plus.codes, minus.codes)

    @classmethod
    def parse(cls, data: bytes) -> ScoreHistogram:
        """Inverse of :meth:`serialize`; raises MalformedMessage on anything else."""
        if len(data) != SECTION_BYTES:
            raise MalformedMessage(f"expected {SECTION_BYTES} bytes of score histogram, got {len(data)}")
        level, first, plus, minus, plus_codes, minus_codes = _PACKED.unpack(data)
        return cls(level, first, ClassScores(plus, plus_codes), ClassScores(minus, minus_codes))

    @classmethod
    def of_scores(cls, scores: NDArray[Any], positive: NDArray[Any]) -> ScoreHistogram:
        """The histogram of scores (n,) with labels (n,) bool; n at least 1. Raises NonFiniteInput, InputError."""
        if len(scores) == 0:
            raise InputError("a score histogram needs at least one example")
        if not np.isfinite(scores).all():
            raise NonFiniteInput("scores are not finite: training diverged; lower the learning rate")
        bounded = np.clip(np.asarray(scores, np.float64), -MAX_SCORE, MAX_SCORE)
        place = np.minimum(np.floor(bounded * FINE_PER_UNIT).astype(np.int64) + GRID // 2, GRID - 1)
        mask = np.asarray(positive, dtype=bool)
        fine = [np.bincount(place[rows], minlength=GRID) for rows in (mask, ~mask)]
        return cls.of_fine(fine[0], fine[1], *(SIZE_UNITS * int(counts.sum()) for counts in fine))

    @classmethod
    def of_fine(cls, plus: Fine, minus: Fine, plus_size: int, minus_size: int) -> ScoreHistogram:
        """The finest histogram that holds these counts; sizes above MAX_SIZE count as that."""
        occupied = np.flatnonzero(plus + minus) - GRID // 2
        low, high = int(occupied[0]), int(occupied[-1])
        level = next(level for level in range(MAX_LEVEL + 1) if (high >> level) - (low >> level) < BINS)
        first = low >> level
        if first + BINS > GRID // 2 >> level:  # no bin beyond the range, so that every one can be spread again
            first = (GRID // 2 >> level) - BINS
        classes = [
            ClassScores(min(size, MAX_SIZE), encode_counts(_coarse(counts, level, first)))
            for counts, size in ((plus, plus_size), (minus, minus_size))
        ]
        return cls(level, first, *classes)

    @property
    def width(self) -> float:
        """Of a bin, in units of the score."""
        return float(2**self.level) / FINE_PER_UNIT

    def fine_range(self) -> tuple[int, int]:
        """First and last occupied bin on the fine grid, in -GRID/2 .. GRID/2 - 1."""
        low, high = self._occupied()
        return (self.first + low) << self.level, ((self.first + high + 1) << self.level) - 1

    def of_class(self, positive: bool) -> ClassScores:
        """One of the two classes."""
        return self.positives if positive else self.negatives

    def examples(self, positive: bool) -> float:
        """Size of a class in examples (of the fleet's histogram: mean of a device)."""
        return self.of_class(positive).size / SIZE_UNITS

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], positive: bool) -> NDArray[np.float64]:
        """Scores of one class drawn with replacement, uniform within a bin. Raises InputError if it has none."""
        ends = np.cumsum(self.of_class(positive).counts)
        if ends[-1] == 0:
            raise InputError(f"no {'positive' if positive else 'negative'} scores to draw from")
        bins = np.searchsorted(ends, rng.integers(0, ends[-1], shape), side="right")
        return (self.first + bins + rng.random(shape)) * self.width

    def _occupied(self) -> tuple[int, int]:
        used = [k for k in range(BINS) if self.positives.codes[k] or self.negatives.codes[k]]
        return used[0], used[-1]


def _coarse(fine: Fine, level: int, first: int) -> NDArray[np.int64]:
    """Counts (32,) of bins of width 2^level fine ones from ``first`` on."""
    start = (first << level) + GRID // 2
    window: NDArray[np.int64] = fine[start : start + (BINS << level)].reshape(BINS, -1).sum(axis=1)
    return window
