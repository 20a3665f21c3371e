"""One MQTT connection at a time, driven from outside: no thread, no reconnect, no queue that outlives it.

paho is used through a new ``Client`` for every connection. Its callbacks only note what happened; the notes
are handed to the :class:`Handler` when paho has returned, so a handler may publish, ack or disconnect.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gossamer.errors import BrokerRefused, BrokerUnreachable
from gossamer.mqtt.account import ByteAccount
from gossamer.mqtt.settings import MqttSettings, Will
from gossamer.mqtt.sockets import MeteredSocket, Stop, open_socket, tls_context

#: A socket that has been silent for this many keepalives is closed (paho itself waits for two, or for ever).
SILENT_KEEPALIVES = 1.5
#: How long an MQTT 5 broker is asked to keep a session that is not clean (with 3.1.1 it is for it to decide).
SESSION_EXPIRY_SECONDS = 86_400
#: Topic filters in one SUBSCRIBE: AWS IoT Core takes 8, Azure Event Grid 10.
MAX_FILTERS = 8
#: How long a goodbye may take to leave the socket.
_FLUSH_SECONDS = 1.0
_SLICE_SECONDS = 0.2
#: Packets read at one call before the loop gets to do something else.
_READ_BURST = 64
#: Token of a message that needs no acknowledgement (QoS 0).
_NO_TOKEN = -1
#: CONNACK codes that say *later*, not *no*: server unavailable (3 in MQTT 3.1.1, which paho translates), busy.
_TRY_LATER = (0x88, 0x89)


class Handler(Protocol):
    """What a link tells its owner. May call any method of the link, except ``connect``."""

    def connected(self, session_present: bool) -> None:
        """The broker accepted; it kept the session of last time, or not."""

    def message(self, topic: str, payload: bytes, token: int) -> None:
        """A message arrived. With ``manual_ack`` the owner passes ``token`` to :meth:`MqttLink.ack`."""

    def puback(self, mid: int) -> None:
        """The broker has the message that ``publish`` numbered ``mid``. It may still lose it."""

    def disconnected(self, reason: str) -> None:
        """The connection has ended: once for each ``connected``. What was not acknowledged is forgotten."""


class _Client(paho.Client):
    """paho on a socket that we opened: metered, with our deadline, resuming TLS sessions."""

    def __init__(self, sock: MeteredSocket, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._metered = sock

    def _create_socket(self) -> Any:
        return self._metered


class MqttLink:
    """A link to one broker. All methods are called from one thread.

    ``closing(fd)`` is called before a socket closes, for event loops that must forget it first.
    """

    def __init__(
        self, settings: MqttSettings, handler: Handler, *, manual_ack: bool = False,
        closing: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        settings.check()
        self.settings = settings
        self._handler = handler
        self._manual_ack = manual_ack
        self._closing = closing or (lambda _fd: None)
        self._context = tls_context(settings)
        self._tls_session: Any = None
        self._client: paho.Client | None = None
        self._sock: MeteredSocket | None = None
        self._generation = 0
        self._events: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._draining = False
        self._past = ByteAccount()  # of closed connections
        self._heard_bytes = 0
        self._heard_at = 0.0
        self.unacknowledged = 0

    # -- the connection ------------------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """``host:port`` of the broker."""
        return self.settings.where

    @property
    def reachable(self) -> bool:
        """Whether to try :meth:`connect`: always, there is no other way to find out."""
        return True

    @property
    def is_connected(self) -> bool:
        """True between ``connected`` and ``disconnected``."""
        return self._client is not None

    def connect(self, stop: Stop = lambda: False, will: Will | None = None) -> None:
        """Connect and wait for the broker's answer, at most ``connect_timeout_seconds``.

        ``stop`` is asked several times a second and ends the wait; ``will`` replaces that of the settings.
        Raises :class:`BrokerUnreachable` (try
        later) or :class:`BrokerRefused` (credentials, protocol: somebody has to change something).
        """
        if self._client is not None:
            raise RuntimeError("already connected: call disconnect() first")
        deadline = time.monotonic() + self.settings.connect_timeout_seconds
        sock = open_socket(self.settings, self._context, self._tls_session, deadline, stop)
        self._generation += 1
        answer: list[Any] = []
        sock.closing = self._closing
        client = self._new_client(sock, answer, will or self.settings.will)
        try:
            self._await_connack(client, sock, answer, deadline, stop)
        except BaseException:
            self._events.clear()
            self._forget(sock)
            raise
        self._client, self._sock = client, sock
        client.on_disconnect = self._on_disconnect
        self._heard_bytes, self._heard_at = sock.received, time.monotonic()
        self._events.appendleft((self._handler.connected, (answer[0][0],)))
        self._drain()

    def disconnect(self) -> None:
        """Say goodbye (the broker keeps the will to itself) and close, in at most a second."""
        client, sock = self._client, self._sock
        if client is None or sock is None:
            return
        client.on_disconnect = None
        client.disconnect()
        deadline = time.monotonic() + _FLUSH_SECONDS
        while client.want_write() and client.socket() is not None and time.monotonic() < deadline:
            if client.loop_write() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                break
            if client.want_write():
                _poll(sock, select.POLLOUT)
        self._lost("disconnected by us")
        self._drain()

    def abort(self, reason: str) -> None:
        """Close without a goodbye: the broker publishes the will."""
        self._lost(reason)
        self._drain()

    # -- for the event loop --------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The socket's descriptor; -1 while there is none. It changes with every connection."""
        return self._sock.fileno() if self._sock is not None else -1

    def wants_write(self) -> bool:
        """True while something waits to be written."""
        return self._client is not None and self._client.want_write()

    def on_readable(self) -> None:
        """Read what has arrived and tell the handler."""
        client, sock = self._client, self._sock
        if client is None or sock is None:
            return
        before, reads = -1, 0
        # A selector does not see the bytes that TLS has decrypted already: never leave those behind.
        while sock.received != before and (reads < _READ_BURST or sock.pending()) and client.socket():
            before, reads = sock.received, reads + 1
            client.loop_read()
        self._drain()

    def on_writable(self) -> None:
        """Write what waits."""
        if self._client is not None:
            self._client.loop_write()
        self._drain()

    def tick(self) -> None:
        """Ping when due; close a socket that has been silent for too long. Call every few seconds."""
        client, sock = self._client, self._sock
        if client is None or sock is None:
            return
        now = time.monotonic()
        if sock.received != self._heard_bytes:
            self._heard_bytes, self._heard_at = sock.received, now
        client.loop_misc()
        silent = now - self._heard_at
        if self._client is not None and silent > SILENT_KEEPALIVES * client.keepalive:
            self._lost(f"nothing heard from broker {self.settings.where} for {silent:.0f} s")
        self._drain()

    # -- messages ------------------------------------------------------------------------------------------

    def publish(
        self, topic: str, payload: bytes, qos: int = 1, retain: bool = False, *,
        expiry_seconds: int | None = None,
    ) -> int:  # fmt: skip
        """Queue a message for this connection; returns its number, which ``puback`` will name.

        ``expiry_seconds`` has an effect with MQTT 5 only. :class:`BrokerUnreachable` when not connected.
        """
        client = self._connected()
        properties = None
        if expiry_seconds is not None and self.settings.protocol == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = expiry_seconds
        info = client.publish(topic, payload, qos, retain and self.settings.retain, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise BrokerUnreachable(f"message to {topic} not sent: {paho.error_string(info.rc)}")
        if self._sock is not None:
            self._sock.payload_up += len(payload)
        self.unacknowledged += qos > 0
        return info.mid

    def subscribe(self, *filters: str, qos: int = 1) -> None:
        """Subscribe to topic filters, ``MAX_FILTERS`` in a packet."""
        for at in range(0, len(filters), MAX_FILTERS):
            self._connected().subscribe([(each, qos) for each in filters[at : at + MAX_FILTERS]])

    def unsubscribe(self, *filters: str) -> None:
        """End subscriptions in one packet."""
        if filters:
            self._connected().unsubscribe(list(filters))

    def ack(self, token: int) -> None:
        """Acknowledge a message to the broker (``manual_ack``); tokens of earlier connections are ignored."""
        if token != _NO_TOKEN and self._client is not None and token >> 16 == self._generation:
            self._client.ack(token & 0xFFFF, 1)

    # -- bytes ---------------------------------------------------------------------------------------------

    def account(self) -> ByteAccount:
        """Bytes by cause over all connections of this link."""
        return self._past + self._sock.account() if self._sock is not None else self._past

    # -- inside --------------------------------------------------------------------------------------------

    def _connected(self) -> paho.Client:
        if self._client is None:
            raise BrokerUnreachable(f"not connected to broker {self.settings.where}")
        return self._client

    def _new_client(self, sock: MeteredSocket, answer: list[Any], will: Will | None) -> paho.Client:
        settings = self.settings
        five = settings.protocol == "5"
        client = _Client(
            sock,
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=None if five else settings.clean,
            protocol=paho.MQTTv5 if five else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,  # acknowledged by us after the handler has returned, or by the owner
        )
        client.username_pw_set(settings.username, settings.password)
        client.max_inflight_messages_set(settings.max_in_flight)
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain and settings.retain)
        generation = self._generation
        client.on_connect = lambda _c, _u, flags, code, _p: answer.append((flags.session_present, code))
        client.on_disconnect = lambda _c, _u, _f, code, _p: answer.append((False, code))
        client.on_message = lambda _c, _u, message: self._on_message(message, sock, generation)
        client.on_publish = lambda _c, _u, mid, _code, _p: self._on_publish(mid)
        # With this callback set, paho leaves writing to whoever drives the loop: publish() does no I/O.
        client.on_socket_register_write = lambda _c, _u, _s: None
        self.unacknowledged = 0
        clean_start = settings.clean if five else paho.MQTT_CLEAN_START_FIRST_ONLY
        properties = None
        if five and not settings.clean:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION_EXPIRY_SECONDS
        client.connect(
            settings.host, settings.port, settings.keepalive_seconds, clean_start=clean_start, properties=properties
        )
        return client

    def _await_connack(
        self, client: paho.Client, sock: MeteredSocket, answer: list[Any], deadline: float, stop: Stop
    ) -> None:
        while not answer:
            if stop() or time.monotonic() >= deadline:
                raise BrokerUnreachable(
                    f"{self.settings.where} accepts connections but did not answer CONNECT: is it an MQTT broker?"
                )
            if client.want_write():
                client.loop_write()
            if sock.pending() or _poll(sock, select.POLLIN | (select.POLLOUT if client.want_write() else 0)):
                client.loop_read()
        code = answer[0][1]
        if getattr(code, "value", None) in _TRY_LATER:
            raise BrokerUnreachable(f"broker {self.settings.where} takes no clients at the moment: {code}")
        if getattr(code, "is_failure", False) or client.socket() is None:
            if "closed" in str(code).lower() or str(code) in ("Unspecified error", "Success"):
                raise BrokerUnreachable(
                    f"broker {self.settings.where} closed the connection before answering CONNECT ({code}): "
                    "is it an MQTT broker, and is TLS set as it expects?"
                )
            raise BrokerRefused(
                f"broker {self.settings.where} refused client {self.settings.client_id!r}: {code}. Check "
                f"username, password, client certificate, and that it speaks MQTT {self.settings.protocol}"
            )

    def _on_message(self, message: paho.MQTTMessage, sock: MeteredSocket, generation: int) -> None:
        sock.payload_down += len(message.payload)
        token = generation << 16 | message.mid if message.qos else _NO_TOKEN
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._events.append((self.ack, (token,)))  # no topic of ours: take it off the broker's hands
            return
        self._events.append((self._handler.message, (topic, bytes(message.payload), token)))
        if not self._manual_ack:
            self._events.append((self.ack, (token,)))

    def _on_publish(self, mid: int) -> None:
        self.unacknowledged -= 1
        self._events.append((self._handler.puback, (mid,)))

    def _on_disconnect(self, _client: Any, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        why = "" if str(code) == "Unspecified error" else f" ({code})"  # paho's word for an end of file
        self._lost(f"broker {self.settings.where} closed the connection{why}")

    def _lost(self, reason: str) -> None:
        """Forget the connection, after what it has already brought has been handed over."""
        if self._client is None or self._sock is None:
            return
        self._client.on_disconnect = None
        sock, self._client, self._sock = self._sock, None, None
        self._forget(sock)
        self._events.append((self._handler.disconnected, (reason,)))

    def _forget(self, sock: MeteredSocket) -> None:
        sock.close()
        self._tls_session = sock.session or self._tls_session
        self._past = self._past + sock.account()
        self.unacknowledged = 0

    def _drain(self) -> None:
        if self._draining:
            return
        self._draining = True
        try:
            while self._events:
                callback, arguments = self._events.popleft()
                callback(*arguments)
        finally:
            self._draining = False


def _poll(sock: MeteredSocket, events: int) -> bool:
    if sock.fileno() < 0:  # a write that failed has closed it: paho reports success when we were leaving anyway
        return True
    poll = select.poll()
    poll.register(sock.fileno(), events)
    return bool(poll.poll(_SLICE_SECONDS * 1000))
