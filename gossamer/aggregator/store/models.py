"""Model versions: digest, lattice and the step that led there.

A lattice is int32 (d,) and is stored little-endian, whatever the machine. Version 0 and the latest
versions keep theirs; a change between two versions is the sum of the steps between, so old lattices
are not needed to serve a device that was away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import models as table

#: Latest versions whose whole lattice is kept (4 bytes a parameter each); version 0 is kept besides.
LATTICES_KEPT = 8
#: Latest versions whose step is kept; a device further behind takes the snapshot.
STEPS_KEPT = 128

Lattice = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One version without its blobs."""

    job: int
    version: int
    digest: bytes
    created_at: float


def add(
    db: Connection, job: int, version: int, *, digest: bytes, lattice: Lattice, step: bytes | None, now: float
) -> None:
    """Add a version and drop what is older than the history kept."""
    db.execute(
        sa.insert(table).values(
            job=job,
            version=version,
            digest=digest,
            lattice=to_blob(lattice),
            step=step,
            created_at=now,
        )
    )
    _prune(db, job, version)


def get(db: Connection, job: int, version: int) -> ModelRow | None:
    """Return the version's digest and time, or None."""
    columns = (table.c.job, table.c.version, table.c.digest, table.c.created_at)
    row = db.execute(sa.select(*columns).where(table.c.job == job, table.c.version == version)).first()
    return None if row is None else ModelRow(**row._mapping)


def lattice(db: Connection, job: int, version: int) -> Lattice | None:
    """Return int32 (d,), or None when it was never there or is no longer kept."""
    query = sa.select(table.c.lattice).where(table.c.job == job, table.c.version == version)
    blob = db.execute(query).scalar()
    return None if blob is None else from_blob(blob)


def steps(db: Connection, job: int, *, after: int, upto: int) -> list[bytes] | None:
    """Return the steps of versions after+1 .. upto in order, or None when one is no longer kept."""
    query = (
        sa.select(table.c.step)
        .where(table.c.job == job, table.c.version > after, table.c.version <= upto)
        .where(table.c.step.is_not(None))
        .order_by(table.c.version)
    )
    found = [bytes(step) for step in db.execute(query).scalars()]
    return found if len(found) == upto - after else None


def to_blob(vector: Lattice) -> bytes:
    """Return int32 (d,) as little-endian bytes."""
    return np.ascontiguousarray(vector, dtype="<i4").tobytes()


def from_blob(blob: bytes) -> Lattice:
    """Return little-endian bytes as int32 (d,)."""
    return np.frombuffer(blob, dtype="<i4").astype(np.int32)


def _prune(db: Connection, job: int, version: int) -> None:
    mine = (table.c.job == job, table.c.version > 0)
    old_lattices = sa.update(table).where(*mine, table.c.version <= version - LATTICES_KEPT)
    db.execute(old_lattices.where(table.c.lattice.is_not(None)).values(lattice=None))
    old_steps = sa.update(table).where(*mine, table.c.version <= version - STEPS_KEPT)
    db.execute(old_steps.where(table.c.step.is_not(None)).values(step=None))
