"""Run inside a network namespace of its own: what a connection that only pings counts beside what the interface counts.

Prints one line for plain MQTT and one for TLS.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from gossamer.mqtt import ByteAccount, MqttLink
from tests.brokers import mosquitto
from tests.meter_in_namespace import Quiet, interface_bytes, pump

WANTED = 4
SECONDS = 60.0


def rest(link: MqttLink) -> tuple[ByteAccount, int]:
    """Account and interface right behind an exchange, so that none is cut in two."""
    seen = link.account().down["ping"]
    end = time.monotonic() + SECONDS
    while link.account().down["ping"] == seen and time.monotonic() < end:
        pump(link, 0.1)
        link.tick()
    pump(link, 0.2)
    return link.account(), interface_bytes()


def main() -> None:
    """Measure both."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for tls in (False, True):
        with mosquitto(Path(tempfile.mkdtemp(prefix="gossamer-pings-")), tls=tls) as broker:
            link = MqttLink(broker.settings("quiet", keepalive_seconds=1), Quiet())
            link.connect()
            link.subscribe("a/m")
            account, interface = rest(link)
            for _ in range(WANTED):
                after, interface_after = rest(link)
            spent = after - account
            name, pings = "tls" if tls else "plain", spent.down["ping"] // 2
            counted = spent.ip_up + spent.ip_down
            print(f"{name} {pings} pings: counted {counted}, interface {interface_after - interface}", flush=True)
            link.disconnect()


if __name__ == "__main__":
    main()
