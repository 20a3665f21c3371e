"""Model versions: digest, the whole model and the step that led there.

A model is stored as the bytes of its ``SharedModel``. Version 0 and the latest versions keep theirs; a change
between two versions is the sum of the steps between, so old ones are not needed to serve a device that was away.
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
#: Latest cycles whose first version is kept whole, for models with history.
CYCLES_KEPT = 3
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
    db: Connection, job: int, version: int, *, digest: bytes, state: bytes, step: bytes | None, now: float,
    latest: int = LATTICES_KEPT, cycle: int = 1,
) -> None:  # fmt: skip
    """Add a version and drop what is older than the history kept.

    Kept whole are version 0, the ``latest`` ones, and with ``cycle`` above 1 those at the start of the last
    CYCLES_KEPT cycles of so many versions.
    """
    db.execute(
        sa.insert(table).values(
            job=job,
            version=version,
            digest=digest,
            lattice=state,
            step=step,
            created_at=now,
        )
    )
    _prune(db, job, version, latest, cycle)


def get(db: Connection, job: int, version: int) -> ModelRow | None:
    """Return the version's digest and time, or None."""
    columns = (table.c.job, table.c.version, table.c.digest, table.c.created_at)
    row = db.execute(sa.select(*columns).where(table.c.job == job, table.c.version == version)).first()
    return None if row is None else ModelRow(**row._mapping)


def state(db: Connection, job: int, version: int) -> bytes | None:
    """Return a version's ``SharedModel`` as bytes, or None when it was never there or is no longer kept."""
    query = sa.select(table.c.lattice).where(table.c.job == job, table.c.version == version)
    blob = db.execute(query).scalar()
    return None if blob is None else bytes(blob)


def whole_before(db: Connection, job: int, version: int) -> int:
    """Return the latest version up to ``version`` that is kept whole; 0 always is."""
    query = sa.select(sa.func.max(table.c.version)).where(
        table.c.job == job, table.c.version <= version, table.c.lattice.is_not(None)
    )
    return int(db.execute(query).scalar() or 0)


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


def _prune(db: Connection, job: int, version: int, latest: int, cycle: int) -> None:
    mine = (table.c.job == job, table.c.version > 0)
    old_lattices = sa.update(table).where(*mine, table.c.version <= version - latest)
    if cycle > 1:
        beginning = sa.and_(table.c.version % cycle == 0, table.c.version > version - CYCLES_KEPT * cycle)
        old_lattices = old_lattices.where(sa.not_(beginning))
    db.execute(old_lattices.where(table.c.lattice.is_not(None)).values(lattice=None))
    old_steps = sa.update(table).where(*mine, table.c.version <= version - STEPS_KEPT)
    db.execute(old_steps.where(table.c.step.is_not(None)).values(step=None))
