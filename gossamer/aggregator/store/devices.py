"""The devices of the fleet: who may send, under which key, and what they hold."""

from __future__ import annotations

import enum
import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.store.schema import devices as table
from gossamer.errors import ConfigError
from gossamer.wire.topics import check_device

KEY_BYTES = 32  # a raw Ed25519 public key


class DeviceState(str, enum.Enum):
    """Whether what a device signs is believed."""

    ENROLLED = "enrolled"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Device:
    """One row: ``index`` is its place in the cohorts, ``held_version`` the model it reported last."""

    id: str
    index: int
    bucket: str
    public_key: bytes
    state: DeviceState
    held_job: int
    held_version: int
    boot: int
    online: bool
    last_seen: float

    @property
    def enrolled(self) -> bool:
        """Whether its updates are wanted."""
        return self.state is DeviceState.ENROLLED


def enroll(db: Connection, device_id: str, public_key: bytes) -> Device:
    """Add a device, or give back the one that is there under the same key.

    A revoked device may be enrolled again under a new key; it keeps its index.

    Raises:
        ConfigError: an id no topic can carry, a key of the wrong size, or another key than enrolled.
    """
    check_device(device_id)
    if len(public_key) != KEY_BYTES:
        size = len(public_key)
        raise ConfigError(f"device {device_id}: a public key has {KEY_BYTES} bytes, this one {size}")
    present = get(db, device_id)
    if present is None:
        highest = db.execute(sa.select(sa.func.max(table.c.device_index))).scalar()
        row = {
            "id": device_id,
            "device_index": 0 if highest is None else highest + 1,
            "bucket": hashlib.sha256(device_id.encode()).hexdigest()[:2],
            "public_key": public_key,
            "state": DeviceState.ENROLLED.value,
        }
        db.execute(sa.insert(table).values(**row))
    elif present.enrolled and present.public_key != public_key:
        raise ConfigError(f"device {device_id} is enrolled under another key; revoke it first")
    elif not present.enrolled:
        change = {"state": DeviceState.ENROLLED.value, "public_key": public_key, "held_version": 0, "boot": 0}
        db.execute(sa.update(table).where(table.c.id == device_id).values(**change))
    found = get(db, device_id)
    assert found is not None  # noqa: S101 - written two lines above
    return found


def revoke(db: Connection, device_id: str) -> None:
    """Believe nothing from this device any more. What was counted before stays counted.

    Raises:
        ConfigError: no such device.
    """
    change = sa.update(table).where(table.c.id == device_id).values(state=DeviceState.REVOKED.value)
    if db.execute(change).rowcount == 0:
        raise ConfigError(f"no device {device_id} in this fleet; `gossamer fleet list` names them")


def get(db: Connection, device_id: str) -> Device | None:
    """Return the device, or None."""
    row = db.execute(sa.select(table).where(table.c.id == device_id)).first()
    return None if row is None else _device(row)


def every(db: Connection, *, indexes: Collection[int] | None = None) -> list[Device]:
    """Return the devices (of these indexes), by ascending index."""
    query = sa.select(table).order_by(table.c.device_index)
    wanted = None if indexes is None else set(indexes)
    return [_device(row) for row in db.execute(query) if wanted is None or row.device_index in wanted]


def count(db: Connection) -> int:
    """Return how many indexes are taken: enrolled and revoked devices."""
    return int(db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def revoked(db: Connection) -> frozenset[int]:
    """Return the indexes of the devices nothing is expected from."""
    query = sa.select(table.c.device_index).where(table.c.state != DeviceState.ENROLLED.value)
    return frozenset(db.execute(query).scalars())


def held(db: Connection, job: int, indexes: Collection[int] | None = None) -> Counter[int]:
    """Return model version -> how many enrolled devices (of these indexes) hold it.

    A device that holds another job's model is at version 0 of this one, which it can make itself.
    """
    query = sa.select(table.c.device_index, table.c.held_job, table.c.held_version)
    rows = db.execute(query.where(table.c.state == DeviceState.ENROLLED.value)).all()
    wanted = None if indexes is None else set(indexes)
    mine = [row for row in rows if wanted is None or row.device_index in wanted]
    return Counter(row.held_version if row.held_job == job else 0 for row in mine)


def born(db: Connection, device_id: str, *, boot: int, job: int, version: int, now: float) -> bool:
    """Note a BIRTH; returns False for one older than what is known (a retained message, late)."""
    change = {"boot": boot, "online": 1, "held_job": job, "held_version": version, "last_seen": now}
    return _at_least(db, device_id, boot, change)


def died(db: Connection, device_id: str, *, boot: int, now: float) -> bool:
    """Note a DEATH; returns False when the device has been born again since."""
    return _at_least(db, device_id, boot, {"online": 0, "last_seen": now})


def holds(db: Connection, device_id: str, *, job: int, version: int, now: float) -> None:
    """Note that the device showed, by what it sent, that it holds this model version."""
    change = {"held_job": job, "held_version": version, "last_seen": now}
    db.execute(sa.update(table).where(table.c.id == device_id).values(**change))


def seen(db: Connection, device_id: str, *, now: float) -> None:
    """Note that the device was heard."""
    db.execute(sa.update(table).where(table.c.id == device_id).values(last_seen=now))


def _at_least(db: Connection, device_id: str, boot: int, change: Mapping[str, object]) -> bool:
    query = sa.update(table).where(table.c.id == device_id, table.c.boot <= boot).values(**change)
    return db.execute(query).rowcount > 0


def _device(row: sa.Row[tuple[object, ...]]) -> Device:
    fields = dict(row._mapping)
    fields["index"] = fields.pop("device_index")
    fields["state"] = DeviceState(fields["state"])
    fields["online"] = bool(fields["online"])
    return Device(**fields)
