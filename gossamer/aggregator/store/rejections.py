"""What was refused: one counter per reason and device, never a row per message."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import rejections as table
from gossamer.wire.limits import MAX_DEVICE_CHARS

#: Pairs of (reason, device) kept apart; what comes after is counted under ANYBODY.
MAX_ROWS = 10_000
#: The device of a counter that stands for several: unknown ids, which anybody could invent without end.
ANYBODY = "*"
DETAIL_CHARS = 200


@dataclass(frozen=True, slots=True)
class Rejection:
    """One counter with the last case that moved it."""

    reason: str
    device: str
    count: int
    last_device: str
    detail: str
    at: float


def add(db: Connection, reason: str, device: str, detail: str, *, now: float, known: bool, count: int = 1) -> None:
    """Count a refusal. ``known``: the device is enrolled, so that it may have a counter of its own."""
    last = {"last_device": device[:MAX_DEVICE_CHARS], "detail": detail[:DETAIL_CHARS], "at": now}
    owner = device if known else ANYBODY
    if _raise(db, reason, owner, count, last):
        return
    rows = int(db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
    if rows >= MAX_ROWS:
        owner = ANYBODY
        if _raise(db, reason, owner, count, last):
            return
    db.execute(sa.insert(table).values(reason=reason, device=owner, count=count, **last))


def every(db: Connection) -> list[Rejection]:
    """Return all counters, by reason and device."""
    rows = db.execute(sa.select(table).order_by(table.c.reason, table.c.device))
    return [Rejection(**row._mapping) for row in rows]


def by_device(db: Connection) -> dict[str, list[Rejection]]:
    """Return device -> its counters, the one that moved last first; those of several together under ANYBODY."""
    found: dict[str, list[Rejection]] = {}
    for each in sorted(every(db), key=lambda rejection: -rejection.at):
        found.setdefault(each.device, []).append(each)
    return found


def newest(db: Connection, limit: int) -> list[Rejection]:
    """Return the counters that moved last, the newest first."""
    rows = db.execute(sa.select(table).order_by(table.c.at.desc(), table.c.reason, table.c.device).limit(limit))
    return [Rejection(**row._mapping) for row in rows]


def totals(db: Connection) -> dict[str, int]:
    """Return how often each reason was given."""
    query = sa.select(table.c.reason, sa.func.sum(table.c.count)).group_by(table.c.reason)
    return {reason: int(count) for reason, count in db.execute(query.order_by(table.c.reason))}


def _raise(db: Connection, reason: str, owner: str, count: int, last: dict[str, object]) -> bool:
    mine = sa.update(table).where(table.c.reason == reason, table.c.device == owner)
    return db.execute(mine.values(count=table.c.count + count, **last)).rowcount > 0
