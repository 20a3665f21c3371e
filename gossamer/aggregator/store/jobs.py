"""The jobs of the fleet. Their settings are text here; ``gossamer.aggregator.jobs`` gives them meaning."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import NAME_CHARS
from gossamer.aggregator.store.schema import jobs as table
from gossamer.errors import ConfigError


class JobState(str, enum.Enum):
    """Where a job stands. Only an open job seals rounds."""

    OPEN = "open"
    PAUSED = "paused"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class JobRow:
    """One row; ``version`` is the model version that the open round starts from."""

    job: int
    name: str
    state: JobState
    settings: str
    layout: str
    version: int
    created_at: float


def add(db: Connection, *, job: int, name: str, settings: str, layout: str, now: float) -> JobRow:
    """Add a job in state open at version 0.

    Raises:
        ConfigError: the name or the number is taken, or unusable.
    """
    if not 0 < len(name) <= NAME_CHARS:
        raise ConfigError(f"job name {name!r}: 1 to {NAME_CHARS} characters")
    taken = sa.select(table.c.name).where(sa.or_(table.c.job == job, table.c.name == name))
    if db.execute(taken).first() is not None:
        raise ConfigError(f"job {name!r} (number {job}): name or number is taken in this store")
    row = JobRow(job, name, JobState.OPEN, settings, layout, 0, now)
    db.execute(
        sa.insert(table).values(
            job=job,
            name=name,
            state=row.state.value,
            settings=settings,
            layout=layout,
            version=0,
            created_at=now,
        )
    )
    return row


def get(db: Connection, job: int) -> JobRow | None:
    """Return the job, or None."""
    row = db.execute(sa.select(table).where(table.c.job == job)).first()
    return None if row is None else _job(row)


def every(db: Connection) -> list[JobRow]:
    """Return all jobs by ascending number."""
    return [_job(row) for row in db.execute(sa.select(table).order_by(table.c.job))]


def current(db: Connection) -> JobRow | None:
    """Return the job the fleet works on: the first that is not finished, else the last finished.

    A fleet has one manifest topic, so jobs queue in the order of their numbers.
    """
    found = every(db)
    unfinished = [row for row in found if row.state is not JobState.FINISHED]
    return unfinished[0] if unfinished else (found[-1] if found else None)


def lock(db: Connection, job: int, *, exclusive: bool) -> JobRow | None:
    """Return the job and hold its row until the transaction ends.

    Accepting an update takes it shared, sealing a round takes it exclusively, so that no update slips
    between the two. SQLite has no row locks and needs none: a writer has the store to itself.
    """
    query = sa.select(table).where(table.c.job == job).with_for_update(read=not exclusive)
    row = db.execute(query).first()
    return None if row is None else _job(row)


def advance(db: Connection, job: int, *, version: int, state: JobState) -> None:
    """Set the version and the state."""
    change = {"version": version, "state": state.value}
    db.execute(sa.update(table).where(table.c.job == job).values(**change))


def set_state(db: Connection, job: int, state: JobState) -> None:
    """Pause or resume a job."""
    db.execute(sa.update(table).where(table.c.job == job).values(state=state.value))


def _job(row: sa.Row[tuple[object, ...]]) -> JobRow:
    fields = dict(row._mapping)
    fields["state"] = JobState(fields["state"])
    return JobRow(**fields)
