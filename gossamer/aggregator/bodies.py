"""Update bodies as the rules read them: still compressed, fetched from the inbox once.

A robust rule reads every update in many coordinate ranges. What fits in ``CACHE_BYTES`` stays in memory; the rest of
a round goes to a file without a name in the state directory and is mapped (:mod:`gossamer.aggregator.spool`), so a
round's memory is bounded however many devices are in it, and the kernel decides what of the file is in memory.
"""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gossamer.aggregator.spool import Spool
from gossamer.aggregator.store import Store, inbox
from gossamer.compression import Body, Context, open_body
from gossamer.compression.blocks import BlockBody
from gossamer.compression.codebooks import Usage
from gossamer.compression.nf4 import Nf4Body
from gossamer.compression.sparse import SparseBody
from gossamer.compression.votes import Votes
from gossamer.errors import MalformedBody

#: Compressed bytes of a round that are kept in memory.
CACHE_BYTES = 64 * 1024 * 1024
#: What opened bodies may hold beside their bytes, as :func:`_held` estimates it; beyond that they are opened again.
OPEN_BYTES = 128 * 1024 * 1024

Key = tuple[int, str, int]  # round, device, version it was made from


class Bodies:
    """The bodies of one job's inbox. Threads may share it."""

    def __init__(
        self, store: Store, job: int, d: int, *, context_of: Callable[[int], Context], cache_bytes: int = CACHE_BYTES
    ) -> None:
        """``context_of``: what a body is read with, by the version it was made from; asked once for each."""
        self._context_of = lru_cache(maxsize=None)(context_of)
        self._store = store
        self._job = job
        self._d = d
        self._room = cache_bytes
        self._spool = Spool(_directory(store))
        self._data: dict[Key, bytes | memoryview] = {}
        self._open: OrderedDict[Key, tuple[Body, int]] = OrderedDict()
        self._held = 0
        self._lock = threading.RLock()

    def get(self, round_: int, device: str, base_version: int) -> StoredBody:
        """Return the device's update for that round, made from that version; nothing is read yet."""
        return StoredBody(self, (round_, device, base_version))

    def opened(self, key: Key) -> Body:
        """Return the body, decodable by ranges.

        Raises:
            MalformedBody: it is not one of this model (acceptance has checked, so the store is damaged).
            DiskFull: the round does not fit the memory it may take, and there is no space for the rest.
        """
        with self._lock:
            present = self._open.get(key)
            if present is not None:
                self._open.move_to_end(key)
                return present[0]
            data = self.data(key)
            body = open_body(data, self._d, self._context_of(key[2]))
            self._open[key] = (body, _held(body, len(data)))
            self._held += self._open[key][1]
            while self._held > OPEN_BYTES and len(self._open) > 1:
                self._held -= self._open.popitem(last=False)[1][1]
            return body

    def data(self, key: Key) -> bytes | memoryview:
        """Return the encoded body, fetched from the store the first time; raises as :meth:`opened`."""
        with self._lock:
            present = self._data.get(key)
            if present is not None:
                return present
            with self._store.read() as db:
                data = inbox.body(db, self._job, key[0], key[1])
            if data is None:
                raise MalformedBody(f"the inbox holds no body of {key[1]} for round {key[0]}")
            self._room -= len(data)
            kept = self._data[key] = data if self._room >= 0 else self._spool.add(data)
            return kept


def _held(body: Body, size: int) -> int:
    """About what an opened body of ``size`` bytes holds: most are views on the bytes, some decode all of them."""
    if isinstance(body, BlockBody):
        return 2048
    return 4096 + (2 if isinstance(body, SparseBody) else 16) * size


def _directory(store: Store) -> Path:
    """The state directory where the store is a file in it, else where temporary files go."""
    url = store.engine.url
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        return Path(url.database).parent
    return Path(tempfile.gettempdir())


@dataclass(frozen=True, slots=True)
class StoredBody:
    """One update, as :class:`gossamer.aggregator.rules.Body`."""

    bodies: Bodies
    key: Key

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Coordinates [start, stop) as float32 (stop - start,)."""
        return self.bodies.opened(self.key).read(start, stop)

    def raw(self) -> bytes:
        """The encoded bytes, as the device sent them."""
        return bytes(self.bodies.data(self.key))

    def votes(self) -> Votes | None:
        """Its bits if it has one for each coordinate, or None."""
        body = self.bodies.opened(self.key)
        return body.votes() if isinstance(body, BlockBody) else None

    def usage(self) -> Usage | None:
        """How it used its codebooks, or None if it has none."""
        body = self.bodies.opened(self.key)
        return body.usage() if isinstance(body, Nf4Body) else None
