"""What the device must not lose, in one SQLite file (the choice: docs/decisions/0002-agent-store.md).

Each public method is one transaction: after a kill at any instruction the file is as before it or as after.
Vectors are opaque bytes here (int32, little endian, lattice units): the agent process never loads numpy.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from gossamer.agent.records import Ledger, Marks, OutboxEntry, Partial, StoredModel
from gossamer.agent.storage import Database, translated
from gossamer.errors import StoreError

FILE_NAME = "agent.db"
LOCK_NAME = "agent.lock"
SCHEMA_VERSION = 2
DIGEST_BYTES = 16

_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE identity(fleet TEXT NOT NULL, device TEXT NOT NULL);
CREATE TABLE model(one INTEGER PRIMARY KEY CHECK (one = 1), job INTEGER NOT NULL, version INTEGER NOT NULL,
    digest BLOB NOT NULL, lattice BLOB NOT NULL, layout BLOB NOT NULL);
CREATE TABLE residual(one INTEGER PRIMARY KEY CHECK (one = 1), job INTEGER NOT NULL, digest BLOB NOT NULL,
    vector BLOB NOT NULL);
CREATE TABLE outbox(one INTEGER PRIMARY KEY CHECK (one = 1), object_id BLOB NOT NULL, job INTEGER NOT NULL,
    round INTEGER NOT NULL, header BLOB NOT NULL, body BLOB NOT NULL, if_counted BLOB, if_dropped BLOB);
CREATE TABLE partial(one INTEGER PRIMARY KEY CHECK (one = 1), object_id BLOB NOT NULL, offer BLOB NOT NULL);
CREATE TABLE chunk(number INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE ledger(month TEXT, way TEXT, cause TEXT, bytes INTEGER NOT NULL,
    PRIMARY KEY (month, way, cause)) WITHOUT ROWID;
CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE epochs(job INTEGER PRIMARY KEY, state TEXT NOT NULL);
"""


class AgentStore:
    """The device's durable state. One process at a time; methods raise :class:`StoreError` and subclasses."""

    def __init__(self, directory: Path, fleet: str, device: str) -> None:
        """Open or make the store of this device.

        Raises :class:`StoreBusy` when another agent uses it, :class:`StoreError` when it is damaged or
        another device's.
        """
        self.path = directory / FILE_NAME
        self._db = Database(self.path, directory / LOCK_NAME)
        try:
            self._prepare(fleet, device)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file. Nothing is lost without it."""
        self._db.close()

    # -- marks ---------------------------------------------------------------------------------------------

    def marks(self) -> Marks:
        """The high-water marks."""
        rows = dict(self._db.all("SELECT key, value FROM meta"))
        return Marks(**{name: rows.get(name, -1) for name in Marks.__slots__})

    def keep_manifest(self, job: int, round_: int, version: int) -> None:
        """Remember the newest manifest believed."""
        with self._db.transaction() as db:
            _set_meta(db, job=job, round=round_, version=version)

    def boot(self) -> int:
        """The number of the latest attempt to connect; 0: never."""
        row = self._db.one("SELECT value FROM meta WHERE key = 'boot'")
        return int(row[0]) if row else 0

    def keep_boot(self, boot: int) -> None:
        """Remember the number of an attempt, before it is made."""
        with self._db.transaction() as db:
            _set_meta(db, boot=boot)

    # -- model ---------------------------------------------------------------------------------------------

    def model(self) -> StoredModel | None:
        """The model, its digest verified."""
        row = self._db.one("SELECT job, version, digest, lattice, layout FROM model")
        if row is None:
            return None
        model = StoredModel(*row)
        self._verify("the stored model", model.lattice, model.digest)
        return model

    def keep_model(self, model: StoredModel) -> None:
        """Replace the model; what was downloaded for it has served its purpose."""
        self._verify("the new model", model.lattice, model.digest)
        with self._db.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO model VALUES (1, ?, ?, ?, ?, ?)",
                (model.job, model.version, model.digest, model.lattice, model.layout),
            )
            _drop_partial(db)

    def body_bytes(self, job: int) -> int:
        """The length of the last update of this job; 0: there was none."""
        rows = dict(self._db.all("SELECT key, value FROM meta WHERE key IN ('body_job', 'body_bytes')"))
        return int(rows.get("body_bytes", 0)) if rows.get("body_job") == job else 0

    def residual(self, job: int) -> bytes | None:
        """What the codec has left unsent in this job; None: nothing."""
        row = self._db.one("SELECT digest, vector FROM residual WHERE job = ?", job)
        if row is None:
            return None
        self._verify("the stored residual", row[1], row[0])
        return bytes(row[1])

    def epochs(self, job: int) -> str | None:
        """What the device has learned about its local epochs in this job (see ``agent.choosing``), or None."""
        row = self._db.one("SELECT state FROM epochs WHERE job = ?", job)
        return None if row is None else str(row[0])

    # -- outbox --------------------------------------------------------------------------------------------

    def outbox(self) -> OutboxEntry | None:
        """The update on its way, if any."""
        row = self._db.one("SELECT object_id, job, round, header, body, if_counted, if_dropped FROM outbox")
        if row is None:
            return None
        entry = OutboxEntry(*row)
        if hashlib.sha256(entry.body).digest()[: len(entry.object_id)] != entry.object_id:
            raise self._db.damaged("the update in the outbox does not have the digest it was stored with")
        return entry

    def post(self, entry: OutboxEntry) -> None:
        """Put an update into the outbox and mark its round as done, at once."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO outbox VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                (
                    entry.object_id, entry.job, entry.round, entry.header, entry.body,
                    entry.if_counted, entry.if_dropped,
                ),
            )  # fmt: skip
            if entry.epochs is not None:
                db.execute("INSERT OR REPLACE INTO epochs VALUES (?, ?)", (entry.job, entry.epochs))
            _set_meta(db, done_job=entry.job, done_round=entry.round)
            _set_meta(db, body_job=entry.job, body_bytes=len(entry.body))

    def settle(self, object_id: bytes, *, counted: bool) -> None:
        """The fate of an update is known: its residual takes effect and it leaves the outbox, at once.

        A second call for the same update changes nothing.
        """
        with self._db.transaction() as db:
            column = "if_counted" if counted else "if_dropped"
            row = db.execute(
                f"SELECT job, {column} FROM outbox WHERE object_id = ?",  # noqa: S608 - one of two literals
                (object_id,),
            ).fetchone()
            if row is None:
                return
            if row[1] is not None:
                digest = _digest(row[1])
                db.execute("INSERT OR REPLACE INTO residual VALUES (1, ?, ?, ?)", (row[0], digest, row[1]))
            db.execute("DELETE FROM outbox")
            _count(db, "rounds_counted" if counted else "rounds_dropped")

    def skip(self, job: int, round_: int) -> None:
        """Give a round up (a failed fit): it is not tried again."""
        with self._db.transaction() as db:
            _set_meta(db, done_job=job, done_round=round_)
            _count(db, "rounds_failed")

    def retry(self, job: int, round_: int) -> bool:
        """Try a round again that was given up, and that the server still waits for: its trainer was mended.

        Whoever calls this knows that nothing of this device was counted for the round. Returns whether there was
        such a round; never one with an update on its way.
        """
        marks = self.marks()
        if (marks.done_job, marks.done_round) != (job, round_) or self.outbox() is not None:
            return False
        with self._db.transaction() as db:
            _set_meta(db, done_round=round_ - 1)
        return True

    # -- download ------------------------------------------------------------------------------------------

    def partial(self) -> Partial | None:
        """The download that has begun, if any."""
        row = self._db.one("SELECT object_id, offer FROM partial")
        if row is None:
            return None
        return Partial(row[0], row[1], dict(self._db.all("SELECT number, data FROM chunk")))

    def begin_partial(self, object_id: bytes, offer: bytes) -> None:
        """Begin a download; an earlier one is forgotten."""
        with self._db.transaction() as db:
            _drop_partial(db)
            db.execute("INSERT INTO partial VALUES (1, ?, ?)", (object_id, offer))

    def keep_chunk(self, object_id: bytes, number: int, data: bytes) -> None:
        """Keep one chunk of the download that has begun; one of another object is ignored."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO chunk SELECT ?, ? FROM partial WHERE object_id = ?",
                (number, data, object_id),
            )

    def drop_partial(self) -> None:
        """Forget the download."""
        with self._db.transaction() as db:
            _drop_partial(db)

    # -- ledger --------------------------------------------------------------------------------------------

    def add_to_ledger(self, month: str, up: Mapping[str, int], down: Mapping[str, int]) -> None:
        """Add bytes by cause to the account of ``month`` ("2026-11"); what was charged ahead is thereby settled."""
        rows = [(month, "up", cause, n) for cause, n in up.items() if n]
        rows += [(month, "down", cause, n) for cause, n in down.items() if n]
        if rows or self._db.one("SELECT 1 FROM meta WHERE key = 'ahead'"):
            with self._db.transaction() as db:
                _add(db, rows)
                db.execute("DELETE FROM meta WHERE key = 'ahead'")

    def charge_ahead(self, count: int) -> None:
        """So many bytes may have passed since the last :meth:`add_to_ledger`: if nothing follows, they have."""
        with self._db.transaction() as db:
            _set_meta(db, ahead=count)

    def settle_ahead(self, month: str) -> int:
        """After a kill: what was charged ahead is taken for spent, in ``month``. Returns the bytes."""
        row = self._db.one("SELECT value FROM meta WHERE key = 'ahead'")
        if row is None:
            return 0
        with self._db.transaction() as db:
            _add(db, [(month, "up", "unaccounted", int(row[0]))])
            db.execute("DELETE FROM meta WHERE key = 'ahead'")
        return int(row[0])

    def spent(self, month: str) -> int:
        """IP bytes of a month, both ways."""
        row = self._db.one("SELECT COALESCE(SUM(bytes), 0) FROM ledger WHERE month = ?", month)
        return int(row[0])

    def latest_month(self) -> str:
        """The largest month that was accounted to or shown by the clock; empty: there is none."""
        shown = self._db.one("SELECT value FROM meta WHERE key = 'month'")
        of_clock = f"{shown[0] // 100:04d}-{shown[0] % 100:02d}" if shown is not None else ""
        return max(of_clock, str(self._db.one("SELECT COALESCE(MAX(month), '') FROM ledger")[0]))

    def keep_month(self, month: str) -> None:
        """Remember that the clock has shown this month."""
        with self._db.transaction() as db:
            _set_meta(db, month=int(month.replace("-", "")))

    def carry_account(self, month: str) -> None:
        """Account to ``month`` what is accounted to later ones, which never were."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO ledger SELECT ?, way, cause, SUM(bytes) FROM ledger WHERE month > ? GROUP BY way, cause "
                "ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes",
                (month, month),
            )
            db.execute("DELETE FROM ledger WHERE month > ?", (month,))
            _set_meta(db, month=int(month.replace("-", "")))

    def link(self) -> tuple[int, int]:
        """What was measured of the link: bytes per second and milliseconds of a round trip; 0: nothing yet."""
        rows = dict(self._db.all("SELECT key, value FROM meta WHERE key IN ('link_rate', 'link_rtt')"))
        return int(rows.get("link_rate", 0)), int(rows.get("link_rtt", 0))

    def keep_link(self, bytes_per_second: int, rtt_milliseconds: int) -> None:
        """Remember what was measured of the link."""
        with self._db.transaction() as db:
            _set_meta(db, link_rate=bytes_per_second, link_rtt=rtt_milliseconds)

    def count(self, counts: Mapping[str, int]) -> None:
        """Add to named counters."""
        if counts:
            with self._db.transaction() as db:
                for name, n in counts.items():
                    _count(db, name, n)

    # -- inside --------------------------------------------------------------------------------------------

    def _prepare(self, fleet: str, device: str) -> None:
        (version,) = self._db.one("PRAGMA user_version")
        if version == 0:
            with self._db.transaction() as db:
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute("INSERT INTO identity VALUES (?, ?)", (fleet, device))
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version == 1:  # 2 has added a table
            with self._db.transaction() as db:
                db.execute(_SCHEMA.split(";\n")[-2])
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has format {version}, this agent reads {SCHEMA_VERSION}: install the agent "
                "that wrote it, or move the file away"
            )
        owner = self._db.one("SELECT fleet, device FROM identity")
        if owner != (fleet, device):
            raise StoreError(
                f"{self.path} belongs to device {owner[1]} of fleet {owner[0]}, not to {device} of {fleet}: "
                "give each device its own state_dir"
            )

    def _verify(self, what: str, data: bytes, digest: bytes) -> None:
        if _digest(data) != digest:
            raise self._db.damaged(f"{what} does not have the digest it was stored with")


def read_ledger(directory: Path) -> Ledger:
    """The byte account of a device, also while its agent runs. Raises :class:`StoreError`."""
    path = directory / FILE_NAME
    months: dict[str, dict[str, dict[str, int]]] = {}
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            for month, way, cause, count in db.execute("SELECT month, way, cause, bytes FROM ledger"):
                months.setdefault(month, {"up": {}, "down": {}})[way][cause] = count
            counters = dict(db.execute("SELECT name, value FROM counter"))
    except sqlite3.Error as error:
        raise translated(error, path) from error
    return Ledger(months, counters)


def _set_meta(db: sqlite3.Connection, **values: int) -> None:
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))


def _add(db: sqlite3.Connection, rows: list[tuple[str, str, str, int]]) -> None:
    db.executemany(
        "INSERT INTO ledger VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes", rows
    )


def _drop_partial(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM chunk")
    db.execute("DELETE FROM partial")


def _count(db: sqlite3.Connection, name: str, n: int = 1) -> None:
    db.execute(
        "INSERT INTO counter VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
        (name, n),
    )


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]
