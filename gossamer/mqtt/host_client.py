"""An application's own paho client, listened to beside its owner.

Everything here happens in the threads of the application, inside paho's callbacks: it notes what happened and
returns. The owner's callbacks stay what they are, called with what they were called with: ours stand in front of
them and are taken away again. Callbacks of topics are added for ours alone.

No lock is held while paho is called or may call: paho holds its own around callbacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import paho.mqtt.client as paho

_HOOKS = ("on_connect", "on_disconnect", "on_publish")


class Listener(Protocol):
    """Told in whatever thread drives the client; must not block."""

    def host_up(self) -> None:
        """The client has connected."""

    def host_down(self, reason: str) -> None:
        """Its connection has ended."""

    def host_puback(self, mid: int) -> None:
        """The broker has a message; not necessarily one of ours."""

    def host_message(self, topic: str, payload: bytes) -> None:
        """A message on one of the topics that were added."""


class HostClient:
    """The hooks on one client, from :meth:`attach` to :meth:`detach`."""

    def __init__(self, client: paho.Client, listener: Listener) -> None:
        self.client = client
        self._listener: Listener | None = listener
        self._before: dict[str, Callable[..., Any] | None] = {}
        self._ours: dict[str, Callable[..., Any]] = {}
        self._topics: set[str] = set()

    def attach(self) -> None:
        """Stand in front of the owner's callbacks."""
        for name in _HOOKS:
            self._before[name] = getattr(self.client, name)
            self._ours[name] = self._composed(name, getattr(self, f"_{name}"))
            setattr(self.client, name, self._ours[name])

    def detach(self) -> None:
        """Give the callbacks back; one that the owner has replaced since stays as it is, and ours in it is silent."""
        self._listener = None
        for topic in self._topics:
            self.client.message_callback_remove(topic)
        self._topics.clear()
        for name, ours in self._ours.items():
            if getattr(self.client, name) is ours:
                setattr(self.client, name, self._before[name])

    def add(self, topic: str) -> None:
        """Hear a topic; messages on it no longer reach the owner's ``on_message``."""
        self._topics.add(topic)
        self.client.message_callback_add(topic, self._on_message)

    def remove(self, topic: str) -> None:
        """Hear it no longer."""
        self._topics.discard(topic)
        self.client.message_callback_remove(topic)

    def _composed(self, name: str, ours: Callable[..., None]) -> Callable[..., Any]:
        """Ours, then the owner's, whichever of paho's signatures they have."""

        def both(*arguments: Any) -> Any:
            if self._listener is not None:
                ours(self._listener, arguments)
            before = self._before[name]
            return None if before is None else before(*arguments)

        return both

    def _on_connect(self, listener: Listener, _arguments: tuple[Any, ...]) -> None:
        if self.client.is_connected():  # refused connections come here too
            listener.host_up()

    @staticmethod
    def _on_disconnect(listener: Listener, arguments: tuple[Any, ...]) -> None:
        # (client, userdata, code[, properties]) in version 1, (client, userdata, flags, code, properties) in 2.
        listener.host_down(str(arguments[3] if len(arguments) > 4 else arguments[2]))

    @staticmethod
    def _on_publish(listener: Listener, arguments: tuple[Any, ...]) -> None:
        listener.host_puback(arguments[2])

    def _on_message(self, client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        listener = self._listener
        if listener is not None:
            listener.host_message(message.topic, bytes(message.payload))
        client.ack(message.mid, message.qos)  # does nothing unless the owner acknowledges by hand
