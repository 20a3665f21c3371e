"""Updates that were accepted: durable, verified, still compressed, and counted once.

An update is for one round (``round``) and is counted in one (``counted_in``: the same, or a later one
when it came late). Both are fixed when it is accepted, in the transaction that accepts it; so what
a seal counts does not depend on when it looks, and a device that was told *counted* is. One thing moves
``counted_in``: a round that closes empty-handed hands what it has to the next (:func:`carry`), in the
transaction that closes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import devices
from gossamer.aggregator.store.schema import inbox as table

#: A device's receipts are kept this many rounds before its latest one. It has settled older ones itself,
#: because it holds one update at a time; a replay of them is refused for its age.
RECEIPT_ROUNDS = 64


@dataclass(frozen=True, slots=True)
class NewUpdate:
    """What the bridge accepts."""

    job: int
    round: int
    device: str
    object_id: bytes
    counted_in: int
    base_version: int
    body: bytes
    header: bytes
    examples: int
    loss_micro: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of an accepted update; ``sealed_in`` is the model version it is part of, or None."""

    job: int
    round: int
    device: str
    object_id: bytes
    counted_in: int
    sealed_in: int | None


@dataclass(frozen=True, slots=True)
class CountedUpdate:
    """What the engine reads of an update, without its body of ``size`` bytes; ``header`` is the signed one."""

    device: str
    index: int
    round: int
    base_version: int
    examples: int
    loss_micro: int
    header: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """One update as an operator looks at it."""

    device: str
    job: int
    round: int
    counted_in: int
    base_version: int
    received_at: float
    sealed_in: int | None


_RECEIPT = tuple(table.c[name] for name in Receipt.__slots__)
_ARRIVAL = tuple(table.c[name] for name in Arrival.__slots__)


def add(db: Connection, update: NewUpdate, *, now: float) -> None:
    """Insert an update. The primary key (job, round, device) refuses a second one (StoreBusy: look again)."""
    row = {name: getattr(update, name) for name in NewUpdate.__slots__}
    db.execute(sa.insert(table).values(received_at=now, **row))


def receipt(db: Connection, job: int, round_: int, device: str) -> Receipt | None:
    """Return what is known of the device's update for that round."""
    query = sa.select(*_RECEIPT).where(table.c.job == job, table.c.round == round_, table.c.device == device)
    return _receipt(db, query)


def receipt_of_object(db: Connection, device: str, object_id: bytes) -> Receipt | None:
    """Return what is known of the device's update with that object id."""
    query = sa.select(*_RECEIPT).where(table.c.device == device, table.c.object_id == object_id)
    return _receipt(db, query.order_by(table.c.job.desc(), table.c.round.desc()))


def arrived(db: Connection, job: int, round_: int) -> tuple[int, int]:
    """Return how many updates a round has: (for this very round, from devices still enrolled; all)."""
    mine = (table.c.job == job, table.c.counted_in == round_)
    every = int(db.execute(sa.select(sa.func.count()).select_from(table).where(*mine)).scalar_one())
    joined = table.join(devices, devices.c.id == table.c.device)
    query = sa.select(sa.func.count()).select_from(joined)
    query = query.where(*mine, table.c.round == round_, devices.c.state == "enrolled")
    return int(db.execute(query).scalar_one()), every


def has(db: Connection, job: int, counted_in: int, index: int) -> bool:
    """Return whether an update of the device with that index, late or not, counts in a round."""
    joined = table.join(devices, devices.c.id == table.c.device)
    query = sa.select(sa.func.count()).select_from(joined).where(table.c.job == job, table.c.counted_in == counted_in)
    return bool(db.execute(query.where(devices.c.device_index == index)).scalar_one())


def senders(db: Connection, job: int, round_: int) -> frozenset[str]:
    """Return the devices whose updates for this very round are in."""
    mine = (table.c.job == job, table.c.counted_in == round_, table.c.round == round_)
    return frozenset(db.execute(sa.select(table.c.device).where(*mine)).scalars())


def arrivals(db: Connection, job: int, round_: int) -> dict[str, Arrival]:
    """Return device -> its update for that round, whether it counts there or in a later one."""
    query = sa.select(*_ARRIVAL).where(table.c.job == job, table.c.round == round_)
    return {row.device: Arrival(**row._mapping) for row in db.execute(query)}


def of_device(db: Connection, device: str, last: int) -> list[Arrival]:
    """Return the last updates of a device, newest first."""
    query = sa.select(*_ARRIVAL).where(table.c.device == device)
    newest = query.order_by(table.c.job.desc(), table.c.round.desc()).limit(last)
    return [Arrival(**row._mapping) for row in db.execute(newest)]


def counted(db: Connection, job: int, counted_in: int) -> list[CountedUpdate]:
    """Return the updates to be counted in a round, late ones among them, in no particular order."""
    size = sa.func.length(table.c.body).label("size")
    columns = (table.c.round, table.c.base_version, table.c.examples, table.c.loss_micro, table.c.header, size)
    joined = table.join(devices, devices.c.id == table.c.device)
    query = sa.select(table.c.device, devices.c.device_index.label("index"), *columns).select_from(joined)
    mine = query.where(table.c.job == job, table.c.counted_in == counted_in)
    return [CountedUpdate(**{**row._mapping, "header": bytes(row.header)}) for row in db.execute(mine)]


def body(db: Connection, job: int, round_: int, device: str) -> bytes | None:
    """Return one update's body, or None once it is sealed."""
    query = sa.select(table.c.body).where(table.c.job == job, table.c.round == round_, table.c.device == device)
    found = db.execute(query).scalar()
    return None if found is None else bytes(found)


def carry(db: Connection, job: int, counted_in: int) -> int:
    """Let a round's updates count in the next one, which must exist or come; returns how many."""
    mine = (table.c.job == job, table.c.counted_in == counted_in)
    return db.execute(sa.update(table).where(*mine).values(counted_in=counted_in + 1)).rowcount


def seal(db: Connection, job: int, counted_in: int, version: int) -> None:
    """Mark a round's updates as part of ``version`` and let go of their bodies and of old receipts."""
    mine = (table.c.job == job, table.c.counted_in == counted_in)
    db.execute(sa.update(table).where(*mine).values(sealed_in=version, body=None, header=None))
    sealed_devices = sa.select(table.c.device).where(*mine).scalar_subquery()
    old = (table.c.job == job, table.c.round < counted_in - RECEIPT_ROUNDS, table.c.sealed_in.is_not(None))
    db.execute(sa.delete(table).where(*old, table.c.device.in_(sealed_devices)))


def _receipt(db: Connection, query: sa.Select[tuple[object, ...]]) -> Receipt | None:
    row = db.execute(query.limit(1)).first()
    if row is None:
        return None
    fields = dict(row._mapping)
    return Receipt(**{**fields, "object_id": bytes(fields["object_id"])})
