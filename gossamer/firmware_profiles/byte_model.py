"""What a participation, a quiet month and a first contact cost in IP bytes, by cause.

Held against the bytes of a real agent on an emulated link by ``tests/system/test_byte_model.py``; see
``docs/planning.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gossamer.errors import InputError
from gossamer.firmware_profiles.exchanges import Conversation, JobSize, Names
from gossamer.firmware_profiles.packets import CAUSES, Tally, Transport

MONTH_SECONDS = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of encoded objects: an update's body, what brings the model up to date, a whole model."""

    update: int
    delta: int
    snapshot: int


@dataclass(frozen=True, slots=True)
class Habits:
    """How an agent keeps its connection; as its settings say.

    ``stays``: it keeps the connection open between its rounds, else it connects for each and says goodbye.
    ``reconnects_a_day``: how often an open connection is lost and made anew, with TLS resumed.
    """

    stays: bool = True
    keepalive_seconds: int = 1160
    poll_seconds: int = 3600
    reconnects_a_day: int = 1

    def __post_init__(self) -> None:
        """Raise `InputError` for intervals that are none."""
        if self.keepalive_seconds < 1 or self.poll_seconds < 1 or self.reconnects_a_day < 0:
            raise InputError(f"expected intervals of 1 second or more and reconnects of 0 or more, got {self}")


@dataclass(frozen=True)
class Model:
    """Everything that decides how many bytes pass."""

    transport: Transport
    names: Names
    job: JobSize
    sizes: Sizes
    habits: Habits = field(default_factory=Habits)

    def participation(self, *, connects: bool, alone: bool = False) -> Tally:
        """One round of a device: model down, update up, STATUS, the other cohorts' manifests while it is connected.

        Args:
            connects: with a connection of its own, TLS from the beginning, and a goodbye; the next round's manifest
                arrives before it.
            alone: it is its cohort's only device, so that the round is sealed, and the next manifest there, at once.
        """
        tally = Tally(self.transport)
        talk = self.conversation(tally)
        others = 0 if self.job.cohorts < 1 else self.job.cohorts - 1
        if connects:
            talk.connect()
        else:
            talk.manifest()
        talk.download(self.sizes.delta)
        talk.upload(self.sizes.update)
        if connects:
            talk.manifest(rides_along=alone)
            talk.goodbye()
        else:
            for _ in range(others):
                talk.manifest()
        tally.lost()
        return tally

    def idle_month(self) -> Tally:
        """A month in which the device keeps its connection and no round takes place."""
        tally = Tally(self.transport)
        if not self.habits.stays:
            return tally
        talk = self.conversation(tally)
        polls = MONTH_SECONDS // self.habits.poll_seconds
        # A poll is a sign of life: between two of them there are as many pings as keepalives fit.
        pings = polls * ((self.habits.poll_seconds - 1) // self.habits.keepalive_seconds)
        for count, exchange in ((polls, talk.poll), (pings, talk.ping)):
            _repeat(tally, count, exchange)
        reconnects = self.habits.reconnects_a_day * MONTH_SECONDS // 86_400
        _repeat(tally, reconnects, lambda: talk.connect(resumed=True))
        tally.lost()
        return tally

    def connection(self) -> Tally:
        """A connection with nothing to do on it, from SYN to goodbye."""
        tally = Tally(self.transport)
        talk = self.conversation(tally)
        talk.connect()
        talk.goodbye()
        tally.lost()
        return tally

    def conversation(self, tally: Tally) -> Conversation:
        return Conversation(
            self.names, self.job, tally, snapshot_bytes=self.sizes.snapshot, delta_bytes=self.sizes.delta
        )


def _repeat(tally: Tally, times: int, exchange: object) -> None:
    """Count an exchange so many times: once, and what it added again for the rest."""
    before_up, before_down, packets, turns = dict(tally.up), dict(tally.down), tally.packets, tally.turns
    exchange()  # type: ignore[operator]
    for cause in CAUSES:
        tally.up[cause] += (times - 1) * (tally.up[cause] - before_up[cause])
        tally.down[cause] += (times - 1) * (tally.down[cause] - before_down[cause])
    tally.packets += (times - 1) * (tally.packets - packets)
    tally.turns += (times - 1) * (tally.turns - turns)
