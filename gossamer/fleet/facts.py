"""Reads from the store what :mod:`gossamer.fleet.why` decides over: for one device, or for all in a few queries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from gossamer.aggregator.job_settings import JobSettings
from gossamer.aggregator.store import absences, accounts, devices, inbox, jobs, rejections, rounds, uploads
from gossamer.aggregator.store.devices import Device
from gossamer.aggregator.store.jobs import JobRow
from gossamer.aggregator.store.rounds import RoundRow
from gossamer.errors import ConfigError, GossamerError
from gossamer.fleet.turns import Schedule
from gossamer.fleet.why import DeviceFacts, RoundFacts, Why, why
from gossamer.wire import cose
from gossamer.wire.header import UpdateHeader

PACE_ROUNDS = 8
"""Sealed rounds whose median length foretells when a turn comes."""
SHOWN_ABSENCES = 20


def round_facts(db: Connection, round_: int | None = None) -> RoundFacts | None:
    """Read a round of the fleet's current job; without a number the newest. None: there is none yet.

    Raises:
        ConfigError: no such round.
    """
    job = jobs.current(db)
    latest = None if job is None else rounds.latest(db, job.job)
    if job is None or latest is None:
        if round_ is not None:
            raise ConfigError(f"round {round_}: this fleet has no round yet; `gossamer job list` shows what there is")
        return None
    row = latest if round_ is None else rounds.get(db, job.job, round_)
    if row is None:
        raise ConfigError(f"round {round_}: job {job.name} has rounds 0 to {latest.round}")
    return _round(db, job, row, latest)


def _round(db: Connection, job: JobRow, row: RoundRow, latest: RoundRow) -> RoundFacts:
    settings = JobSettings.from_json(job.settings)
    took = sorted(rounds.durations(db, job.job, PACE_ROUNDS))
    return RoundFacts(
        name=job.name,
        state=job.state,
        row=row,
        latest=latest.round,
        schedule=Schedule(settings, row.round, row.devices, devices.count(db)),
        deadline_seconds=settings.closing.deadline_seconds,
        ruled_out=_ruled_out(row.report),
        typical_seconds=took[len(took) // 2] if took else None,
    )


def _ruled_out(report: str | None) -> dict[str, str]:
    verdicts = [] if report is None else json.loads(report)["devices"]
    # A late update is in the report of the round that counts it; of its own round it is told by `lag`.
    return {each["device"]: each["reason"] for each in verdicts if each["reason"] and not each["lag"]}


def device_facts(db: Connection, device: Device, around: RoundFacts | None) -> DeviceFacts:
    """Read what is known of one device and that round."""
    job, number = (0, -1) if around is None else (around.row.job, around.row.round)
    said = absences.of(db, device.id, last=SHOWN_ABSENCES)
    return DeviceFacts(
        device,
        inbox.arrivals(db, job, number).get(device.id),
        [each for each in said if (each.job, each.round) == (job, number)],
        rejections.by_device(db).get(device.id, ()),
        _of_round(uploads.progress(db).get(device.id), job, number),
        accounts.latest(db).get(device.id),
    )


def every_device(db: Connection, around: RoundFacts | None) -> Iterator[DeviceFacts]:
    """Read the same for all devices, by index. Of absences only each device's latest."""
    job, number = (0, -1) if around is None else (around.row.job, around.row.round)
    arrived, said, refused = inbox.arrivals(db, job, number), absences.latest(db), rejections.by_device(db)
    begun, spent = uploads.progress(db), accounts.latest(db)
    for device in devices.every(db):
        mine = said.get(device.id)
        present = mine is not None and (mine.job, mine.round) == (job, number)
        yield DeviceFacts(
            device,
            arrived.get(device.id),
            [mine] if mine is not None and present else [],
            refused.get(device.id, ()),
            _of_round(begun.get(device.id), job, number),
            spent.get(device.id),
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """One device of a list: what is known, the answer for the round, and its round in this cycle if it has one."""

    facts: DeviceFacts
    answer: Why
    turn: int | None


def standings(db: Connection, now: float) -> list[Standing]:
    """Where every device stands in the newest round, by index."""
    around = round_facts(db)
    if around is None:
        return [Standing(each, why(None, each, now), None) for each in every_device(db, None)]
    members, turns = around.schedule.members(), around.schedule.turns()
    found = []
    for each in every_device(db, around):
        found.append(Standing(each, why(around, each, now, members=members), turns.get(each.device.index)))
    return found


def _of_round(upload: uploads.UploadProgress | None, job: int, round_: int) -> Any:
    """The open upload if it is for that round."""
    if upload is None:
        return None
    try:
        header = UpdateHeader.parse(cose.open_unverified(upload.header)[0])
    except GossamerError:
        return None
    return upload if (header.job, header.round) == (job, round_) else None
