"""Why a device did or did not take part in a round: a decision over what the store knows. Pure.

The facts are looked at in an order that leaves one answer. What holds whatever the device does comes first (no job,
revoked, counted, not in the cohort); among what happened during the round the newest counts, because it is what
stands in the way now. The other facts are given beside it, newest first.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gossamer.aggregator.store.absences import AbsenceRow
from gossamer.aggregator.store.accounts import AccountRow
from gossamer.aggregator.store.devices import Device
from gossamer.aggregator.store.inbox import Arrival
from gossamer.aggregator.store.jobs import JobState
from gossamer.aggregator.store.rejections import Rejection
from gossamer.aggregator.store.rounds import RoundRow, RoundState
from gossamer.aggregator.store.uploads import UploadProgress
from gossamer.fleet import mends
from gossamer.fleet.turns import Schedule
from gossamer.fleet.words import moment, size, span


class Verdict(str, enum.Enum):
    """The one answer; the value is what a table shows."""

    COUNTED = "counted"
    LATE = "late"
    RULED_OUT = "ruled-out"
    NO_JOB = "no-job"
    REVOKED = "revoked"
    FINISHED = "finished"
    NOT_DEALT = "not-dealt"
    OTHER_COHORT = "other-cohort"
    PAUSED = "paused"
    ABSENT = "absent"
    REJECTED = "rejected"
    UPLOADING = "uploading"
    NEVER_SEEN = "never-seen"
    OFFLINE = "offline"
    OTHER_JOB = "other-job"
    WAITING = "waiting"
    MISSED = "missed"

    @property
    def took_part(self) -> bool:
        """Whether an update of the device is part of the model, or will be."""
        return self in (Verdict.COUNTED, Verdict.LATE)

    @property
    def absent(self) -> bool:
        """Whether the round wanted the device and something keeps it away."""
        return self in _AWAY


_AWAY = frozenset(
    {
        Verdict.RULED_OUT, Verdict.ABSENT, Verdict.REJECTED, Verdict.NEVER_SEEN, Verdict.OFFLINE, Verdict.OTHER_JOB,
        Verdict.MISSED,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened, at a time in Unix seconds."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Why:
    """The answer about one device and one round.

    Args:
        verdict: which answer.
        reason: one word for a table: the verdict, or for an absence what the device named.
        text: the answer as a sentence.
        mend: what to do about it, or what to wait for.
        facts: what else the store knows about the device and this round, newest first.
    """

    verdict: Verdict
    reason: str
    text: str
    mend: str
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """What the store knows about a round, for whatever device.

    ``row`` is the round asked about and ``latest`` the number of the newest; ``ruled_out``: device -> why the rule
    left its update out; ``typical_seconds``: how long rounds took of late.
    """

    name: str
    state: JobState
    row: RoundRow
    latest: int
    schedule: Schedule
    deadline_seconds: float
    ruled_out: Mapping[str, str]
    typical_seconds: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it takes updates."""
        return self.row.round == self.latest and self.row.state is RoundState.OPEN

    @property
    def is_last(self) -> bool:
        """Whether it is the closing entry of a job, in which nobody trains."""
        return self.row.round >= self.schedule.settings.rounds

    @property
    def ended_at(self) -> float:
        """When it was sealed, or infinity."""
        return float("inf") if self.row.sealed_at is None else self.row.sealed_at


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What the store knows about a device: in general, and (``arrival``, ``absences``) about the round."""

    device: Device
    arrival: Arrival | None = None
    absences: Sequence[AbsenceRow] = ()
    rejections: Sequence[Rejection] = ()
    upload: UploadProgress | None = None
    account: AccountRow | None = None


def why(
    around: RoundFacts | None, mine: DeviceFacts, now: float, *, members: Collection[int] | None = None
) -> Why:  # fmt: skip
    """Say why. ``around`` None: the fleet has no round.

    ``members``: the cohort, where many devices are asked about at once; when the turn of the others comes is then left
    out, because it takes some milliseconds a device.
    """
    if not mine.device.enrolled:
        return _plain(Verdict.REVOKED, "it is revoked: nothing it sends is believed", mends.REVOKED, mine.device.id)
    if around is None:
        return _plain(Verdict.NO_JOB, "the fleet has no round yet", mends.NO_JOB)
    settled = _settled(around, mine)
    if settled is not None:
        return settled
    uncalled = _uncalled(around, mine, members)
    if uncalled is not None:
        return uncalled
    happened = _happened(around, mine)
    facts = tuple(fact for fact, _ in happened)
    if happened and _decides(around, mine, happened[0][0]):
        answer = happened[0][1]
        return Why(answer.verdict, answer.reason, answer.text, answer.mend, facts[1:])
    answer = _silent(around, mine, now)
    return Why(answer.verdict, answer.reason, answer.text, answer.mend, facts)


def _plain(verdict: Verdict, text: str, mend: str, *values: object) -> Why:
    return Why(verdict, verdict.value, text, mend.format(*values))


def _settled(around: RoundFacts, mine: DeviceFacts) -> Why | None:
    """The update is in: that decides, whatever else happened."""
    arrival, device = mine.arrival, mine.device
    if arrival is None:
        return None
    came = f"its update came {moment(arrival.received_at)}"
    reason = around.ruled_out.get(device.id)
    if reason is not None:
        text = f"{came}, and the rule left it out: {reason}"
        return Why(Verdict.RULED_OUT, f"ruled-out: {reason}", text, mends.ruled_out(reason, device.id))
    sealed = "" if arrival.sealed_in is None else f", sealed in version {arrival.sealed_in}"
    if arrival.counted_in > arrival.round:
        text = f"{came}, too late for round {arrival.round}; it counts in round {arrival.counted_in}{sealed}"
        return _plain(Verdict.LATE, text, mends.LATE)
    return _plain(Verdict.COUNTED, f"{came} and counts{sealed}", mends.NOTHING)


def _uncalled(around: RoundFacts, mine: DeviceFacts, members: Collection[int] | None) -> Why | None:
    """The round does not want the device."""
    row, index = around.row, mine.device.index
    if around.is_last:
        return _plain(Verdict.FINISHED, f"job {around.name} is finished", mends.FINISHED)
    if index >= around.schedule.devices:
        text = f"it was enrolled after the cohorts of this cycle were dealt{_turn(around, index, members)}"
        return _plain(Verdict.NOT_DEALT, text, mends.ITS_TURN)
    if not (around.schedule.is_member(index) if members is None else index in members):
        text = f"it is not in the cohort of round {row.round}{_turn(around, index, members)}"
        return _plain(Verdict.OTHER_COHORT, text, mends.ITS_TURN)
    if around.state is JobState.PAUSED and around.row.round == around.latest:
        return _plain(Verdict.PAUSED, f"job {around.name} is paused", mends.PAUSED, around.name)
    return None


def _turn(around: RoundFacts, index: int, members: Collection[int] | None) -> str:
    """When it comes, as the end of a sentence; nothing where many are asked about."""
    if members is not None:
        return ""
    turn = around.schedule.next_turn(index)
    if turn is None:
        return f"; no later round of this job's {around.schedule.settings.rounds} that can be foreseen is its own"
    ahead = turn - around.latest
    if ahead <= 0:
        return f"; its turn {'is' if ahead == 0 else 'was'} round {turn}"
    pace = around.typical_seconds
    soon = "" if pace is None else f", about {span(ahead * pace)} at the recent pace"
    return f"; its turn is round {turn}, {ahead} {'round' if ahead == 1 else 'rounds'} on{soon}"


def _happened(around: RoundFacts, mine: DeviceFacts) -> list[tuple[Fact, Why]]:
    """What happened to the device during the round, newest first, each with the answer it would be."""
    found: list[tuple[Fact, Why]] = []
    for absence in mine.absences:
        label = absence.reason.label
        text = f"it stayed away: {absence.detail or label}"
        answer = Why(Verdict.ABSENT, label, f"{text} ({moment(absence.at)})", mends.absent(absence.reason))
        found.append((Fact(absence.at, text), answer))
    for rejection in mine.rejections:
        if around.row.opened_at <= rejection.at <= around.ended_at:
            text = f"a message was refused: {rejection.reason}: {rejection.detail}"
            mend = mends.rejected(rejection.reason, mine.device.id)
            answer = Why(Verdict.REJECTED, rejection.reason, f"{text} ({moment(rejection.at)})", mend)
            found.append((Fact(rejection.at, text), answer))
    upload = mine.upload
    if upload is not None and around.row.opened_at <= upload.touched_at and around.is_open:
        text = f"{size(upload.have_bytes)} of {size(upload.size)} of its update are here"
        full = f"{text}, the last piece {moment(upload.touched_at)}"
        found.append((Fact(upload.touched_at, text), _plain(Verdict.UPLOADING, full, mends.UPLOADING)))
    return sorted(found, key=lambda each: -each[0].at)


def _decides(around: RoundFacts, mine: DeviceFacts, newest: Fact) -> bool:
    """Whether the newest event is the answer, rather than that the device has gone away since."""
    device = mine.device
    gone_since = not device.online and device.last_seen > newest.at
    return not (around.is_open and gone_since)


def _silent(around: RoundFacts, mine: DeviceFacts, now: float) -> Why:
    """The round wanted the device, and what it did, if anything, no longer explains why nothing came."""
    device, row = mine.device, around.row
    if not device.last_seen:
        return _plain(Verdict.NEVER_SEEN, "it is enrolled and was never in contact", mends.NEVER_SEEN)
    seen = f"{moment(device.last_seen)}, {span(max(0.0, now - device.last_seen))} ago"
    if not around.is_open:
        if device.last_seen < row.opened_at:
            return _plain(Verdict.OFFLINE, f"it has not been in contact since before the round: {seen}", mends.OFFLINE)
        text = f"round {row.round} closed without it; the store does not know more"
        return _plain(Verdict.MISSED, text, mends.MISSED)
    if not device.online:
        return _plain(Verdict.OFFLINE, f"it is offline; last contact {seen}", mends.OFFLINE)
    if device.held_job != row.job:
        text = f"it is online, but last spoke of job {device.held_job}; the open round is of job {row.job}"
        return _plain(Verdict.OTHER_JOB, text, mends.OTHER_JOB)
    behind = row.version - device.held_version
    model = "holds the model" if behind <= 0 else f"holds version {device.held_version}, {behind} behind"
    left = around.deadline_seconds - row.waited_seconds
    until = f"; the deadline is in {span(left)}" if left > 0 else "; the deadline has passed"
    text = f"it is in the cohort and online, {model}, and its update has not come yet{until}"
    return _plain(Verdict.WAITING, text, mends.WAITING)
