"""Update bodies as the rules read them: still compressed, fetched from the inbox when needed.

A robust rule reads every update in many coordinate ranges. Bodies stay open while they fit in memory;
beyond that they are fetched again, so that a round's memory is bounded however many devices are in it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gossamer.aggregator.store import Store, inbox
from gossamer.compression import Body, Context, open_body
from gossamer.compression.blocks import BlockBody
from gossamer.compression.codebooks import Usage
from gossamer.compression.nf4 import Nf4Body
from gossamer.compression.votes import Votes
from gossamer.errors import MalformedBody

#: Compressed bytes of a round that are kept in memory.
CACHE_BYTES = 256 * 1024 * 1024

Key = tuple[int, str, int]  # round, device, version it was made from


class Bodies:
    """The bodies of one job's inbox. Not for several threads."""

    def __init__(
        self, store: Store, job: int, d: int, *, context_of: Callable[[int], Context], cache_bytes: int = CACHE_BYTES
    ) -> None:
        """``context_of``: what a body is read with, by the version it was made from; asked once for each."""
        self._context_of = lru_cache(maxsize=None)(context_of)
        self._store = store
        self._job = job
        self._d = d
        self._room = cache_bytes
        self._open: OrderedDict[Key, tuple[Body, int]] = OrderedDict()

    def get(self, round_: int, device: str, base_version: int) -> StoredBody:
        """Return the device's update for that round, made from that version; nothing is read yet."""
        return StoredBody(self, (round_, device, base_version))

    def opened(self, key: Key) -> Body:
        """Return the body, decodable by ranges.

        Raises:
            MalformedBody: it is not one of this model (acceptance has checked, so the store is damaged).
        """
        present = self._open.get(key)
        if present is not None:
            self._open.move_to_end(key)
            return present[0]
        data = self.fetched(key)
        body = open_body(data, self._d, self._context_of(key[2]))
        self._open[key] = (body, len(data))
        self._room -= len(data)
        while self._room < 0 and len(self._open) > 1:
            self._room += self._open.popitem(last=False)[1][1]
        return body

    def fetched(self, key: Key) -> bytes:
        """Return the encoded body; raises as :meth:`opened`."""
        with self._store.read() as db:
            data = inbox.body(db, self._job, key[0], key[1])
        if data is None:
            raise MalformedBody(f"the inbox holds no body of {key[1]} for round {key[0]}")
        return data


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
        return self.bodies.fetched(self.key)

    def votes(self) -> Votes | None:
        """Its bits if it has one for each coordinate, or None."""
        body = self.bodies.opened(self.key)
        return body.votes() if isinstance(body, BlockBody) else None

    def usage(self) -> Usage | None:
        """How it used its codebooks, or None if it has none."""
        body = self.bodies.opened(self.key)
        return body.usage() if isinstance(body, Nf4Body) else None
