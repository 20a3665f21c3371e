"""What a broker grants in so many words, from its CONNACK and SUBACK; :class:`gossamer.mqtt.MqttLink` hides both."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from gossamer.errors import GossamerError
from gossamer.mqtt.settings import MqttSettings
from gossamer.mqtt.sockets import tls_context


@dataclass
class Granted:
    """The broker's answers. ``subscribed``: a reason code for each filter, 0x80 and above refuse."""

    refused: str = ""
    largest_packet: int | None = None
    subscribed: list[int] = field(default_factory=list)


def ask(settings: MqttSettings, filters: tuple[str, ...] = ()) -> Granted | None:
    """Connect, subscribe if asked to, and leave. None: no answer that can be read (another protocol version)."""
    five = settings.protocol == "5"
    try:
        context = tls_context(settings)
    except GossamerError:
        return None
    client = paho.Client(
        CallbackAPIVersion.VERSION2, settings.client_id, clean_session=None if five else True,
        protocol=paho.MQTTv5 if five else paho.MQTTv311, reconnect_on_failure=False,
    )  # fmt: skip
    client.username_pw_set(settings.username, settings.password)
    if context is not None:
        client.tls_set_context(context)
    answers: list[Any] = []
    granted = Granted()
    client.on_connect = lambda _c, _u, _f, code, properties: answers.append((code, properties))
    client.on_subscribe = lambda _c, _u, _m, codes, _p: granted.subscribed.extend(int(code.value) for code in codes)
    try:
        client.connect(settings.host, settings.port, 60)
        if not _loop(client, settings.connect_timeout_seconds, lambda: bool(answers)):
            return None
        code, properties = answers[0]
        if code.is_failure:
            granted.refused = str(code)
            return None if five and "rotocol" in granted.refused else granted
        granted.largest_packet = getattr(properties, "MaximumPacketSize", None)
        if filters:
            client.subscribe([(each, 1) for each in filters])
            _loop(client, settings.connect_timeout_seconds, lambda: len(granted.subscribed) >= len(filters))
        client.disconnect()
    except OSError:
        return None
    finally:
        # paho closes its socket in the loop that notices the end.
        _loop(client, 1.0, lambda: client.socket() is None)
    return granted


def _loop(client: paho.Client, seconds: float, until: Any) -> bool:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        if client.loop(0.1) != MQTTErrorCode.MQTT_ERR_SUCCESS:
            break
    return bool(until())
