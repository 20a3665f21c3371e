"""Real brokers for tests: Mosquitto with or without TLS and access control, and the embedded one.

A broker is a context manager that yields where it listens. ``BROKERS`` names those that every
conformance test runs over; a new one is added there and thereby tested.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gossamer.broker import free_port
from gossamer.mqtt import MqttSettings, TlsSettings

HOST = "127.0.0.1"
START_SECONDS = 10.0
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


@dataclass(slots=True)
class Listening:
    """Where a broker listens; ``kill`` and ``start`` play a crash."""

    port: int
    tls: TlsSettings | None = None
    kill: Callable[[], None] = field(default=lambda: None)
    start: Callable[[], None] = field(default=lambda: None)

    def settings(self, client_id: str, **more: object) -> MqttSettings:
        """Settings of a client of this broker."""
        return MqttSettings(client_id=client_id, host=HOST, port=self.port, tls=self.tls, **more)  # type: ignore[arg-type]


@contextlib.contextmanager
def mosquitto(
    directory: Path, *, tls: bool = False, password_file: Path | None = None, acl_file: Path | None = None,
    lines: tuple[str, ...] = (),
) -> Iterator[Listening]:  # fmt: skip
    """Run Debian's Mosquitto on a free port of the loopback."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = [f"listener {port} {HOST}", "persistence false", "max_queued_messages 100000", *lines]
    config.append("allow_anonymous false" if password_file else "allow_anonymous true")
    if os.geteuid() == 0:
        config.append("user root")  # else it drops to an account that cannot read the test's own files
    config += [f"password_file {password_file}"] if password_file else []
    config += [f"acl_file {acl_file}"] if acl_file else []
    settings = None
    if tls:
        certificate, key = self_signed(directory)
        config += [f"certfile {certificate}", f"keyfile {key}"]
        settings = TlsSettings(ca_file=certificate)
    file = directory / "mosquitto.conf"
    file.write_text("\n".join(config) + "\n")
    with _running([MOSQUITTO, "-c", str(file)], port, directory / "mosquitto.log") as (start, kill):
        yield Listening(port, settings, kill, start)


@contextlib.contextmanager
def embedded(directory: Path, *, tls: bool = False) -> Iterator[Listening]:
    """Run the embedded broker, in a process of its own: amqtt leaves sockets for the collector to close."""
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = self_signed(directory) if tls else (None, None)
    port = free_port()
    broker = f"EmbeddedBroker({HOST!r}, {port}, {_path(certificate)}, {_path(key)})"
    code = (
        "import asyncio; from pathlib import Path; from gossamer.broker import *; "
        f"asyncio.run(run_until_signalled({broker}))"
    )
    with _running([sys.executable, "-c", code], port, directory / "embedded.log") as (start, kill):
        yield Listening(port, TlsSettings(ca_file=certificate) if certificate else None, kill, start)


def _path(path: Path | None) -> str:
    return "None" if path is None else f"Path({str(path)!r})"


@contextlib.contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Run a broker; yields (start, kill)."""
    child: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        with log.open("ab") as output:
            child.append(subprocess.Popen(command, stdout=output, stderr=output))
        _await_listener(port, child[-1], log)

    def kill() -> None:
        child[-1].kill()
        child[-1].wait()

    start()
    try:
        yield start, kill
    finally:
        child[-1].terminate()
        child[-1].wait(5)


#: Name -> context manager of one argument, a directory that is the broker's own.
BROKERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Listening]]] = {
    "mosquitto": mosquitto,
    "mosquitto-tls": lambda directory: mosquitto(directory, tls=True),
    "embedded": embedded,
}


def self_signed(directory: Path, host: str = HOST) -> tuple[Path, Path]:
    """Write a P-256 certificate for ``host`` (an address) and localhost that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gossamer test broker")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address(host))])
    usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    paths = directory / "broker.crt", directory / "broker.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return paths


def _await_listener(port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"the broker does not listen on {port}: {log.read_text()[-500:]}")
