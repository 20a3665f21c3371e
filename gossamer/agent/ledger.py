"""The device's byte account, gathered in memory and written to the store now and then."""

from __future__ import annotations

import time
from collections import Counter

from gossamer.agent.store import AgentStore
from gossamer.errors import GossamerError
from gossamer.mqtt.account import ByteAccount
from gossamer.wire.messages import Chunk, Offer, Round, parse


class LedgerWriter:
    """Collects bytes and counts; what could not be written stays for the next time."""

    def __init__(self) -> None:
        self._seen = ByteAccount()
        self._bytes = ByteAccount()
        self._counts: Counter[str] = Counter()

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
        store.add_to_ledger(time.strftime("%Y-%m", time.gmtime()), self._bytes.up, self._bytes.down)
        self._bytes = ByteAccount()
        store.count(self._counts)
        self._counts.clear()
