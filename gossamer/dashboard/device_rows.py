"""The devices as the page lists them: rows, and the part of them that somebody asked for. Pure.

A row's ``standing`` is what became of it in the open round: ``arrived``, ``absent`` (it said why), ``waiting`` (online,
nothing yet), ``offline``, ``revoked``, or ``resting``: it is not called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gossamer.aggregator.store.absences import AbsenceRow
from gossamer.aggregator.store.accounts import AccountRow
from gossamer.aggregator.store.devices import Device

PAGE_SIZE = 50
MAX_PAGE_SIZE = 500
STANDINGS = ("arrived", "waiting", "absent", "offline", "resting", "revoked")


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device. ``called``: it belongs to the cohort of the open round. ``lag``: versions behind; None: unknown.

    ``told_at``, ``account_at``: when it said why it stays out, and what it has spent.
    """

    device: str
    index: int
    enrolled: bool
    online: bool
    last_contact: float
    model_version: int
    lag: int | None
    called: bool
    standing: str
    reason: str
    detail: str
    told_at: float
    month: str
    spent_bytes: int
    budget_bytes: int
    account_at: float
    profile: str


@dataclass(frozen=True, slots=True)
class OpenRound:
    """The round that devices are shown against; ``called`` and ``arrived`` by index and by name. None is open: -1."""

    job: int
    version: int
    round: int = -1
    called: Collection[int] = ()
    arrived: Collection[str] = ()


def row_of(device: Device, open_round: OpenRound, absent: AbsenceRow | None, account: AccountRow | None) -> DeviceRow:
    """One device's row. ``absent``: what it said last; of an earlier round it counts until its next turn."""
    called = device.index in open_round.called
    here = absent is not None and absent.round == open_round.round
    held = device.held_version if device.held_job == open_round.job else 0
    told = absent if here or not called else None
    return DeviceRow(
        device=device.id,
        index=device.index,
        enrolled=device.enrolled,
        online=device.online,
        last_contact=device.last_seen,
        model_version=held,
        lag=max(0, open_round.version - held) if device.last_seen else None,
        called=called,
        standing=standing(device, called, device.id in open_round.arrived, here),
        reason=told.reason.label if told else "",
        detail=told.detail if told else "",
        told_at=told.at if told else 0.0,
        month=account.month if account else "",
        spent_bytes=account.spent_bytes if account else 0,
        budget_bytes=account.budget_bytes if account else 0,
        account_at=account.at if account else 0.0,
        profile=account.profile if account else "",
    )


def standing(device: Device, called: bool, arrived: bool, absent: bool) -> str:
    """What became of a device in the open round; an update that is in outweighs all else."""
    if arrived:
        return "arrived"
    if not device.enrolled:
        return "revoked"
    if absent and called:
        return "absent"
    if not device.online:
        return "offline"
    return "waiting" if called else "resting"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which devices, in which order. ``state``: online, offline or revoked; empty texts ask for all."""

    text: str = ""
    state: str = ""
    standing: str = ""
    reason: str = ""
    order: str = "index"
    page: int = 1
    size: int = PAGE_SIZE


ORDERS: dict[str, Callable[[DeviceRow], Any]] = {
    "index": lambda row: row.index,
    "device": lambda row: row.device,
    "last_contact": lambda row: -row.last_contact,
    "silent": lambda row: row.last_contact,
    "lag": lambda row: -(row.lag or 0),
    "spent": lambda row: -(row.spent_bytes / row.budget_bytes if row.budget_bytes else 0.0),
}


def chosen(rows: Sequence[DeviceRow], asked: Asked) -> dict[str, Any]:
    """The page that was asked for, with counts over the whole fleet and over what was found."""
    found = [row for row in rows if fits(row, asked)]
    found.sort(key=lambda row: (ORDERS[asked.order](row), row.index))
    pages = max(1, -(-len(found) // asked.size))
    page = min(asked.page, pages)
    shown = found[(page - 1) * asked.size : page * asked.size]
    return {
        "counts": counts(rows),
        "found": len(found),
        "page": page,
        "pages": pages,
        "size": asked.size,
        "devices": [asdict(row) for row in shown],
    }


def fits(row: DeviceRow, asked: Asked) -> bool:
    """Whether a row is among those asked for."""
    states = {"online": row.enrolled and row.online, "offline": row.enrolled and not row.online}
    states["revoked"] = not row.enrolled
    return (
        asked.text.lower() in row.device.lower()
        and states.get(asked.state, True)
        and asked.standing in ("", row.standing)
        and asked.reason in ("", row.reason)
    )


def counts(rows: Sequence[DeviceRow]) -> dict[str, Any]:
    """How many devices there are of each sort."""
    enrolled = [row for row in rows if row.enrolled]
    online = sum(1 for row in enrolled if row.online)
    return {
        "devices": len(rows),
        "online": online,
        "offline": len(enrolled) - online,
        "revoked": len(rows) - len(enrolled),
        "standing": dict(Counter(row.standing for row in rows)),
        "reasons": dict(Counter(row.reason for row in rows if row.reason)),
    }
