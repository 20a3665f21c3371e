"""The device's byte account, gathered in memory and written to the store now and then."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from gossamer.agent.budget import month_of
from gossamer.agent.store import AgentStore
from gossamer.errors import GossamerError
from gossamer.mqtt.account import ByteAccount
from gossamer.wire.messages import Chunk, Offer, Round, parse

AHEAD_BYTES = 1_024
"""Bytes are charged ahead in steps of this: one small write for each, and at most so much too much after a kill."""


def clock_month(unix_seconds: float) -> str:
    """The month of a time, UTC.

    >>> clock_month(1_795_000_000.0)
    '2026-11'
    """
    return time.strftime("%Y-%m", time.gmtime(unix_seconds))


class LedgerWriter:
    """Collects bytes and counts; what could not be written stays for the next time."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seen = ByteAccount()
        self._bytes = ByteAccount()
        self._counts: Counter[str] = Counter()
        self._ahead = 0
        self.writes = 0
        """How often :meth:`write` was called: what the store says of the month has changed since."""

    @property
    def is_ahead(self) -> bool:
        """Whether something is charged that will be settled by the next :meth:`write`."""
        return self._ahead > 0

    @property
    def unwritten(self) -> int:
        """IP bytes, both ways, that the store does not know of yet."""
        return self._bytes.ip_up + self._bytes.ip_down

    def cover(self, store: AgentStore, more: int = 0) -> None:
        """Charge what is unwritten, and ``more`` that is about to pass, before it does.

        If the process is killed now, the store takes all of it for spent: see :meth:`AgentStore.settle_ahead`.
        """
        if self.unwritten + more > self._ahead:
            ahead = -(-(self.unwritten + more) // AHEAD_BYTES) * AHEAD_BYTES
            store.charge_ahead(ahead)
            self._ahead = ahead

    def count(self, name: str, n: int = 1) -> None:
        """Add to a named counter."""
        self._counts[name] += n

    def message(self, way: str, payload: bytes) -> None:
        """Count what one of our messages, sent ("up") or received ("down"), is made of."""
        body = signature = manifest = 0
        try:
            message = parse(payload)
        except GossamerError:
            message = None
        if isinstance(message, Offer):
            body, signature = len(message.body), len(message.header)
        elif isinstance(message, Chunk):
            body = len(message.data)
        elif isinstance(message, Round):
            manifest = len(payload)
        self._counts[f"{way}_body_bytes"] += body
        self._counts[f"{way}_signature_bytes"] += signature
        self._counts[f"{way}_manifest_bytes"] += manifest
        self._counts[f"{way}_status_bytes"] += len(payload) - body - signature - manifest

    def seen(self, account: ByteAccount, *, closed: bool = False) -> None:
        """The link's account as of now; ``closed``: the next one begins at nothing."""
        self._bytes = self._bytes + (account - self._seen)
        self._seen = ByteAccount() if closed else account

    def write(self, store: AgentStore) -> None:
        """Make it durable. Raises :class:`gossamer.errors.StoreError`; nothing is lost then."""
        month = month_of(store.latest_month(), clock_month(self._clock()))
        store.add_to_ledger(month, self._bytes.up, self._bytes.down)
        self._bytes = ByteAccount()
        self._ahead = 0
        self.writes += 1
        store.count(self._counts)
        self._counts.clear()
