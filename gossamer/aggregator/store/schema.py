"""The tables of the store, and the number of their version.

Plain SQL types only, so that SQLite and PostgreSQL hold the same thing. Times are seconds since the
epoch (float); bodies, lattices and keys are bytes; settings and reports are JSON text.

What grows and what bounds it is said beside each table (invariant I4).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from gossamer.wire.limits import MAX_DETAIL_BYTES, MAX_DEVICE_CHARS, MAX_PROFILE_CHARS

#: Raised whenever a table changes; a store of another version is refused, never guessed at. A table that is added
#: needs no other number: it is made when an older store is opened, and who does not know it does not look.
SCHEMA_VERSION = 1

NAME_CHARS = 64

metadata = MetaData()

#: One row per fact about the store itself: schema version, the bridge's boot counter.
meta = Table(
    "meta",
    metadata,
    Column("key", String(NAME_CHARS), primary_key=True),
    Column("value", String(NAME_CHARS), nullable=False),
)

#: One row per enrolled device; an index is never used twice.
devices = Table(
    "devices",
    metadata,
    Column("id", String(MAX_DEVICE_CHARS), primary_key=True),
    Column("device_index", Integer, nullable=False, unique=True),
    Column("bucket", String(2), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("held_job", Integer, nullable=False, default=0),
    Column("held_version", Integer, nullable=False, default=0),
    Column("boot", BigInteger, nullable=False, default=0),
    Column("online", Integer, nullable=False, default=0),
    Column("last_seen", Float, nullable=False, default=0.0),
)

#: One row per job.
jobs = Table(
    "jobs",
    metadata,
    Column("job", Integer, primary_key=True, autoincrement=False),
    Column("name", String(NAME_CHARS), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("settings", Text, nullable=False),
    Column("layout", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
)

#: Bounded: old versions lose their lattice, then their step (models.STEPS_KEPT).
models = Table(
    "models",
    metadata,
    Column("job", Integer, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("lattice", LargeBinary, nullable=True),
    Column("step", LargeBinary, nullable=True),
    Column("created_at", Float, nullable=False),
)

#: One small row per round.
rounds = Table(
    "rounds",
    metadata,
    Column("job", Integer, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("devices", Integer, nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("waited_seconds", Float, nullable=False, default=0.0),
    Column("sealed_at", Float, nullable=True),
    Column("manifest", LargeBinary, nullable=True),
    Column("report", Text, nullable=True),
)

#: Bounded: one row per device and round, without its body once sealed, and gone
#: inbox.RECEIPT_ROUNDS rounds before the device's latest.
inbox = Table(
    "inbox",
    metadata,
    Column("job", Integer, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("device", String(MAX_DEVICE_CHARS), primary_key=True),
    Column("object_id", LargeBinary, nullable=False),
    Column("counted_in", Integer, nullable=False),
    Column("base_version", Integer, nullable=False),
    Column("body", LargeBinary, nullable=True),
    Column("header", LargeBinary, nullable=True),
    Column("examples", BigInteger, nullable=False),
    Column("loss_micro", BigInteger, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("sealed_in", Integer, nullable=True),
    Index("inbox_by_seal", "job", "counted_in"),
    Index("inbox_by_object", "device", "object_id"),
)

#: Bounded: one per device (uploads.begin replaces), all together by the bridge's partial_bytes.
uploads = Table(
    "uploads",
    metadata,
    Column("device", String(MAX_DEVICE_CHARS), primary_key=True),
    Column("object_id", LargeBinary, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("chunk_bytes", Integer, nullable=False),
    Column("header", LargeBinary, nullable=False),
    Column("touched_at", Float, nullable=False),
)

upload_chunks = Table(
    "upload_chunks",
    metadata,
    Column("device", String(MAX_DEVICE_CHARS), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

#: Bounded by rejections.MAX_ROWS.
rejections = Table(
    "rejections",
    metadata,
    Column("reason", String(32), primary_key=True),
    Column("device", String(MAX_DEVICE_CHARS), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last_device", String(MAX_DEVICE_CHARS), nullable=False),
    Column("detail", String(200), nullable=False),
    Column("at", Float, nullable=False),
)

#: Bounded: absences.ROWS_PER_DEVICE per enrolled device.
absences = Table(
    "absences",
    metadata,
    Column("device", String(MAX_DEVICE_CHARS), primary_key=True),
    Column("job", Integer, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("reason", Integer, nullable=False),
    Column("detail", String(MAX_DETAIL_BYTES), nullable=False),
    Column("at", Float, nullable=False),
)

#: One row per enrolled device that says what it spends.
accounts = Table(
    "accounts",
    metadata,
    Column("device", String(MAX_DEVICE_CHARS), primary_key=True),
    Column("month", String(7), nullable=False),
    Column("spent_bytes", BigInteger, nullable=False),
    Column("budget_bytes", BigInteger, nullable=False),
    Column("profile", String(MAX_PROFILE_CHARS), nullable=False),
    Column("at", Float, nullable=False),
)

#: One row per job, rewritten by each seal.
engine_states = Table(
    "engine_states",
    metadata,
    Column("job", Integer, primary_key=True, autoincrement=False),
    Column("round", Integer, nullable=False),
    Column("target", LargeBinary, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

#: Deltas and snapshots that manifests name; bounded by objects.ROUNDS_KEPT.
objects = Table(
    "objects",
    metadata,
    Column("job", Integer, primary_key=True),
    Column("object_id", LargeBinary, primary_key=True),
    Column("kind", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("job", "object_id", name="objects_by_id"),
)
