"""Run inside a network namespace of its own: what the link counts beside what the interface counts.

Prints one line per case: name, bytes counted, bytes of the interface. ``/proc/net/dev`` of the loopback counts
whole IP packets, each once.
"""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

from gossamer.mqtt import MqttLink
from tests.brokers import mosquitto


class Quiet:
    def connected(self, session_present: bool) -> None: ...
    def message(self, topic: str, payload: bytes, token: int) -> None: ...
    def puback(self, mid: int) -> None: ...
    def disconnected(self, reason: str) -> None: ...


def interface_bytes() -> int:
    (line,) = [line for line in Path("/proc/self/net/dev").read_text().splitlines() if "lo:" in line]
    return int(line.split(":")[1].split()[8])


def pump(link: MqttLink, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        writable = [link.fileno()] if link.wants_write() else []
        readable, writable, _ = select.select([link.fileno()], writable, [], 0.02)
        if writable:
            link.on_writable()
        if readable:
            link.on_readable()


def measure(directory: Path, *, tls: bool) -> None:
    with mosquitto(directory, tls=tls) as broker:
        for messages, size in ((0, 0), (3, 300), (10, 4000)):
            time.sleep(0.2)
            before = interface_bytes()
            link = MqttLink(broker.settings("meter"), Quiet())
            for _ in range(2):  # the second time TLS resumes
                link.connect()
                link.subscribe("a/#")
                for _ in range(messages):
                    link.publish("a/1", bytes(size))
                    pump(link, 0.02)
                pump(link, 0.2)
                link.disconnect()
            time.sleep(0.2)
            account = link.account()
            name = f"{'tls' if tls else 'plain'}-{messages}x{size}"
            print(name, account.ip_up + account.ip_down, interface_bytes() - before, flush=True)


if __name__ == "__main__":
    measure(Path(sys.argv[1]) / "plain", tls=False)
    measure(Path(sys.argv[1]) / "tls", tls=True)
