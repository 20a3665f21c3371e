"""A bridge without a network: hand it messages as a device would, read what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gossamer.aggregator.store import rejections
from gossamer.broker_bridge.actions import Ack, Action, Incoming, Publish
from gossamer.broker_bridge.bridge import Bridge
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.wire.codes import Kind
from gossamer.wire.ids import object_id
from gossamer.wire.messages import Chunk, Message, Offer, parse
from gossamer.wire.topics import Topics
from gossamer.wire.transfer import Sender
from tests.aggregator.fleets import Fleet

TOPICS = Topics("t")


class Desk:
    """A fleet with an open round, a bridge, and a clock."""

    def __init__(self, path: Path, *, bridge: dict[str, Any] | None = None, **changes: Any) -> None:
        self.path = path
        self.fleet = Fleet.make(path, **changes)
        self.fleet.step()
        self.settings = replace(BridgeSettings(TOPICS), **(bridge or {}))
        self.bridge = Bridge(self.fleet.store, self.settings)
        self.monotonic = 0.0
        self._token = 0

    def restart(self) -> None:
        """Kill the bridge and start another one on the same store."""
        self.bridge = Bridge(self.fleet.store, self.settings)

    def raw(self, topic: str, payload: bytes) -> list[Action]:
        self._token += 1
        incoming = [Incoming(topic, payload, self._token)]
        return self.bridge.messages(incoming, now=self.fleet.now, monotonic=self.monotonic)

    def send(self, device: str, *messages: Message, kind: str = "u") -> list[Message]:
        """Deliver in one batch; every message must be acknowledged. Returns the answers to this device."""
        topic = TOPICS.device_topic(kind, device)
        batch = [Incoming(topic, m.serialize(), n) for n, m in enumerate(messages)]
        actions = self.bridge.messages(batch, now=self.fleet.now, monotonic=self.monotonic)
        assert [a.token for a in actions if isinstance(a, Ack)] == list(range(len(messages)))
        return answers(actions, device)

    def offer(self, device: str, round_: int = 0, *, body: bytes | None = None, chunk_bytes: int = 4000,
              **header: int) -> list[Message]:  # fmt: skip
        """Return the messages of an upload: an offer, and chunks if it does not fit one."""
        body = self.fleet.body(device, round_) if body is None else body
        signed = self.fleet.header(device, round_, body, **header)
        return upload(body, signed, chunk_bytes)

    def rejected(self) -> dict[str, int]:
        with self.fleet.store.read() as db:
            return rejections.totals(db)

    def tick(self, seconds: float = 1.0) -> list[Publish]:
        self.monotonic += seconds
        return self.bridge.tick(now=self.fleet.now, monotonic=self.monotonic)

    def settle(self, published: Sequence[Publish]) -> list[Publish]:
        """Acknowledge as a broker would, until nothing more comes; returns all that was published."""
        found, queue = list(published), list(published)
        while queue:
            tag = queue.pop(0).tag
            more = [] if tag is None else self.bridge.puback(tag, self.monotonic)
            found += more
            queue += more
        return found


def upload(body: bytes, header: bytes, chunk_bytes: int) -> list[Message]:
    sender = Sender(object_id(body), Kind.UPDATE, body, header, chunk_bytes, window=64)
    messages: list[Message] = [sender.offer]
    size = sender.offer.chunk_bytes
    if not sender.offer.body:
        messages += [Chunk(sender.offer.object_id, i, body[i * size : (i + 1) * size]) for i in range(sender.chunks)]
    return messages


def answers(actions: Sequence[Action], device: str) -> list[Message]:
    topic = TOPICS.device_topic("a", device)
    return [parse(a.payload) for a in actions if isinstance(a, Publish) and a.topic == topic]


def name_of(messages: Sequence[Message]) -> bytes:
    offer = messages[0]
    assert isinstance(offer, Offer)
    return offer.object_id
