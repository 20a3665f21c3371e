"""The embedded MQTT broker: for the demo, for tests and for a first look, never for a fleet.

It is amqtt (pure Python, MQTT 3.1.1, runs in this process's event loop on every architecture), bound
to 127.0.0.1 unless told otherwise, anonymous, and without persistence: everything it forgets, the
outbox and the store remember. ``docs/decisions/0004-embedded-broker.md`` says why this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer.errors import ConfigError


@dataclass(frozen=True, slots=True)
class EmbeddedBroker:
    """Where the broker listens.

    ``port`` 0 takes a free one. With ``certificate`` and ``key`` (PEM files) it speaks TLS only.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    certificate: Path | None = None
    key: Path | None = None

    def amqtt_config(self) -> dict[str, Any]:
        """Return the configuration in amqtt's own form."""
        listener: dict[str, Any] = {"type": "tcp", "bind": f"{self.host}:{self.port}"}
        if self.certificate is not None:
            listener |= {"ssl": True, "certfile": str(self.certificate), "keyfile": str(self.key)}
        return {
            "listeners": {"default": listener},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port nobody listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def running(settings: EmbeddedBroker) -> AsyncIterator[None]:
    """Run the broker in this event loop for the length of the ``async with`` block.

    Raises:
        ConfigError: amqtt is not installed, or the address cannot be bound.
    """
    try:
        from amqtt.broker import Broker
        from amqtt.errors import BrokerError
    except ImportError as missing:
        raise ConfigError(
            "the embedded broker needs the package amqtt: pip install 'gossamer[broker]', "
            "or use a broker of your own (`broker` in project.toml, --broker of the demo)"
        ) from missing
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    broker = Broker(settings.amqtt_config())
    try:
        await broker.start()
    except BrokerError as failed:
        raise ConfigError(
            f"the embedded broker cannot listen on {settings.host}:{settings.port} ({failed}); "
            "choose another --port or stop what listens there"
        ) from failed
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(broker.shutdown(), timeout=1.5)


async def run_until_signalled(settings: EmbeddedBroker) -> None:
    """Run the broker until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings):
        await stop.wait()
