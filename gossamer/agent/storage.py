"""One SQLite file as a durable place: opened once, locked, every write a transaction, errors in our words."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gossamer.errors import DiskFull, StoreBusy, StoreError

#: The write-ahead log is cut back to this after a checkpoint.
WAL_LIMIT_BYTES = 4 << 20
#: SQLite's page cache: the idle agent is small.
CACHE_KIB = 512
_BUSY_SECONDS = 5.0
_SIGNS_OF_DAMAGE = ("malformed", "not a database", "file format", "no such table", "no such column")
_DAMAGED_ADVICE = (
    "move it away and start the agent again: it fetches the model anew, and only what had not been sent yet "
    "is lost. Check the storage"
)


class Database:
    """A file that one process at a time writes. Every method may raise :class:`StoreError` and subclasses."""

    def __init__(self, path: Path, lock: Path) -> None:
        """Open or create ``path`` (WAL, synchronous=FULL); ``lock`` is held until :meth:`close`."""
        self.path = path
        with self.errors():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _hold(lock)
        try:
            with self.errors():
                self.connection = _connect(path)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Close the file. Nothing is lost without it."""
        try:
            with self.errors():
                self.connection.close()
        finally:
            os.close(self._lock)

    def one(self, query: str, *arguments: object) -> Any:
        """The first row of a query, or None."""
        with self.errors():
            return self.connection.execute(query, arguments).fetchone()

    def all(self, query: str) -> list[Any]:
        """All rows of a query."""
        with self.errors():
            return self.connection.execute(query).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block is durable when it ends, or none of it."""
        with self.errors():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """SQLite's and the system's errors as ours."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise translated(error, self.path) from error

    def damaged(self, what: str) -> StoreError:
        """The error for content that is not what was written."""
        return StoreError(f"{self.path} is damaged ({what}): {_DAMAGED_ADVICE}")


def translated(error: Exception, path: Path) -> StoreError | StoreBusy:
    """An error of SQLite or the system as one of ours, with what to do."""
    text = str(error)  # Python 3.10 has no sqlite_errorcode: the texts are those of sqlite3ErrStr()
    if "disk is full" in text or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left for {path}: free some; what is on disk is intact")
    if "locked" in text:
        return StoreBusy(f"{path} is locked by another process: {text}")
    if type(error) is sqlite3.DatabaseError or any(sign in text for sign in _SIGNS_OF_DAMAGE):
        return StoreError(f"{path} is damaged ({text}): {_DAMAGED_ADVICE}")
    return StoreError(f"{path} cannot be used: {text}. Check that the directory exists and is writable")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def _hold(path: Path) -> int:
    """Lock a file for as long as this process lives; the kernel frees it however the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreBusy(f"{path.parent} is in use by another agent: give each its own state_dir") from error
    return descriptor
