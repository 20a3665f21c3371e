"""What stays fixed for a cycle: the basis that both ends derive, and what past messages have looked like in it.

A frame is a pure function of what every device holds: version 0, the model at the start of the cycle, and counts
over the steps of earlier cycles. Nothing of it is ever sent to a device that has followed them; a device that
joins late gets the last two with its snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from gossamer.compression.arrays import Lattice
from gossamer.compression.basis import Basis
from gossamer.compression.layout import Layout
from gossamer.compression.level_counts import LevelPrior, LevelStatistics
from gossamer.compression.plan import context_groups, places_of

BASES_KEPT = 8
"""Bases remembered by a process: this cycle's, the last one's, and those of a second job's."""

Groups = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Frame:
    """Basis and statistics of a cycle of ``rounds`` rounds.

    Args:
        layout: of the model.
        initial, start: version 0 and the model at the start of the cycle, int32 (d,) in lattice units.
        rounds: length of a cycle.
        statistics: counts over the levels of earlier cycles' steps, older ones weighing less.
    """

    layout: Layout
    initial: Lattice
    start: Lattice
    rounds: int
    statistics: LevelStatistics

    @classmethod
    def first(cls, layout: Layout, initial: Lattice, rounds: int) -> Frame:
        """The frame of the first cycle: the basis of a model that has not moved, and no statistics."""
        return cls(layout, initial, initial, rounds, LevelStatistics.empty())

    def resumed(self, start: Lattice, statistics: bytes | memoryview) -> Frame:
        """The frame of a later cycle of the same job, from `LevelStatistics.serialize`; raises `MalformedBody`."""
        return Frame(self.layout, self.initial, start, self.rounds, LevelStatistics.parse(statistics))

    @property
    def groups(self) -> tuple[Groups, Groups]:
        """The entropy coder's contexts of every coefficient, fine and coarse; see `Basis.groups`."""
        return context_groups(places_of(self.layout))

    @cached_property
    def basis(self) -> Basis:
        """The basis; 0.2 s for 784 x 128 the first time, then remembered."""
        return _basis(self.layout, self.initial.tobytes(), self.start.tobytes())

    @property
    def size(self) -> int:
        """D, the number of coefficients."""
        return len(self.groups[0])

    def next(self, start: Lattice, levels: npt.NDArray[np.int32] | None) -> Frame:
        """The frame of the cycle after this one, whose steps summed to ``levels`` (D,) and led to ``start``."""
        statistics = self.statistics
        if levels is not None and levels.any():
            statistics = statistics.decayed_plus(LevelStatistics.of(levels, *self.groups))
        return Frame(self.layout, self.initial, start, self.rounds, statistics)

    def prior(self, count: int, *, upward: bool) -> LevelPrior:
        """What a message of ``count`` non-zero levels is expected to look like."""
        return self.statistics.prior(*self.groups, count, upward=upward)


@lru_cache(maxsize=BASES_KEPT)
def _basis(layout: Layout, initial: bytes, start: bytes) -> Basis:
    return Basis.of(layout, np.frombuffer(initial, dtype=np.int32), np.frombuffer(start, dtype=np.int32))
