"""Crash injection: a store that dies at its n-th statement, or just before or after its n-th commit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Connection

from gossamer.aggregator.store import Store


class Crash(BaseException):
    """The process is gone. Not an Exception: nothing may catch it and go on."""


class FragileStore(Store):
    """Dies at point ``at``, counted from 1; ``points`` is how many there were."""

    at = 0
    points = 0

    @classmethod
    def fragile(cls, path: Path, at: int) -> FragileStore:
        store = cls.open(path)
        assert isinstance(store, FragileStore)
        store.at = at
        store.points = 0
        event.listen(store.engine, "before_cursor_execute", lambda *_: store.point())
        return store

    def point(self) -> None:
        self.points += 1
        if self.points == self.at:
            raise Crash

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as db:
            yield db
            self.point()  # before the commit
        self.point()  # after it
