"""Real brokers for tests: Mosquitto with or without TLS and access control, and the embedded one.

A broker is a context manager that yields where it listens. ``BROKERS`` names those that every
conformance test runs over; a new one is added there and thereby tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gossamer.broker import EmbeddedBroker, free_port, running
from gossamer.mqtt import MqttSettings, TlsSettings

HOST = "127.0.0.1"
START_SECONDS = 10.0
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


@dataclass(slots=True)
class Listening:
    """Where a broker listens; ``kill`` and ``start`` play a crash of Mosquitto."""

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
    child: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        log = (directory / "mosquitto.log").open("ab")
        with log:
            child.append(subprocess.Popen([MOSQUITTO, "-c", str(file)], stdout=log, stderr=log))
        _await_listener(port, child[-1], directory / "mosquitto.log")

    def kill() -> None:
        child[-1].send_signal(signal.SIGKILL)
        child[-1].wait()

    start()
    try:
        yield Listening(port, settings, kill, start)
    finally:
        child[-1].terminate()
        child[-1].wait(5)


@contextlib.contextmanager
def embedded(directory: Path, *, tls: bool = False) -> Iterator[Listening]:
    """Run the embedded broker in an event loop of its own thread."""
    directory.mkdir(parents=True, exist_ok=True)
    files: tuple[Path | None, Path | None] = self_signed(directory) if tls else (None, None)
    settings = EmbeddedBroker(HOST, free_port(), *files)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    started = threading.Event()

    async def run() -> None:
        async with running(settings):
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    if not started.wait(START_SECONDS):
        raise RuntimeError("the embedded broker did not start")
    try:
        yield Listening(settings.port, TlsSettings(ca_file=files[0]) if files[0] else None)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


#: Name -> context manager of one argument, a directory that is the broker's own.
BROKERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Listening]]] = {
    "mosquitto": mosquitto,
    "mosquitto-tls": lambda directory: mosquitto(directory, tls=True),
    "embedded": embedded,
}


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Write a P-256 certificate for 127.0.0.1 and localhost that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gossamer test broker")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address(HOST))])
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
    raise RuntimeError(f"mosquitto does not listen on {port}: {log.read_text()[-500:]}")
