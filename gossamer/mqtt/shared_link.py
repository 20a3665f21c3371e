"""The agent's link through the connection that an application has already.

The same methods as :class:`gossamer.mqtt.link.MqttLink`, for the same owner; whose thread calls them. The client is
driven by the application: this link neither connects nor reads, it publishes, subscribes and is told.

What it does *not* do: ping, time a dead connection out, leave a will; all of that is the application's. What it
counts are MQTT packets of ours as they are on the wire; TCP, TLS, CONNECT and pings carry both and are not told
apart.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import paho.mqtt.client as paho

from gossamer.errors import BrokerUnreachable, InputError
from gossamer.mqtt.account import ByteAccount, packet_bytes
from gossamer.mqtt.host_client import HostClient
from gossamer.mqtt.link import Handler
from gossamer.mqtt.mailbox import Mailbox
from gossamer.mqtt.settings import Will
from gossamer.mqtt.sockets import Stop

Call = Callable[[Callable[[], None]], object]

#: Clients with an agent: a second one would take the callbacks of the fleet's common topics from the first.
_TAKEN: weakref.WeakSet[paho.Client] = weakref.WeakSet()

#: A PUBACK, header and packet identifier; with MQTT 5 too, as long as it says success.
_PUBACK_BYTES = 4


def at_once(function: Callable[[], None]) -> None:
    """Call it here: paho lets any thread publish while its own loop runs."""
    function()


class SharedLink:
    """A link over ``client``, which may be connected, connecting, or away for a while.

    ``call`` runs a function in the thread that drives the client, soon: ``loop.call_soon_threadsafe`` where an
    event loop does. Everything that changes the client goes through it.
    """

    def __init__(
        self, client: paho.Client, handler: Handler, *, call: Call = at_once,
        closing: Callable[[int], None] = lambda _fd: None,
    ) -> None:  # fmt: skip
        if client in _TAKEN:
            raise InputError("an agent shares this client already: one client for each, since they share topics")
        _TAKEN.add(client)
        self._client = client
        self._handler = handler
        self._closing = closing
        self._call = call
        self._mailbox = Mailbox()
        self._host = HostClient(client, self)
        self._connection: Any = None  # the socket that we know of: another one is another connection
        self._filters: set[str] = set()
        self._next = 0
        self._waiting: dict[int, tuple[int, paho.MQTTMessageInfo]] = {}  # packet identifier -> our number
        self._account = ByteAccount()
        self._closed = False
        self._do(self._host.attach)

    # -- as MqttLink ---------------------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """``host:port``, and whose it is."""
        return f"{self._client.host}:{self._client.port} by the application's client"

    @property
    def is_connected(self) -> bool:
        """True between ``connected`` and ``disconnected``."""
        return self._connection is not None

    @property
    def reachable(self) -> bool:
        """Whether :meth:`connect` can do something: the application's client is connected."""
        return not self._closed and self._client.is_connected()

    def connect(self, stop: Stop = lambda: False, will: Will | None = None) -> None:  # noqa: ARG002 - as MqttLink
        """Take up the connection that is there; none: nothing happens, and the next one wakes the owner's selector.

        The will stays the application's: a device that goes away without a word is noticed by its silence.
        """
        self._take()  # what was noted of earlier connections
        connection = self._client.socket()
        if self.reachable and connection is not None and not self.is_connected:
            self._connection = connection
            self._handler.connected(False)

    def disconnect(self) -> None:
        """Let go of the client: our subscriptions and callbacks are taken away, its connection stays."""
        if self._closed:
            return
        self._closed = True
        filters = tuple(sorted(self._filters)) if self.is_connected else ()
        if filters:
            self._count_unsubscribe(filters)
        self._do(partial(self._leave, filters))
        _TAKEN.discard(self._client)
        was_connected, self._connection = self.is_connected, None
        self._closing(self._mailbox.fileno())
        self._mailbox.close()
        if was_connected:
            self._handler.disconnected("disconnected by us")

    def fileno(self) -> int:
        """To be watched always: it tells of the application's connections too."""
        return self._mailbox.fileno()

    def wants_write(self) -> bool:
        """Never: writing is the application's."""
        return False

    def on_readable(self) -> None:
        """Tell the handler what was noted."""
        self._mailbox.clear_wakeups()
        self._take()

    def on_writable(self) -> None:
        """See :meth:`wants_write`."""

    def tick(self) -> None:
        """Look for ourselves, should the application have replaced the callbacks that we stand in."""
        if not self.is_connected:
            return
        if self._client.socket() is not self._connection:
            self._lost("the application's client has lost its connection")
            return
        for mid, (_, info) in list(self._waiting.items()):
            if _is_published(info):
                self._acknowledged(mid)

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int:
        """Hand a message to the client; returns its number, which ``puback`` will name."""
        if not self.is_connected:
            raise BrokerUnreachable(f"not connected to broker {self.where}")
        self._next += 1
        self._count("up", "publish", packet_bytes(topic, payload, qos, five=self._five) - len(payload))
        self._count("up", "payload", len(payload))
        self._do(partial(self._publish, self._next, topic, payload, qos, retain))
        return self._next

    def subscribe(self, *filters: str, qos: int = 1) -> None:
        """Subscribe to topics in one packet. They are names, without wildcards."""
        if filters:
            self._filters.update(filters)
            self._count("up", "subscribe", 4 + self._five + sum(3 + len(each.encode()) for each in filters))
            self._count("down", "subscribe", 4 + self._five + len(filters))
            self._do(partial(self._subscribe, filters, qos))

    def unsubscribe(self, *filters: str) -> None:
        """End subscriptions in one packet."""
        if filters:
            self._filters.difference_update(filters)
            self._count_unsubscribe(filters)
            self._do(partial(self._unsubscribe, filters))

    def account(self) -> ByteAccount:
        """Bytes of our own MQTT packets by cause; nothing of what carries them."""
        return self._account + ByteAccount()

    def _do(self, function: Callable[[], None]) -> None:
        """Have something done to the client; an event loop that has ended says so, and takes the connection with it."""
        try:
            self._call(function)
        except RuntimeError as error:
            self._mailbox.put(partial(self._lost, f"the application no longer drives its client ({error})"))

    # -- in the thread that drives the client --------------------------------------------------------------

    def _publish(self, number: int, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        # A client that has no room, or has just lost its connection: as if the link had swallowed it.
        info = self._client.publish(topic, payload, qos, retain)
        sent = partial(self._sent, number, info)
        # The acknowledgement may be noted already, but nobody reads notes before this thread does; where the client
        # has its own thread and we are in it, the acknowledgement is yet to come.
        if self._call is at_once:
            sent()
        else:
            self._mailbox.put(sent)

    def _subscribe(self, filters: tuple[str, ...], qos: int) -> None:
        for each in filters:
            self._host.add(each)
        self._client.subscribe([(each, qos) for each in filters])

    def _unsubscribe(self, filters: tuple[str, ...]) -> None:
        self._client.unsubscribe(list(filters))
        for each in filters:
            self._host.remove(each)

    def _leave(self, filters: tuple[str, ...]) -> None:
        if filters:
            self._client.unsubscribe(list(filters))
        self._host.detach()

    # -- from HostClient: a note, and back -----------------------------------------------------------------

    def host_up(self) -> None:
        """See :class:`gossamer.mqtt.host_client.Listener`."""
        self._mailbox.put(self._came_up)

    def host_down(self, reason: str) -> None:
        """See :class:`gossamer.mqtt.host_client.Listener`."""
        self._mailbox.put(partial(self._lost, f"the application's client has lost its connection ({reason})"))

    def host_puback(self, mid: int) -> None:
        """See :class:`gossamer.mqtt.host_client.Listener`."""
        self._mailbox.put(partial(self._acknowledged, mid))

    def host_message(self, topic: str, payload: bytes) -> None:
        """See :class:`gossamer.mqtt.host_client.Listener`."""
        self._mailbox.put(partial(self._message, topic, payload), size=max(1, len(payload)))

    # -- in the owner's thread -----------------------------------------------------------------------------

    def _take(self) -> None:
        while (note := self._mailbox.take()) is not None:
            note()

    def _came_up(self) -> None:
        if self.is_connected and self._client.socket() is not self._connection:
            self._lost("the application's client has connected anew")

    def _lost(self, reason: str) -> None:
        if self.is_connected:
            self._connection = None
            self._waiting.clear()
            self._handler.disconnected(reason)

    def _sent(self, number: int, info: paho.MQTTMessageInfo) -> None:
        self._waiting[info.mid] = (number, info)

    def _acknowledged(self, mid: int) -> None:
        number, _ = self._waiting.pop(mid, (None, None))
        if number is not None:
            self._count("down", "puback", _PUBACK_BYTES)
            self._handler.puback(number)

    def _message(self, topic: str, payload: bytes) -> None:
        if self.is_connected:
            self._count("down", "publish", packet_bytes(topic, payload, 1, five=self._five) - len(payload))
            self._count("down", "payload", len(payload))
            self._count("up", "puback", _PUBACK_BYTES)
            self._handler.message(topic, payload, -1)

    @property
    def _five(self) -> bool:
        return bool(self._client.protocol == paho.MQTTv5)

    def _count_unsubscribe(self, filters: tuple[str, ...]) -> None:
        self._count("up", "subscribe", 4 + self._five + sum(2 + len(each.encode()) for each in filters))
        self._count("down", "subscribe", 4 + (self._five and 1 + len(filters)))

    def _count(self, way: str, cause: str, n: int) -> None:
        causes = self._account.up if way == "up" else self._account.down
        causes[cause] = causes.get(cause, 0) + n


def _is_published(info: paho.MQTTMessageInfo) -> bool:
    try:
        return info.is_published()
    except (RuntimeError, ValueError):  # never sent: no connection, or no room
        return False
