"""asyncio around the bridge: one connection, its reader and writer, a timer, and patience.

All messages that one turn of the event loop has read go into one transaction. While the store cannot take
them they wait here, unacknowledged and bounded: beyond MAX_BACKLOG the socket is not read any more, and
the broker, or the devices, keep the rest.

A broker that is slow to acknowledge what we publish is no reason to stop reading, for that is how its
acknowledgements come: model objects wait then, and later answers are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable

from gossamer.broker_bridge.actions import Ack, Action, Incoming
from gossamer.broker_bridge.bridge import Bridge
from gossamer.errors import BrokerRefused, BrokerUnreachable, StoreBusy
from gossamer.mqtt import MqttLink, MqttSettings, Will
from gossamer.mqtt.account import ByteAccount

log = logging.getLogger(__name__)

#: Messages in one transaction: a few dozen share a disk's flush well, more only make the first one wait.
MAX_BATCH = 256
#: Messages in memory before reading stops.
MAX_BACKLOG = 1_024
#: Messages of ours that the broker has not acknowledged, before no more model objects are begun.
MAX_UNACKNOWLEDGED = 4_096
#: The same, before devices get no answers either: they ask again, and memory is bounded.
MAX_UNACKNOWLEDGED_ANSWERS = 4 * MAX_UNACKNOWLEDGED
RETRY_SECONDS = 0.5
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
TICK_SECONDS = 1.0


class BridgeShell:
    """Runs a bridge over a link, in one event loop.

    Args:
        bridge: the machine.
        mqtt: how to reach the broker; its will is the bridge's.
        counted: called when updates were counted (an engine in this process need not poll).
        give_up_seconds: how long the *first* connection may take before BrokerUnreachable; later ones never
            give up.
        metered: called every TICK_SECONDS with what the link has cost so far.
    """

    def __init__(
        self, bridge: Bridge, mqtt: MqttSettings, *, counted: Callable[[], None] = lambda: None,
        give_up_seconds: float = 10.0, metered: Callable[[ByteAccount], None] = lambda _account: None,
    ) -> None:  # fmt: skip
        self._bridge = bridge
        self._link = MqttLink(mqtt, self, manual_ack=True, closing=self._forget_socket)
        self._counted = counted
        self._give_up_seconds = give_up_seconds
        self._metered = metered
        self._meter_at = 0.0
        self._inbox: deque[Incoming] = deque()
        self._tags: dict[int, tuple[bytes, int]] = {}
        self._wake = asyncio.Event()
        self._lost = ""
        self._changed = True
        self._writing = False
        self._reading = False
        self._throttled = False
        self._watched = -1
        self._retry_at = 0.0
        self._look_at = 0.0

    def changed(self) -> None:
        """There may be a new manifest. From another thread: through ``loop.call_soon_threadsafe``."""
        self._changed = True
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set.

        Raises:
            BrokerUnreachable: the first connection could not be made.
            BrokerRefused: the broker said no to the first connection. Later it is a broker that is being
                changed, or starting, and it is asked again.
            StoreError: the store is damaged or full; nothing was acknowledged that it does not hold.
        """
        await self._connect(stop, give_up=True)
        try:
            while not stop.is_set():
                if not self._link.is_connected:
                    await self._connect(stop, give_up=False)
                    continue
                self._turn()
                await self._pause(stop)
        finally:
            self._goodbye()

    # -- the link's handler: mostly notes, the work is done in _turn ---------------------------------------

    def connected(self, session_present: bool) -> None:
        """The broker accepted."""
        log.info("connected to %s, session %s", self._link.settings.where, "kept" if session_present else "new")
        self._lost = ""

    def message(self, topic: str, payload: bytes, token: int) -> None:
        """A message arrived."""
        self._inbox.append(Incoming(topic, payload, token))
        self._wake.set()

    def puback(self, mid: int) -> None:
        """The broker has a message of ours."""
        tag = self._tags.pop(mid, None)
        if tag is not None:
            self._act(self._bridge.puback(tag, time.monotonic()))

    def disconnected(self, reason: str) -> None:
        """The connection has ended; what was read and not acknowledged comes again."""
        self._lost = reason
        self._inbox.clear()
        self._tags.clear()
        self._bridge.disconnected(time.monotonic())
        self._wake.set()

    # -- one turn ------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        monotonic = time.monotonic()
        try:
            if monotonic >= self._retry_at:
                self._take_in(monotonic)
                if self._changed or monotonic >= self._look_at:
                    self._act(self._bridge.refresh())
                    self._changed = False
                    self._look_at = monotonic + self._bridge.settings.poll_seconds
                downloads = not self._throttle()
                self._act(self._bridge.tick(now=time.time(), monotonic=monotonic, downloads=downloads))
        except StoreBusy as error:
            log.warning("%s in %g s", error, RETRY_SECONDS)
            self._retry_at = monotonic + RETRY_SECONDS
        self._link.tick()
        if monotonic >= self._meter_at:
            self._metered(self._link.account())
            self._meter_at = monotonic + TICK_SECONDS
        self._watch()

    def _throttle(self) -> bool:
        """Whether the broker must acknowledge before model objects are begun; said once each time."""
        waiting = self._link.unacknowledged
        if waiting >= MAX_UNACKNOWLEDGED and not self._throttled:
            log.warning("the broker has not acknowledged %d messages: model objects wait", waiting)
        self._throttled = waiting >= MAX_UNACKNOWLEDGED
        return self._throttled

    def _take_in(self, monotonic: float) -> None:
        if not self._inbox:
            return
        batch = [self._inbox[i] for i in range(min(MAX_BATCH, len(self._inbox)))]
        before = self._bridge.counted
        actions = self._bridge.messages(batch, now=time.time(), monotonic=monotonic)
        for _ in batch:  # only now: had it failed, they would be tried again
            self._inbox.popleft()
        self._act(actions)
        if self._bridge.counted > before:
            self._counted()

    def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Ack):
                self._link.ack(action.token)
                continue
            answer = action.tag is None and not action.retain
            if answer and self._link.unacknowledged >= MAX_UNACKNOWLEDGED_ANSWERS:
                continue
            try:
                mid = self._link.publish(action.topic, action.payload, retain=action.retain)
            except BrokerUnreachable:
                return  # whoever waits for it asks again; the next connection begins with the manifest
            if action.tag is not None:
                self._tags[mid] = action.tag

    async def _pause(self, stop: asyncio.Event) -> None:
        """Wait for something to do."""
        monotonic = time.monotonic()
        if self._inbox and monotonic >= self._retry_at:
            await asyncio.sleep(0)  # let the socket be read, then take in the rest
            return
        # While throttled it would be now, again and again: an acknowledgement that is read ends the wait.
        deadline = None if self._throttled else self._bridge.next_deadline(monotonic)
        until = min(monotonic + TICK_SECONDS, self._look_at)
        until = until if deadline is None else min(until, deadline)
        until = max(until, self._retry_at)
        self._wake.clear()
        if stop.is_set():
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), max(0.0, until - monotonic))

    # -- the connection ------------------------------------------------------------------------------------

    async def _connect(self, stop: asyncio.Event, *, give_up: bool) -> None:
        """Connect, with full-jitter backoff, and say what is to be said first."""
        gone = self._bridge.presence(up=False)
        will = Will(gone.topic, gone.payload)
        give_up_at = time.monotonic() + self._give_up_seconds
        backoff = FIRST_BACKOFF_SECONDS
        if self._lost:
            log.warning("%s", self._lost)
        while not stop.is_set():
            try:
                await asyncio.to_thread(self._link.connect, stop.is_set, will)
                break
            except (BrokerUnreachable, BrokerRefused) as error:
                if stop.is_set():
                    return
                if give_up and (isinstance(error, BrokerRefused) or time.monotonic() >= give_up_at):
                    raise
                log.warning("%s", error)
            wait = random.uniform(0.0, backoff)  # noqa: S311 - spreads clients over time, keeps no secret
            backoff = min(2.0 * backoff, MAX_BACKOFF_SECONDS)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), wait)
        if not self._link.is_connected:
            return
        with contextlib.suppress(BrokerUnreachable):  # lost again at once: the caller sees it
            self._link.subscribe(*self._bridge.settings.subscriptions())
        self._act(self._bridge.connected(time.monotonic()))
        self._changed = True
        self._watch()

    def _goodbye(self) -> None:
        if self._link.is_connected:
            self._act([self._bridge.presence(up=False)])
            self._link.disconnect()

    # -- the socket ----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Tell the event loop what to look for: always the truth of this moment."""
        descriptor = self._link.fileno()
        if descriptor < 0:
            return
        self._watched = descriptor
        loop = asyncio.get_running_loop()
        reading = len(self._inbox) < MAX_BACKLOG  # which a turn makes shorter, whatever the broker does
        if reading and not self._reading:
            loop.add_reader(descriptor, self._readable)
        elif self._reading and not reading:
            loop.remove_reader(descriptor)
        self._reading = reading
        writing = self._link.wants_write()
        if writing and not self._writing:
            loop.add_writer(descriptor, self._writable)
        elif self._writing and not writing:
            loop.remove_writer(descriptor)
        self._writing = writing

    def _readable(self) -> None:
        self._link.on_readable()
        self._watch()
        self._wake.set()

    def _writable(self) -> None:
        self._link.on_writable()
        self._watch()

    def _forget_socket(self, descriptor: int) -> None:
        if descriptor == self._watched:
            loop = asyncio.get_running_loop()
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)
            self._reading = self._writing = False
            self._watched = -1
