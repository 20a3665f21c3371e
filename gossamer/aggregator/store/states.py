"""The engine's own state between two rounds: target model, rule and server step, as opaque bytes."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import engine_states as table


@dataclass(frozen=True, slots=True)
class StoredState:
    """``target`` as :func:`gossamer.aggregator.store.models.to_blob` writes it; ``state`` is the engine's."""

    round: int
    target: bytes
    state: bytes


def put(db: Connection, job: int, stored: StoredState) -> None:
    """Write the state that the next round starts from."""
    values = {"round": stored.round, "target": stored.target, "state": stored.state}
    if db.execute(sa.update(table).where(table.c.job == job).values(**values)).rowcount == 0:
        db.execute(sa.insert(table).values(job=job, **values))


def get(db: Connection, job: int) -> StoredState | None:
    """Return the state, or None before the job's first round."""
    row = db.execute(sa.select(table).where(table.c.job == job)).first()
    return None if row is None else StoredState(row.round, bytes(row.target), bytes(row.state))
