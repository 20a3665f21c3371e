"""Whether anything has changed since the last look: a few numbers in place of the tables they are of.

For whoever shows the store and must not read all of it each second. Two looks that are equal in a part may have missed
nothing that a reader of that part would see.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import devices, inbox, jobs, rejections, rounds

Numbers = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Pulse:
    """``jobs``: states, rounds and what has arrived; ``devices``: who is there; ``rejections``: what was refused."""

    jobs: Numbers
    devices: Numbers
    rejections: Numbers


PARTS = tuple(each.name for each in fields(Pulse))


def take(db: Connection) -> Pulse:
    """Read the numbers; time grows with the devices, about a millisecond for ten thousand."""
    return Pulse(_jobs(db), _devices(db), _rejections(db))


def _jobs(db: Connection) -> Numbers:
    found: list[object] = []
    for row in db.execute(sa.select(jobs.c.job, jobs.c.state, jobs.c.version).order_by(jobs.c.job)):
        newest = sa.select(sa.func.max(rounds.c.round)).where(rounds.c.job == row.job).scalar_subquery()
        query = sa.select(rounds.c.round, rounds.c.state).where(rounds.c.job == row.job, rounds.c.round == newest)
        latest = db.execute(query).first()
        arrived = 0
        if latest is not None:
            mine = (inbox.c.job == row.job, inbox.c.counted_in == latest.round)
            arrived = db.execute(sa.select(sa.func.count()).select_from(inbox).where(*mine)).scalar_one()
        found.append((*row, *(latest or ()), arrived))
    return tuple(found)


def _devices(db: Connection) -> Numbers:
    """What a device says of itself, absences and accounts included, also moves when it was last seen."""
    table = devices
    query = sa.select(
        sa.func.count(), sa.func.sum(table.c.online), sa.func.max(table.c.last_seen), sa.func.sum(table.c.held_version),
        sa.func.sum(sa.case((table.c.state == "enrolled", 1), else_=0)),
    )  # fmt: skip
    return tuple(db.execute(query).one())


def _rejections(db: Connection) -> Numbers:
    return tuple(db.execute(sa.select(sa.func.sum(rejections.c.count), sa.func.max(rejections.c.at))).one())
