"""Model objects on their way down: many requests, few transmissions.

Requests for one object that come within ``coalesce_seconds`` are answered together: a large one on the shared
topic ``c`` if several devices ask, a small one (BROADCAST_FROM_BYTES) on each device's own topic,
DEVICES_A_TURN at a time. While an object is being sent, new requests for it wait for the next turn: they
have missed its beginning.

A machine per object, kept for a while after it is done, so that a device that lost some chunks gets
those and no others. Who names a chunk that the object does not have was told of another cut of it, and gets
the offer and all chunks. What is not known here any more is not answered: the device asks for the manifest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from gossamer.aggregator.store.objects import StoredObject
from gossamer.broker_bridge.actions import Publish
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.errors import StoreBusy
from gossamer.wire.codes import Kind
from gossamer.wire.limits import BROADCAST_FROM_BYTES
from gossamer.wire.missing import Missing, canonical
from gossamer.wire.transfer import Send, Sender, SenderState

#: Objects held in memory at once (at most MAX_OBJECT_BYTES each); further requests wait.
MAX_OBJECTS = 8
#: Devices that may wait for one object. A large one reaches the others too; for a small one they ask again, and
#: find room: the first in the queue are served first.
MAX_WAITING_DEVICES = 4_096
#: Devices that get a small object at one time: each message of it is published as often.
DEVICES_A_TURN = 64
#: Distinct objects that may be waited for: as many as several manifests can name.
MAX_WAITING_OBJECTS = 128
Fetch = Callable[[bytes], "StoredObject | None"]


@dataclass(slots=True)
class _Waiting:
    """Requests for one object since ``since``; ``missing`` None: somebody needs all of it.

    ``devices`` are in the order in which they asked.
    """

    since: float
    missing: set[int] | None
    devices: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class _Sending:
    """``awaited``: copies of a message, by its token, that the broker has yet to acknowledge."""

    sender: Sender
    topics: tuple[str, ...]
    awaited: dict[int, int] = field(default_factory=dict)


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
            waiting.devices[device] = None

    def tick(self, now: float) -> list[Publish]:
        """Time has passed: begin what has waited long enough, go on with what stalls.

        Raises:
            StoreBusy: nothing could be begun; the requests still wait.
        """
        found: list[Publish] = []
        for name, sending in self._sending.items():
            found += self._publish(name, sending, sending.sender.tick(now))
        for name, waiting in list(self._waiting.items()):
            if now >= waiting.since + self._settings.coalesce_seconds and self._can_begin(name):
                try:
                    found += self._begin(name, waiting, now)
                except StoreBusy:
                    if not found:
                        raise
                    break  # what the machines have sent must go out; the others wait for the next call
        return found

    def puback(self, tag: tuple[bytes, int], now: float) -> list[Publish]:
        """The broker has one message of an object, or one copy of it: the last one counts.

        So no more is let out than was acknowledged, however many topics there are.
        """
        name, token = tag
        sending = self._sending.get(name)
        if sending is None:
            return []
        left = sending.awaited.pop(token, 1) - 1
        if left > 0:
            sending.awaited[token] = left
            return []
        return self._publish(name, sending, sending.sender.puback(token, now))

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
            sending.awaited.clear()

    def next_deadline(self, now: float) -> float | None:
        """Return when :meth:`tick` wants to be called, or None for never.

        What waits for a machine to finish has no time of its own: an acknowledgement or that machine's
        deadline ends the wait.
        """
        due = [w.since for name, w in self._waiting.items() if self._can_begin(name)]
        times = [max(now, since + self._settings.coalesce_seconds) for since in due]
        times += [at for s in self._sending.values() if (at := s.sender.next_deadline(now)) is not None]
        return min(times, default=None)

    def _can_begin(self, name: bytes) -> bool:
        """Whether this object can be sent now: it is not under way, and there is room for one more."""
        present = self._sending.get(name)
        if present is not None:
            return present.sender.done
        return len(self._sending) < MAX_OBJECTS or any(each.sender.done for each in self._sending.values())

    def _make_room(self, name: bytes) -> None:
        """Let go of an object that is done, if this one needs its place."""
        if name not in self._sending and len(self._sending) >= MAX_OBJECTS:
            del self._sending[next(key for key, each in self._sending.items() if each.sender.done)]

    def _begin(self, name: bytes, waiting: _Waiting, now: float) -> list[Publish]:
        """Answer these requests, or the first of them; nothing is changed before the object is here."""
        present = self._sending.get(name)
        if present is None or present.sender.state is not SenderState.DONE:  # none, or one that gave up
            stored = self._fetch(name)
            if stored is None:
                del self._waiting[name]
                self._sending.pop(name, None)
                return []
            present = _Sending(self._sender(stored), ())
        wanted = canonical(waiting.missing or ())
        if wanted and wanted[-1] >= present.sender.chunks:
            wanted = ()  # somebody holds chunks of another cut of it: only the offer helps
        del self._waiting[name]
        self._make_room(name)
        present.topics = self._topics(present.sender.offer.size, waiting.devices)
        if waiting.devices:  # at the end: other objects have their turn before
            self._waiting[name] = waiting
        self._sending[name] = present
        self._sending.move_to_end(name)
        return self._publish(name, present, present.sender.resend(wanted, now))

    def _topics(self, size: int, devices: dict[str, None]) -> tuple[str, ...]:
        """Return where to publish; takes out of ``devices`` those that are reached."""
        topics = self._settings.topics
        if len(devices) > 1 and size > BROADCAST_FROM_BYTES:
            devices.clear()
            return (topics.shared_topic("c"),)
        chosen = list(islice(devices, DEVICES_A_TURN))
        for device in chosen:
            del devices[device]
        return tuple(topics.device_topic("a", device) for device in chosen)

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
        if len(sending.topics) > 1:
            sending.awaited.update((s.token, len(sending.topics)) for s in sends)
        return [Publish(topic, s.message.serialize(), tag=(name, s.token)) for s in sends for topic in sending.topics]
