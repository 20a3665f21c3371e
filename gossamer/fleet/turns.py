"""When a device's turn comes: the schedule of a job, read for one device or for all. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.aggregator.cohort import cohort, fleet_size
from gossamer.aggregator.job_settings import JobSettings

LOOK_AHEAD_ROUNDS = 1000
"""How far ahead a draw is looked for that no cycle bounds (``uniform``, ``marina``): a device not drawn in so many
rounds is told so. One round costs 128 hashes."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Who takes part when, as the store knows it now.

    Args:
        settings: of the job.
        round: one of its rounds, open or sealed.
        devices: the fleet that round's cohort was drawn from.
        enrolled: indexes taken now; the next cycle is dealt to so many.
    """

    settings: JobSettings
    round: int
    devices: int
    enrolled: int

    def is_member(self, index: int) -> bool:
        """Whether the device is in the cohort of ``round``."""
        return self._member(self.round, self.devices, index)

    def members(self) -> frozenset[int]:
        """The indexes of the cohort of ``round``; for asking about all devices at once."""
        return cohort(self.settings, self.devices, self.round)

    def next_turn(self, index: int) -> int | None:
        """The first round after ``round`` in which the device takes part, or None: not in this job, or not soon.

        What follows this cycle supposes that nobody is enrolled before it begins.
        """
        devices = self.devices
        last = min(self.settings.rounds, self.round + 1 + LOOK_AHEAD_ROUNDS)
        for ahead in range(self.round + 1, last):
            devices = fleet_size(self.settings, ahead, self.enrolled, devices) or devices
            if self._member(ahead, devices, index):
                return ahead
        return None

    def turns(self) -> dict[int, int]:
        """Device index -> its round in the cycle of ``round``, where each device has one at most so."""
        if self.settings.participation not in ("reshuffled", "fixed"):
            return {}
        start = self.round - self.round % self.settings.cohorts
        found: dict[int, int] = {}
        for each in range(start, min(start + self.settings.cohorts, self.settings.rounds)):
            found |= dict.fromkeys(self.settings.schedule(self.devices).cohort(each), each)
        return found

    def _member(self, round_: int, devices: int, index: int) -> bool:
        return index == self.settings.trusted or self.settings.schedule(devices).is_member(round_, index)
