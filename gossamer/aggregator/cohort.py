"""Who is in a round, when it closes, and in which round a late update counts: pure decisions over rows."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import lru_cache

from gossamer.aggregator.job_settings import ClosingSettings, JobSettings
from gossamer.aggregator.store.jobs import JobRow, JobState
from gossamer.aggregator.store.rounds import RoundRow, RoundState
from gossamer.methods import method


def fleet_size(settings: JobSettings, round_: int, enrolled: int, previous: int | None) -> int | None:
    """Return how many devices the cohorts of a round are drawn from, or None: too few to begin.

    It changes at the start of a cycle only; changed in its middle, the cohorts would be dealt anew and
    some devices would take part twice, others never. With some methods it never does (`Method.fixed_fleet`).
    """
    if previous is not None and (round_ % settings.cohorts != 0 or method(settings.method).fixed_fleet):
        return previous
    return enrolled if enrolled >= settings.cohorts else None


@lru_cache(maxsize=16)
def cohort(settings: JobSettings, devices: int, round_: int) -> frozenset[int]:
    """Return the device indexes of a round. Remembered: a cohort of thousands takes a tenth of a second."""
    members = settings.schedule(devices).cohort(round_)
    return frozenset(members if settings.trusted is None else (*members, settings.trusted))


@dataclass(frozen=True, slots=True)
class Arrived:
    """What is in for the open round.

    ``expected``: the devices of its cohort that may send at all, those that are not revoked. ``enrolled``: the
    same of the whole fleet. ``last``: no round follows in which these updates could count. ``buffered``: a quorum is
    of whatever arrives, late or not (FedBuff's buffer of K; participation ``anytime``). ``rootless``: the rule can
    make nothing of them without the update of a trusted device, which is not in.
    """

    on_time: int
    late: int
    expected: int
    enrolled: int
    last: bool = False
    buffered: bool = False
    rootless: bool = False


class Close(enum.Enum):
    """Whether a round closes, and what becomes of the updates that are in."""

    NOT_YET = "it stays open"
    COUNTING = "they are counted now"
    EMPTY_HANDED = "they are counted in the next round: too few for this one"


def closes(closing: ClosingSettings, minimum: int, arrived: Arrived, waited_seconds: float) -> Close:
    """Return whether the round closes now. ``minimum``: fewest updates the rule works with."""
    if arrived.rootless:
        # Closed now, what the others were told is counted would move nothing; carried on, it would pile up.
        return Close.NOT_YET
    every = arrived.on_time + arrived.late
    quorum = min(closing.quorum or arrived.expected, arrived.expected)
    if every >= minimum and (every if arrived.buffered else arrived.on_time) >= max(1, quorum):
        return Close.COUNTING
    complete = arrived.on_time >= arrived.expected  # also when nobody is left to be expected
    overdue = closing.at_deadline == "seal" and waited_seconds >= closing.deadline_seconds
    if not complete and not overdue:
        return Close.NOT_YET
    if every >= max(minimum, closing.minimum_updates, 1):
        return Close.COUNTING
    if every and arrived.last:
        # Carried on they would never count, though their devices were told that they do.
        return Close.COUNTING if every >= minimum else Close.NOT_YET
    # With nobody enrolled at all, one empty round after the other would run the job to its end within seconds.
    return Close.EMPTY_HANDED if arrived.enrolled else Close.NOT_YET


def counting_round(job: JobRow, latest: RoundRow, settings: JobSettings, for_round: int) -> int | None:
    """Return the round in which an update for ``for_round`` counts when it is accepted now, or None: closed.

    Must be asked in the transaction that inserts the update, with the job's row locked.
    """
    if job.state is JobState.FINISHED or latest.state is RoundState.SEALED:
        return None
    open_round = latest.round + (latest.state is RoundState.SEALING)
    if open_round >= settings.rounds:
        return None
    return open_round if open_round - for_round <= settings.closing.max_lag else None


class Watch:
    """How long the open round has been waited for.

    Wall clocks jump, and a server may be down or a laptop asleep while the devices could not reach it. So
    this adds up small steps of a monotonic clock, each at most MAX_STEP_SECONDS, and the sum is kept in
    the store: no jump of any clock seals a round early.
    """

    MAX_STEP_SECONDS = 5.0

    def __init__(self) -> None:
        self._round: tuple[int, int] | None = None
        self._at = 0.0
        self.seconds = 0.0

    def look(self, job: int, round_: int, stored_seconds: float, monotonic: float) -> float:
        """Return the seconds waited for this round, ``monotonic`` being now."""
        if self._round != (job, round_):
            self._round, self.seconds = (job, round_), stored_seconds
        else:
            self.seconds += min(max(monotonic - self._at, 0.0), self.MAX_STEP_SECONDS)
        self._at = monotonic
        return self.seconds
