"""Nearest-neighbour mixing, a pre-step; (n, d) float32 -> (n, d) float32.

``v_i = mean of the n - f updates nearest to u_i``, itself among them

Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by mixing: a recipe for optimal Byzantine ML under
heterogeneity", AISTATS 2023. It pulls the honest together, so that a rule after it tells attackers apart however unlike
the devices' data are: ``nnm:2+trimmed-mean:2``. n > 2f.

Who is mixed is decided exactly (:mod:`gram`), and sums are elementwise, so the result is the same on every machine.
Sums of neighbourhoods that share most of their members start from a sum of those that most share: with clear outliers
mixing costs little more than reading. Costs n^2 d multiplications, and at most n f d additions for each pass of the
rule after it.

>>> from gossamer.aggregator.rules import Updates, rule
>>> mixed_median = rule("nnm:1+median")
>>> rows = np.array([[1], [2], [3], [90]], dtype=np.float32)
>>> mixed_median.apply(mixed_median.init(1), Updates.dense(rows))[0].tolist()
[2.0]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.gram import distances, gram
from gossamer.aggregator.rules.nearest import Bools, neighbourhoods
from gossamer.aggregator.rules.prestep import Mixing, PreStep
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.updates import PADDING, Updates
from gossamer.errors import InputError


def nnm(f: int) -> PreStep:
    """Spec ``nnm:f``, f >= 0."""
    if f < 0:
        raise InputError(f"nnm needs f >= 0, got {f}")

    def mix(updates: Updates, screen: Screen) -> Mixing:
        found = distances(gram(updates, screen), updates.d)
        chosen = neighbourhoods(updates, found, updates.n - f)
        return Mixing(Neighbours.of_chosen(updates, chosen), np.arange(updates.n))

    return PreStep(f"nnm:{f}", mix, lambda minimum: max(2 * f + 1, minimum), screens=True)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Means of neighbourhoods, as a source of updates.

    Args:
        updates: what is mixed.
        core: rows that more than half of the neighbourhoods have.
        sums: for each neighbourhood that differs from the others: whether it starts from the core's sum, the rows to
            add to it, and the rows to take away.
        of: which sum is whose, int (n,).
        count: members of each.
    """

    updates: Updates
    core: tuple[int, ...]
    sums: tuple[tuple[bool, tuple[int, ...], tuple[int, ...]], ...]
    of: tuple[int, ...]
    count: int

    @classmethod
    def of_chosen(cls, updates: Updates, chosen: Bools) -> Neighbours:
        """From who is near to whom, bool (n, n)."""
        in_core = 2 * np.count_nonzero(chosen, axis=0) > updates.n
        core = tuple(np.flatnonzero(in_core).tolist())
        places: dict[bytes, int] = {}
        sums = list[tuple[bool, tuple[int, ...], tuple[int, ...]]]()
        for row in chosen:
            if row.tobytes() in places:
                continue
            places[row.tobytes()] = len(sums)
            more, less = np.flatnonzero(row & ~in_core).tolist(), np.flatnonzero(in_core & ~row).tolist()
            if len(more) + len(less) < np.count_nonzero(row):
                sums.append((True, tuple(more), tuple(less)))
            else:
                sums.append((False, tuple(np.flatnonzero(row).tolist()), ()))
        of = tuple(places[row.tobytes()] for row in chosen)
        return cls(updates, core, tuple(sums), of, int(np.count_nonzero(chosen[0])))

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """See :class:`~gossamer.aggregator.rules.updates.Source`."""
        rows = list(self.updates.block(start, stop))
        shared = np.zeros(stop - start)
        for row in self.core:
            shared += rows[row]
        core = shared.astype(np.float32)
        out = np.empty((len(self.of), stop - start + PADDING), dtype=np.float32)[:, : stop - start]
        first: dict[int, int] = {}
        for place, which in enumerate(self.of):
            if which in first:
                out[place] = out[first[which]]
                continue
            first[which] = place
            self._mean(rows, core, which, out[place])
        return out

    def _mean(
        self, rows: list[NDArray[np.float32]], core: NDArray[np.float32], which: int, out: NDArray[np.float32]
    ) -> None:
        from_core, more, less = self.sums[which]
        out[:] = core if from_core else 0.0
        for row in more:
            out += rows[row]
        for row in less:
            out -= rows[row]
        out /= np.float32(self.count)
