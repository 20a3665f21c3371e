"""Model objects on their way down: many requests, few transmissions.

Requests for one object that come within ``coalesce_seconds`` are answered together: a large one on the shared
topic ``c`` if several devices ask, a small one (BROADCAST_FROM_BYTES) on each device's own topic. While an
object is being sent, new requests for it wait for the next turn: they have missed its beginning.

A machine per object, kept for a while after it is done, so that a device that lost some chunks gets
those and no others. What is not known here any more is not answered: the device asks for the manifest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from gossamer.aggregator.store.objects import StoredObject
from gossamer.broker_bridge.actions import Publish
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.wire.codes import Kind
from gossamer.wire.limits import BROADCAST_FROM_BYTES
from gossamer.wire.missing import Missing, canonical
from gossamer.wire.transfer import Send, Sender, SenderState

#: Objects held in memory at once (at most MAX_OBJECT_BYTES each); further requests wait.
MAX_OBJECTS = 8
#: Devices that may wait for one object and count as one another's company; more change nothing.
MAX_WAITING_DEVICES = 4_096
#: Distinct objects that may be waited for: as many as several manifests can name.
MAX_WAITING_OBJECTS = 128
Fetch = Callable[[bytes], "StoredObject | None"]


@dataclass(slots=True)
class _Waiting:
    """Requests for one object since ``since``; ``missing`` None: somebody needs all of it."""

    since: float
    missing: set[int] | None
    devices: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Sending:
    sender: Sender
    topics: tuple[str, ...]


class Downloads:
    """The objects being sent. ``now`` is monotonic seconds; returned are messages to publish."""

    def __init__(self, settings: BridgeSettings, fetch: Fetch) -> None:
        self._settings = settings
        self._fetch = fetch
        self._waiting: OrderedDict[bytes, _Waiting] = OrderedDict()
        self._sending: OrderedDict[bytes, _Sending] = OrderedDict()

    def get(self, device: str, name: bytes, missing: Missing, now: float) -> None:
        """A device asks for an object, or for the chunks of it that it misses."""
        waiting = self._waiting.get(name)
        if waiting is None:
            if len(self._waiting) >= MAX_WAITING_OBJECTS:
                return  # it asks again
            waiting = self._waiting[name] = _Waiting(now, set() if missing else None)
        if not missing:
            waiting.missing = None
        elif waiting.missing is not None:
            waiting.missing.update(missing)
        if len(waiting.devices) < MAX_WAITING_DEVICES:
            waiting.devices.add(device)

    def tick(self, now: float) -> list[Publish]:
        """Time has passed: begin what has waited long enough, go on with what stalls."""
        found: list[Publish] = []
        for name, sending in self._sending.items():
            found += self._publish(name, sending, sending.sender.tick(now))
        for name, waiting in list(self._waiting.items()):
            if now >= waiting.since + self._settings.coalesce_seconds and self._free(name):
                del self._waiting[name]
                found += self._begin(name, waiting, now)
        return found

    def puback(self, tag: tuple[bytes, int], now: float) -> list[Publish]:
        """The broker has one message of an object."""
        sending = self._sending.get(tag[0])
        return [] if sending is None else self._publish(tag[0], sending, sending.sender.puback(tag[1], now))

    def connected(self, now: float) -> list[Publish]:
        """There is a connection again: push on."""
        found: list[Publish] = []
        for name, sending in self._sending.items():
            found += self._publish(name, sending, sending.sender.connected(now))
        return found

    def disconnected(self, now: float) -> None:
        """What was in flight may be lost."""
        for sending in self._sending.values():
            sending.sender.disconnected(now)

    def next_deadline(self, now: float) -> float | None:
        """Return when :meth:`tick` wants to be called, or None for never."""
        times = [max(now, w.since + self._settings.coalesce_seconds) for w in self._waiting.values()]
        times += [at for s in self._sending.values() if (at := s.sender.next_deadline(now)) is not None]
        return min(times, default=None)

    def _free(self, name: bytes) -> bool:
        """Whether this object can be sent now: it is not under way, and there is room for one more."""
        present = self._sending.get(name)
        if present is not None:
            return present.sender.done
        if len(self._sending) < MAX_OBJECTS:
            return True
        finished = next((key for key, each in self._sending.items() if each.sender.done), None)
        if finished is None:
            return False
        del self._sending[finished]
        return True

    def _begin(self, name: bytes, waiting: _Waiting, now: float) -> list[Publish]:
        present = self._sending.pop(name, None)
        if present is None or present.sender.state is not SenderState.DONE:  # none, or one that gave up
            stored = self._fetch(name)
            if stored is None:
                return []
            present = _Sending(self._sender(stored), ())
        present.topics = self._topics(present.sender.offer.size, waiting.devices)
        self._sending[name] = present
        wanted = canonical(i for i in waiting.missing or () if i < present.sender.chunks)
        if waiting.missing and not wanted:
            return []  # chunks that the object does not have
        return self._publish(name, present, present.sender.resend(wanted, now))

    def _topics(self, size: int, devices: set[str]) -> tuple[str, ...]:
        topics = self._settings.topics
        if len(devices) > 1 and size > BROADCAST_FROM_BYTES:
            return (topics.shared_topic("c"),)
        return tuple(topics.device_topic("a", device) for device in sorted(devices))

    def _sender(self, stored: StoredObject) -> Sender:
        return Sender(
            stored.object_id,
            Kind(stored.kind),
            stored.data,
            chunk_bytes=self._settings.chunk_bytes,
            window=self._settings.window,
            confirm=False,
        )

    def _publish(self, name: bytes, sending: _Sending, sends: list[Send]) -> list[Publish]:
        return [
            Publish(topic, s.message.serialize(), tag=(name, s.token)) for s in sends for topic in sending.topics
        ]
