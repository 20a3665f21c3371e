"""Why devices did not take part, in their own words: one row per device and round, the last few of each device.

What a device says is not signed and is never counted, waited for or reckoned with: these rows are for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import absences as table
from gossamer.wire.codes import Absence

#: Rows kept of one device: the newest. A fleet of 10,000 that never takes part has 200,000 small rows.
ROWS_PER_DEVICE = 20


@dataclass(frozen=True, slots=True)
class AbsenceRow:
    """A round without this device; ``at`` is when the bridge was told, in Unix seconds."""

    device: str
    job: int
    round: int
    reason: Absence
    detail: str
    at: float


def keep(db: Connection, row: AbsenceRow) -> None:
    """Enter a row in place of the one for the same device and round; the device's oldest rows go."""
    mine = table.c.device == row.device
    same = sa.and_(mine, table.c.job == row.job, table.c.round == row.round)
    values = {"reason": int(row.reason), "detail": row.detail, "at": row.at}
    if db.execute(sa.update(table).where(same).values(**values)).rowcount:
        return
    db.execute(sa.insert(table).values(device=row.device, job=row.job, round=row.round, **values))
    newest = sa.select(table.c.job, table.c.round).where(mine).order_by(*_NEWEST_FIRST).offset(ROWS_PER_DEVICE)
    for job, round_ in db.execute(newest).all():
        db.execute(sa.delete(table).where(mine, table.c.job == job, table.c.round == round_))


def of(db: Connection, device: str, last: int = ROWS_PER_DEVICE) -> list[AbsenceRow]:
    """Return the last absences of a device, newest first."""
    query = sa.select(table).where(table.c.device == device).order_by(*_NEWEST_FIRST).limit(last)
    return [_row(found) for found in db.execute(query)]


def latest(db: Connection) -> dict[str, AbsenceRow]:
    """Return each device's newest absence."""
    newest = sa.select(table.c.device, sa.func.max(table.c.at).label("at")).group_by(table.c.device).subquery()
    same = sa.and_(table.c.device == newest.c.device, table.c.at == newest.c.at)
    query = sa.select(table).join(newest, same).order_by(table.c.device, table.c.job, table.c.round)
    return {found.device: _row(found) for found in db.execute(query)}


def since(db: Connection, job: int, round_: int) -> dict[str, AbsenceRow]:
    """Return each device's absence from the latest of a job's rounds from ``round_`` on that it stayed out of."""
    query = sa.select(table).where(table.c.job == job, table.c.round >= round_).order_by(table.c.round)
    return {found.device: _row(found) for found in db.execute(query)}


_NEWEST_FIRST = (table.c.at.desc(), table.c.job.desc(), table.c.round.desc())


def _row(found: sa.Row[Any]) -> AbsenceRow:
    fields = dict(found._mapping)
    known = fields["reason"] in set(Absence)  # a later version may have written it
    fields["reason"] = Absence(fields["reason"]) if known else Absence.OTHER
    return AbsenceRow(**fields)
