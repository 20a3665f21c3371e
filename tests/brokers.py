"""Real brokers for tests: Mosquitto with or without TLS and access control, the embedded one, NATS, RabbitMQ.

A broker is a context manager that yields where it listens. ``BROKERS`` names those that every
conformance test runs over; a new one is added there and thereby tested. Those in ``SLOW_BROKERS`` are
Debian packages of their own (scripts/need) and run with the system tests only.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gossamer.broker import free_port
from gossamer.mqtt import MqttSettings, TlsSettings

HOST = "127.0.0.1"
START_SECONDS = 10.0
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
NATS = shutil.which("nats-server") or "/usr/sbin/nats-server"
#: The script itself: the one on the path changes to an account that cannot write the test's directory.
RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"
#: RabbitMQ waits 5 s for other members of a cluster of one, on a busy machine after 20 s of starting.
RABBITMQ_START_SECONDS = 90.0


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
    lines: tuple[str, ...] = (), port: int = 0,
) -> Iterator[Listening]:  # fmt: skip
    """Run Debian's Mosquitto on a free port of the loopback, or on the one given."""
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
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
def mosquitto_of(text: str, listener: int, directory: Path) -> Iterator[int]:
    """Run Mosquitto with a whole configuration file, its ``listener`` moved to a free port; yields that port."""
    port = free_port()
    moved = text.replace(f"listener {listener}\n", f"listener {port} {HOST}\n")
    assert moved != text
    file = directory / "mosquitto.conf"
    file.write_text(moved + ("user root\n" if os.geteuid() == 0 else ""))
    with _running([MOSQUITTO, "-c", str(file)], port, directory / "mosquitto.log"):
        yield port


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


@contextlib.contextmanager
def nats(directory: Path) -> Iterator[Listening]:
    """Run NATS with JetStream, where its MQTT keeps sessions and retained messages."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    file = directory / "nats.conf"
    file.write_text(
        f'server_name: gossamer-test\nlisten: "{HOST}:{free_port()}"\n'
        f'jetstream {{ store_dir: "{directory / "jetstream"}" }}\nmqtt {{ listen: "{HOST}:{port}" }}\n'
    )
    with _running([NATS, "-c", str(file)], port, directory / "nats.log") as (start, kill):
        yield Listening(port, None, kill, start)


@contextlib.contextmanager
def rabbitmq(directory: Path) -> Iterator[Listening]:
    """Run RabbitMQ with its MQTT plugin, as a node that only this machine can reach, with a name server of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    port, names, distribution = free_port(), free_port(), free_port()
    (directory / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
    (directory / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = {HOST}:{free_port()}\nmqtt.listeners.tcp.1 = {HOST}:{port}\n"
        "mqtt.allow_anonymous = true\nlog.console = true\nlog.file = false\n"
    )
    environment = {
        "HOME": str(directory), "ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_NODENAME": "gossamer@localhost",
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(directory / "db"), "RABBITMQ_LOG_BASE": str(directory),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }  # fmt: skip
    epmd = ["epmd", "-port", str(names), "-address", HOST]
    with (
        _running(epmd, names, directory / "epmd.log"),
        _running(
            [RABBITMQ],
            port,
            directory / "rabbitmq.log",
            environment=environment,
            directory=directory,
            seconds=RABBITMQ_START_SECONDS,
        ) as (start, kill),
    ):
        yield Listening(port, None, kill, start)


def _path(path: Path | None) -> str:
    return "None" if path is None else f"Path({str(path)!r})"


@contextlib.contextmanager
def _running(
    command: list[str], port: int, log: Path, *, environment: Mapping[str, str] | None = None,
    directory: Path | None = None, seconds: float = START_SECONDS,
) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:  # fmt: skip
    """Run a broker; yields (start, kill).

    It has a process group of its own: RabbitMQ's is a shell and a machine, which leaves dumps where it runs.
    """
    child: list[subprocess.Popen[bytes]] = []
    settings = {**os.environ, **(environment or {})}

    def start() -> None:
        with log.open("ab") as output:
            streams = {"stdout": output, "stderr": output}
            child.append(subprocess.Popen(command, **streams, env=settings, cwd=directory, start_new_session=True))
        _await_listener(port, child[-1], log, seconds)

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child[-1].pid, signal.SIGKILL)
        child[-1].wait()

    start()
    try:
        yield start, kill
    finally:
        child[-1].terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child[-1].wait(5)
        kill()  # whatever is left of it


#: Name -> context manager of one argument, a directory that is the broker's own.
BROKERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Listening]]] = {
    "mosquitto": mosquitto,
    "mosquitto-tls": lambda directory: mosquitto(directory, tls=True),
    "embedded": embedded,
    "nats": nats,
    "rabbitmq": rabbitmq,
}
#: Those that are for the system tests: they take seconds to start.
SLOW_BROKERS = ("nats", "rabbitmq")


#: As parameters of a test.
FAST_BROKERS = [name for name in BROKERS if name not in SLOW_BROKERS]
EVERY_BROKER = [*FAST_BROKERS, *(pytest.param(name, marks=pytest.mark.system) for name in SLOW_BROKERS)]


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


def _await_listener(port: int, child: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"the broker does not listen on {port}: {log.read_text()[-500:]}")
