"""``gossamer broker``: the embedded broker by itself, for a first look without installing one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.output import note


def broker(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 1883,
    certificate: Annotated[Path | None, typer.Option(help="PEM certificate: speak TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
) -> None:
    """Run the embedded MQTT broker until SIGTERM. For trying out, not for a fleet: use Mosquitto there.

    It asks nobody for a password and keeps nothing on disk.

    Example: gossamer broker --port 18830
    """
    import asyncio

    from gossamer.broker import EmbeddedBroker, run_until_signalled
    from gossamer.errors import ConfigError

    if (certificate is None) != (key is None):
        raise ConfigError("--certificate and --key belong together: give both, or neither for plaintext")
    note(f"broker on {host}:{port}{' (TLS)' if certificate else ''}; anonymous, nothing is kept on disk")
    asyncio.run(run_until_signalled(EmbeddedBroker(host, port, certificate, key)))
