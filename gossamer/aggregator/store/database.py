"""The store: where the server's truth lives.

SQLAlchemy Core, no ORM. SQLite until the user says PostgreSQL. ``Store.write()`` is the only way to
change anything, and everything inside one ``with`` block happens or does not happen.

SQLite runs in WAL mode with ``synchronous=FULL``: a commit that returned survives a power cut. (WAL
with ``NORMAL`` does not promise that, and a device that was told *counted* must never be disappointed.)
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url

from gossamer.aggregator.store import schema
from gossamer.errors import ConfigError, DiskFull, StoreBusy, StoreError

#: How long a writer waits for another process before :class:`StoreBusy`.
BUSY_TIMEOUT_MS = 5000
#: The write-ahead log is cut back to this after a checkpoint, so that one burst does not keep the disk.
JOURNAL_LIMIT_BYTES = 16 * 1024 * 1024

_POSTGRES_FULL = "53100"
_POSTGRES_RETRY = frozenset({"40001", "40P01", "55P03"})


class Store:
    """A fleet's durable state behind one database URL.

    Threads may share a store; each ``read()`` or ``write()`` takes its own connection.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, location: str | Path) -> Store:
        """Open the store at a file path or database URL, making its tables when it is new.

        Raises:
            ConfigError: the directory does not exist, or the store has another schema version.
            StoreError: it could not be read or written.
        """
        url = _url(location)
        engine = sa.create_engine(url)
        if url.get_backend_name() == "sqlite":
            _prepare_sqlite(engine)
        store = cls(engine)
        try:
            with store.write() as db:
                schema.metadata.create_all(db)
                _check_version(db, str(location))
        except BaseException:
            store.close()
            raise
        return store

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine, for tools that read beside us."""
        return self._engine

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may change the store: all of it, or nothing.

        Raises:
            StoreBusy: another process held the store for too long; try again.
            DiskFull: no space; what was there is intact.
            StoreError: anything else the database reports.
        """
        with _mapped(), self._engine.connect() as db, db.begin():
            yield db

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view; on SQLite it never waits for a writer. Raises as :meth:`write`."""
        with _mapped(), self._engine.connect() as db:
            db = db.execution_options(gossamer_read=True)
            with db.begin():
                yield db

    def close(self) -> None:
        """Close every connection. The store may not be used afterwards."""
        self._engine.dispose()


def next_boot(db: Connection, name: str) -> int:
    """Count and return the starts of the component ``name``: 1 for the first (durable)."""
    key = f"boot:{name}"
    value = db.execute(sa.select(schema.meta.c.value).where(schema.meta.c.key == key)).scalar()
    boot = 1 + int(value or 0)
    if value is None:
        db.execute(sa.insert(schema.meta).values(key=key, value=str(boot)))
    else:
        db.execute(sa.update(schema.meta).where(schema.meta.c.key == key).values(value=str(boot)))
    return boot


def _url(location: str | Path) -> URL:
    text = str(location)
    if "://" in text:
        return make_url(text)
    path = Path(text)
    if not path.parent.is_dir():
        raise ConfigError(f"store: the directory {path.parent} does not exist; create it first")
    return URL.create("sqlite", database=text)


def _check_version(db: Connection, where: str) -> None:
    query = sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")
    found = db.execute(query).scalar()
    if found is None:
        db.execute(sa.insert(schema.meta).values(key="schema_version", value=str(schema.SCHEMA_VERSION)))
    elif found != str(schema.SCHEMA_VERSION):
        raise ConfigError(
            f"store {where} has schema version {found}, this program needs {schema.SCHEMA_VERSION}; "
            "run the program that wrote it, or start a new store"
        )


def _prepare_sqlite(engine: Engine) -> None:
    """Set the pragmas, and take the write lock when a transaction begins, not in its middle."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # sqlite3 must not begin transactions behind our back
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA journal_size_limit={JOURNAL_LIMIT_BYTES}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(db: Connection) -> None:
        # A read that turns into a write in WAL mode fails at once with "locked": so say it up front.
        reading = db.get_execution_options().get("gossamer_read", False)
        db.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    """Turn what databases and disks raise into our own exception tree."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        # Two workers inserted the same row: seen again, the one that lost finds it there.
        raise StoreBusy(f"another process changed the same row ({error.orig}); try again") from error
    except sa.exc.DBAPIError as error:
        raise translated(error) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull("no space left for the store; free some, nothing was lost") from error
        raise


def translated(error: sa.exc.DBAPIError) -> StoreError | StoreBusy:
    """Return the exception of ours that says what a database error means."""
    text = str(error.orig)
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    if "is full" in text or state == _POSTGRES_FULL:
        return DiskFull("no space left for the store; free some, nothing was lost")
    if "is locked" in text or state in _POSTGRES_RETRY:
        return StoreBusy("the store is locked by another process; try again")
    return StoreError(f"the store could not be used: {text}")
