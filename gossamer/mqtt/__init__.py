"""A thread-free shell around paho-mqtt, shared by the agent (selectors) and the bridge (asyncio).

::

    link = MqttLink(MqttSettings(client_id="d1", host="127.0.0.1"), handler)
    link.connect()                    # blocking, bounded; BrokerUnreachable or BrokerRefused
    ... wait for link.fileno() to be readable, or writable while link.wants_write() ...
    link.on_readable(); link.on_writable(); link.tick()

What it does *not* do: no thread, no reconnecting, no queue that outlives a connection. PUBACK says only that
the broker has the message; who needs to know that it arrived sends it again until the other end says so.
"""

from gossamer.mqtt.account import CAUSES, ByteAccount
from gossamer.mqtt.link import Handler, MqttLink
from gossamer.mqtt.settings import MqttSettings, TlsSettings, Will

__all__ = ["CAUSES", "ByteAccount", "Handler", "MqttLink", "MqttSettings", "TlsSettings", "Will"]
