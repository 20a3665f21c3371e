"""The server's half of ``ef21`` (`memory`): one running sum, from which the step of every round is read.

    total = total + sum over the round of weight c        int64 (d,), lattice units
    step  = total / total_weight                          float64 (d,)

total is the sum of weight h over *all* devices, so an absent device still counts with what it last said: EF21-PP
(Fatkhullin and others 2021, arXiv 2110.03294, partial participation), (1/n) times the sum over the cohort, not 1/C. A
sum of integers has no order: the same bits for any order of arrival, machine or restart.

With ``ef21-w`` the weight is w in units of 1/1024 and total_weight 1024 n: h is a share delta / w, so the step is
(1/n) sum of w h, where nothing is left to send the mean delta, whatever the w are.

Every counted c must be applied exactly once, at a weight that never changes for a device; one that leaves stays in the
sum with its last h, and is taken out only by a new job.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossamer.compression.arrays import Lattice
from gossamer.compression.lattice import LATTICE_BITS
from gossamer.errors import InputError

MAX_TOTAL_WEIGHT = 1 << 31
"""h is below 2^31 units, so the sum of weight h stays below 2^62 and never leaves int64. In units of 1/1024, those of
``ef21-w``, the total is that of 2,097,151 devices at most."""


@dataclass(frozen=True, eq=False)
class ServerMemory:
    """The sum of weight h over all devices, int64 (d,); immutable."""

    total: npt.NDArray[np.int64]

    @classmethod
    def zeros(cls, d: int) -> ServerMemory:
        """Before the first round."""
        return cls(np.zeros(d, dtype=np.int64))

    def plus(self, sent: Iterable[tuple[Lattice, int]]) -> ServerMemory:
        """After a round, from (decoded c int32 (d,), weight) of every update counted in it, in any order.

        Raises `InputError` for another d or a weight that is not 1 to `MAX_TOTAL_WEIGHT`.
        """
        total = self.total.copy()
        for units, weight in sent:
            if units.shape != total.shape or units.dtype != np.int32:
                raise InputError(f"expected lattice units of shape {total.shape}, got {units.dtype} {units.shape}")
            if not 1 <= weight < MAX_TOTAL_WEIGHT:
                raise InputError(f"expected a weight of 1 to {MAX_TOTAL_WEIGHT - 1}, got {weight}")
            total += units.astype(np.int64) * weight
        return ServerMemory(total)

    def step(self, total_weight: int) -> npt.NDArray[np.float64]:
        """What the round's server step is made of, float64 (d,): the mean of all h.

        ``total_weight`` is that of the whole fleet: n for weights of 1. Raises `InputError` outside 1 to 2^31 - 1.
        """
        if not 1 <= total_weight < MAX_TOTAL_WEIGHT:
            raise InputError(f"expected a total weight of 1 to {MAX_TOTAL_WEIGHT - 1}, got {total_weight}")
        return self.total / (float(total_weight) * float(1 << LATTICE_BITS))

    def to_bytes(self) -> bytes:
        """8 d bytes: int64 little-endian."""
        return self.total.astype("<i8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, d: int) -> ServerMemory:
        """The inverse of `to_bytes`; raises `InputError` for another length."""
        if len(data) != 8 * d:
            raise InputError(f"expected {8 * d} bytes of a server's memory for {d} parameters, got {len(data)}")
        return cls(np.frombuffer(data, dtype="<i8").astype(np.int64))
