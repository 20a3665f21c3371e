"""A whole site for the doctor to look at: a fleet's files, a real Mosquitto with its access list, a real server."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gossamer.agent import work
from gossamer.agent.config import load
from gossamer.aggregator.jobs import JobSettings, create_job
from gossamer.aggregator.store import Store, rounds
from gossamer.doctor.broker import Heard, pump
from gossamer.doctor.finding import Finding, Level
from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec, enroll, init_fleet
from gossamer.fleet.server_files import ServerFiles
from gossamer.mqtt import MqttLink
from gossamer.wire.messages import State, parse
from tests.agent.tiny import Tiny
from tests.brokers import HOST, Listening, mosquitto

TRAINER = "tests.agent.tiny:Tiny"
DEVICES = ("pump-1", "pump-2", "pump-3")
"""The last is revoked by the test that needs one which is."""
SOON = ("[broker]", "[broker]\nconnect_timeout_seconds = 2")
"""A change of a configuration that waits for answers no longer than this, where none is to come."""


@dataclass
class Site:
    """``files`` of the server; ``broker``: where its broker listens."""

    files: ServerFiles
    broker: Listening

    def rejoined(self) -> None:
        """Wait until the server is back at a broker that was started again, and has said so."""
        settings = load(self.files.device("pump-2"), {})
        heard = Heard()
        topic = settings.wire_topics().shared_topic("h")
        link = MqttLink(settings.mqtt(), heard)
        link.connect()
        link.subscribe(topic)
        wait(lambda: pump(link, lambda: any(is_up(each) for each in heard.of(topic)), 0.2), topic)
        link.disconnect()

    def config(self, to: Path, device: str = "pump-1", *changes: tuple[str, str]) -> Path:
        """A device's configuration, copied to where a test may spoil it."""
        text = self.files.device(device).read_text()
        for old, new in changes:
            assert old in text, f"{old!r} is not in the configuration"
            text = text.replace(old, new)
        to.write_text(text)
        to.chmod(0o600)
        return to


def made(directory: Path, port: int, *, tls: bool = False, state_dir: Path | None = None) -> ServerFiles:
    """A fleet of two devices with broker accounts, and a job."""
    files = ServerFiles(directory)
    init_fleet(files, "farm1", BrokerAddress(HOST, port, tls, False), accounts=True)
    for name in DEVICES:
        enroll(files, DeviceSpec(name, TRAINER, {}, str(state_dir or directory / name)))
    settings = JobSettings("tiny", 1, "farm1", seed=1, rounds=3, cohorts=1)
    first = work.first_model(Tiny(), settings.seed, 0)
    store = Store.open(files.store)
    create_job(store, settings, first.weights, first.layout)
    store.close()
    return files


@contextlib.contextmanager
def site(directory: Path, *, lines: tuple[str, ...] = (), server: bool = True) -> Iterator[Site]:
    """All of it, running."""
    directory.mkdir()
    empty = [directory / name for name in ("passwords", "acl")]
    for each in empty:
        each.touch()
    # The broker's port is known once it listens, and its files are made for that port: it reads them at its restart.
    with mosquitto(directory / "broker", password_file=empty[0], acl_file=empty[1], lines=lines) as broker:
        files = made(directory / "state", broker.port)
        empty[0].write_bytes(files.passwords.read_bytes())
        empty[1].write_bytes(files.rules.read_bytes())
        broker.kill()
        broker.start()
        here = Site(files, broker)
        if not server:
            yield here
            return
        with serving(files):
            yield here


@contextlib.contextmanager
def serving(files: ServerFiles) -> Iterator[None]:
    """``gossamer serve`` in a process of its own, its first round open."""
    command = [sys.executable, "-m", "gossamer.cli", "serve", "--state", str(files.directory)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait(lambda: opened(files) or process.poll() is not None, "the first round")
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield
    finally:
        process.terminate()
        process.communicate(timeout=10)


def is_up(payload: bytes) -> bool:
    message = parse(payload)
    return isinstance(message, State) and message.up == 1


def opened(files: ServerFiles) -> bool:
    store = Store.open(files.store)
    with store.read() as db:
        found = rounds.latest(db, 1)
    store.close()
    return found is not None


def wait(until: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def by_name(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {each.name: each for each in findings}


def failing(findings: dict[str, Finding]) -> set[str]:
    return {name for name, each in findings.items() if each.level is Level.FAIL}
