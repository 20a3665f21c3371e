"""Uploads that are not complete yet: what was offered, and the chunks that are on disk.

A device has one at a time: it sends one update, and a new offer means that it gave up the old one.
So the disk a device can fill is one object, and all of them together are bounded by the caller
through :func:`total_bytes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import upload_chunks as chunks
from gossamer.aggregator.store.schema import uploads as table

#: A partial upload nobody touched for this long is dropped; its round is long over.
EXPIRY_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Upload:
    """What a device offered: enough to go on receiving after a restart."""

    device: str
    object_id: bytes
    kind: int
    size: int
    chunk_bytes: int
    header: bytes


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How much of a device's open upload is on disk; ``header`` is what it offered, signed, not verified here."""

    device: str
    size: int
    header: bytes
    touched_at: float
    have_bytes: int


def begin(db: Connection, upload: Upload, *, now: float) -> None:
    """Start receiving an object in place of whatever the device offered before."""
    drop(db, upload.device)
    row = {name: getattr(upload, name) for name in Upload.__slots__}
    db.execute(sa.insert(table).values(touched_at=now, **row))


def get(db: Connection, device: str) -> Upload | None:
    """Return the device's open upload, or None."""
    columns = [table.c[name] for name in Upload.__slots__]
    row = db.execute(sa.select(*columns).where(table.c.device == device)).first()
    return None if row is None else Upload(**row._mapping)


def keep(db: Connection, device: str, index: int, data: bytes, *, now: float) -> None:
    """Write one chunk; a second one of the same index changes nothing."""
    known = sa.select(chunks.c.chunk).where(chunks.c.device == device, chunks.c.chunk == index)
    if db.execute(known).first() is None:
        db.execute(sa.insert(chunks).values(device=device, chunk=index, data=data))
        db.execute(sa.update(table).where(table.c.device == device).values(touched_at=now))


def have(db: Connection, device: str) -> dict[int, bytes]:
    """Return the chunks on disk by index."""
    query = sa.select(chunks.c.chunk, chunks.c.data).where(chunks.c.device == device)
    return {row.chunk: bytes(row.data) for row in db.execute(query)}


def progress(db: Connection) -> dict[str, UploadProgress]:
    """Return device -> its open upload, for looking at."""
    have = sa.func.coalesce(sa.func.sum(sa.func.length(chunks.c.data)), 0).label("have_bytes")
    columns = (table.c.device, table.c.size, table.c.header, table.c.touched_at)
    joined = table.outerjoin(chunks, chunks.c.device == table.c.device)
    query = sa.select(*columns, have).select_from(joined).group_by(*columns)
    return {row.device: UploadProgress(**{**row._mapping, "header": bytes(row.header)}) for row in db.execute(query)}


def drop(db: Connection, device: str) -> None:
    """Forget the device's open upload."""
    db.execute(sa.delete(chunks).where(chunks.c.device == device))
    db.execute(sa.delete(table).where(table.c.device == device))


def total_bytes(db: Connection, *, besides: str = "") -> int:
    """Return the bytes that all open uploads (of other devices than ``besides``) may come to."""
    query = sa.select(sa.func.coalesce(sa.func.sum(table.c.size), 0)).where(table.c.device != besides)
    return int(db.execute(query).scalar_one())


def expire(db: Connection, *, now: float) -> int:
    """Drop uploads nobody touched for EXPIRY_SECONDS; returns how many."""
    query = sa.select(table.c.device).where(table.c.touched_at < now - EXPIRY_SECONDS)
    old = list(db.execute(query).scalars())
    for device in old:
        drop(db, device)
    return len(old)
