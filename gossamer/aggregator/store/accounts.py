"""What devices say of their bytes: one row per device that has a budget or a profile.

Said by the device and signed by nobody: for people, and for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import accounts as table


@dataclass(frozen=True, slots=True)
class AccountRow:
    """``month`` as YYYY-MM by the device's clock, ``budget_bytes`` 0 for none, ``profile`` empty for none.

    ``at`` is when the bridge was told, in Unix seconds.
    """

    device: str
    month: str
    spent_bytes: int
    budget_bytes: int
    profile: str
    at: float


def keep(db: Connection, row: AccountRow) -> None:
    """Enter a row in place of the device's last one."""
    values = {
        "month": row.month,
        "spent_bytes": row.spent_bytes,
        "budget_bytes": row.budget_bytes,
        "profile": row.profile,
        "at": row.at,
    }
    if not db.execute(sa.update(table).where(table.c.device == row.device).values(**values)).rowcount:
        db.execute(sa.insert(table).values(device=row.device, **values))


def get(db: Connection, device: str) -> AccountRow | None:
    """Return what the device said last, or None."""
    found = db.execute(sa.select(table).where(table.c.device == device)).first()
    return None if found is None else AccountRow(**found._mapping)


def latest(db: Connection) -> dict[str, AccountRow]:
    """Return what each device said last."""
    return {found.device: AccountRow(**found._mapping) for found in db.execute(sa.select(table))}
