"""The rounds of a job: one open at a time, from its opening to its seal."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import rounds as table


class RoundState(str, enum.Enum):
    """OPEN takes updates; SEALING has its set fixed and is being computed; SEALED has made a version."""

    OPEN = "open"
    SEALING = "sealing"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One row.

    ``version`` is what the round trains from, ``devices`` the fleet's size its cohort was drawn from,
    ``waited_seconds`` how long an aggregator has watched it while open.
    """

    job: int
    round: int
    version: int
    state: RoundState
    devices: int
    opened_at: float
    waited_seconds: float
    sealed_at: float | None
    manifest: bytes | None
    report: str | None


def open_round(
    db: Connection, job: int, round_: int, *, version: int, devices: int, manifest: bytes, now: float
) -> None:
    """Add a round in state open with its signed manifest."""
    db.execute(
        sa.insert(table).values(
            job=job,
            round=round_,
            version=version,
            state=RoundState.OPEN.value,
            devices=devices,
            opened_at=now,
            manifest=manifest,
        )
    )


def get(db: Connection, job: int, round_: int) -> RoundRow | None:
    """Return the round, or None."""
    row = db.execute(sa.select(table).where(table.c.job == job, table.c.round == round_)).first()
    return None if row is None else _round(row)


def latest(db: Connection, job: int) -> RoundRow | None:
    """Return the round that is open or sealing, or a finished job's closing one; None before the first."""
    query = sa.select(table).where(table.c.job == job).order_by(table.c.round.desc())
    row = db.execute(query.limit(1)).first()
    return None if row is None else _round(row)


def every(db: Connection, job: int) -> list[RoundRow]:
    """Return all rounds in order."""
    query = sa.select(table).where(table.c.job == job).order_by(table.c.round)
    return [_round(row) for row in db.execute(query)]


def reports(db: Connection, job: int, last: int | None = None) -> list[str]:
    """Return the reports of sealed rounds in order, without their manifests; only the ``last`` so many if given."""
    query = sa.select(table.c.report).where(table.c.job == job, table.c.report.is_not(None))
    query = query.order_by(table.c.round.desc())
    found = list(db.execute(query if last is None else query.limit(last)).scalars())
    return found[::-1]


def durations(db: Connection, job: int, last: int) -> list[float]:
    """Return how many seconds each of the ``last`` sealed rounds was open, newest first."""
    query = sa.select(table.c.opened_at, table.c.sealed_at).where(table.c.job == job, table.c.sealed_at.is_not(None))
    rows = db.execute(query.order_by(table.c.round.desc()).limit(last))
    return [row.sealed_at - row.opened_at for row in rows]


def sealed_after(db: Connection, job: int, after: int, limit: int) -> list[tuple[int, float, str]]:
    """Return (round, when it was sealed, report) of the first ``limit`` sealed rounds after a round, in order."""
    query = sa.select(table.c.round, table.c.sealed_at, table.c.report).where(table.c.job == job, table.c.round > after)
    query = query.where(table.c.report.is_not(None)).order_by(table.c.round).limit(limit)
    return [(row.round, row.sealed_at or 0.0, row.report) for row in db.execute(query)]


def set_state(db: Connection, job: int, round_: int, state: RoundState) -> None:
    """Move a round on."""
    _change(db, job, round_, state=state.value)


def waited(db: Connection, job: int, round_: int, seconds: float) -> None:
    """Note how long the open round has been watched."""
    _change(db, job, round_, waited_seconds=seconds)


def seal(db: Connection, job: int, round_: int, *, report: str, now: float) -> None:
    """Close a round for good."""
    _change(db, job, round_, state=RoundState.SEALED.value, report=report, sealed_at=now)


def set_manifest(db: Connection, job: int, round_: int, manifest: bytes) -> None:
    """Replace the signed manifest (a paused or resumed job)."""
    _change(db, job, round_, manifest=manifest)


def _change(db: Connection, job: int, round_: int, **values: object) -> None:
    db.execute(sa.update(table).where(table.c.job == job, table.c.round == round_).values(**values))


def _round(row: sa.Row[tuple[object, ...]]) -> RoundRow:
    fields = dict(row._mapping)
    fields["state"] = RoundState(fields["state"])
    return RoundRow(**fields)
