"""Deltas and snapshots that manifests name, by their content's id, for the bridge to serve."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import objects as table

#: An object is served for this many rounds after the last manifest that named it: a device on a slow link
#: may still be fetching.
ROUNDS_KEPT = 4


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object; ``kind`` is a :class:`gossamer.wire.messages.Kind`."""

    object_id: bytes
    kind: int
    data: bytes


def put(db: Connection, job: int, found: StoredObject, *, round_: int) -> None:
    """Keep an object, or keep the one that is there for longer."""
    mine = sa.update(table).where(table.c.job == job, table.c.object_id == found.object_id)
    if db.execute(mine.values(round=round_)).rowcount == 0:
        row = {"job": job, "object_id": found.object_id, "kind": found.kind, "round": round_}
        db.execute(sa.insert(table).values(data=found.data, **row))


def get(db: Connection, object_id: bytes) -> StoredObject | None:
    """Return the object, or None when no recent manifest names it."""
    columns = (table.c.object_id, table.c.kind, table.c.data)
    row = db.execute(sa.select(*columns).where(table.c.object_id == object_id).limit(1)).first()
    return None if row is None else StoredObject(bytes(row.object_id), row.kind, bytes(row.data))


def size(db: Connection, object_id: bytes) -> int | None:
    """Return the bytes of an object, or None when no recent manifest names it."""
    query = sa.select(sa.func.length(table.c.data)).where(table.c.object_id == object_id)
    found = db.execute(query.limit(1)).scalar()
    return None if found is None else int(found)


def prune(db: Connection, job: int, *, round_: int) -> None:
    """Drop what no manifest of the last ROUNDS_KEPT rounds named."""
    db.execute(sa.delete(table).where(table.c.job == job, table.c.round < round_ - ROUNDS_KEPT))
