"""A fleet with its server and page, in processes that a test may kill: real broker, real agents, real training."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.job_settings import JobSettings
from gossamer.aggregator.store import Store, jobs, schema
from gossamer.broker import free_port
from gossamer.demo.options import DemoOptions, device_name
from gossamer.demo.settings import defaults_for
from gossamer.demo.workspace import Workspace, prepare
from gossamer.mqtt import MqttLink
from tests.brokers import Listening, mosquitto

TOKEN = "a-token-of-the-page-s-own-tests"
Process = subprocess.Popen[bytes]


class Deaf:
    """Hears nothing: see :class:`gossamer.mqtt.Handler`."""

    def connected(self, session_present: bool) -> None: ...

    def message(self, topic: str, payload: bytes, token: int) -> None: ...

    def puback(self, mid: int) -> None: ...

    def disconnected(self, reason: str) -> None: ...


@dataclass
class World:
    """The processes of a fleet."""

    space: Workspace
    broker: Listening
    options: DemoOptions
    page_port: int
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.page_port}/"

    def serve(self) -> None:
        """Start the server (again), its page at the address it had."""
        address = f"127.0.0.1:{self.page_port}"
        words = ("gossamer.cli", "serve", "--state", str(self.space.server.directory), "--page", address)
        self._start("server", words, GOSSAMER_PAGE_TOKEN=TOKEN)
        self.said("server", "page http://", self.processes["server"])

    def device(self, index: int, *, limits: str = "") -> None:
        """Start a device; ``limits``: tables of its settings, such as [gates] and [budget]."""
        name = device_name(index)
        with self.space.agent_config(index).open("a") as config:
            config.write(limits)
        self._start(name, ("gossamer.agent", "--config", str(self.space.agent_config(index))))

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        child = self.processes.pop(name)
        child.kill()
        child.wait()

    def topic(self, kind: str, device: str) -> str:
        """A device's topic."""
        return self.space.server.settings().topic_names().device_topic(kind, device)

    def job_state(self) -> str:
        """As the store has it."""
        with self.reading() as db:
            return jobs.every(db)[0].state.value

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """The server's store, for one look."""
        store = Store.open(self.space.server.store)
        try:
            with store.read() as db:
                yield db
        finally:
            store.close()

    def publish(self, topic: str, *payloads: bytes) -> None:
        """Send messages as somebody who may write to the broker."""
        link = MqttLink(self.broker.settings("a-stranger"), Deaf())
        link.connect()
        for payload in payloads:
            link.publish(topic, payload)
        until = time.monotonic() + 10
        while link.unacknowledged and time.monotonic() < until:
            link.on_readable()
            link.on_writable()
            time.sleep(0.01)
        link.disconnect()

    def said(self, name: str, pattern: str, child: Process) -> None:
        """Wait until a process has said so."""
        log = self.space.logs / f"{name}.log"
        until = time.monotonic() + 60
        while not re.search(pattern, log.read_text()):
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)

    def _start(self, name: str, words: tuple[str, ...], **environment: str) -> None:
        with (self.space.logs / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", *words]
            child = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        self.processes[name] = child


@contextlib.contextmanager
def world(directory: Path, *, data: str, devices: int, rounds: int, spare: int = 1) -> Iterator[World]:
    """A fleet of two cohorts, enrolled; nothing but its broker runs."""
    tuned = defaults_for(data, "mean")
    with mosquitto(directory / "broker") as broker:
        address = f"mqtt://127.0.0.1:{broker.port}"
        options = DemoOptions(
            data, 0, devices, 2, rounds, tuned.codec, tuned.codec_down, "mean", 0, "none", broker=address
        )
        space = prepare(directory / "run", options, tuned, broker.port)
        close_with(space, devices // 2 - spare)
        made = World(space, broker, options, free_port())
        try:
            yield made
        finally:
            for name in list(made.processes):
                made.kill(name)


def close_with(space: Workspace, quorum: int) -> None:
    """Let rounds close without some of their cohort: a device that stays out holds nobody up."""
    store = Store.open(space.server.store)
    with store.write() as db:
        (job,) = jobs.every(db)
        settings = JobSettings.from_json(job.settings)
        settings = replace(settings, closing=replace(settings.closing, quorum=quorum))
        db.execute(sa.update(schema.jobs).values(settings=settings.to_json()))
    store.close()
