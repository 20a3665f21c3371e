"""A real page over a real store, and a client of the fewest lines."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gossamer.aggregator.engine import Progress
from gossamer.aggregator.store import devices
from gossamer.dashboard.actions import Actions
from gossamer.dashboard.desk import Desk
from gossamer.dashboard.server import PageServer
from gossamer.dashboard.settings import PageSettings
from gossamer.fleet.server_files import ServerFiles
from gossamer.mqtt.account import ByteAccount
from tests.aggregator.fleets import FLEET_KEY, Fleet

TOKEN = "sixteen-characters-or-more"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Speaks to one page; ``headers`` go with every request."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, method: str, path: str, given: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        sent = {**self.headers, **{key.replace("_", "-"): value for key, value in headers.items()}}
        body = None if given is None else json.dumps(given)
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self("GET", path, **headers)

    def post(self, path: str, given: Any = None, **headers: str) -> Answer:
        return self("POST", path, {} if given is None else given, **headers)


@dataclass
class Running:
    """A fleet, its page, and what was measured beside it."""

    fleet: Fleet
    files: ServerFiles
    server: PageServer
    desk: Desk
    client: Client


def advance(fleet: Fleet, rounds: int) -> None:
    """Seal so many rounds."""
    while rounds >= 0 and fleet.step() is not Progress.IDLE:
        manifest = fleet.manifest()
        if rounds == 0 or manifest.round >= fleet.settings.rounds:
            return
        for name in fleet.cohort(manifest.round):
            fleet.put(name, manifest.round)
        rounds -= 1


def born(fleet: Fleet, *names: str, version: int = 0) -> None:
    """Let devices come online."""
    with fleet.store.write() as db:
        for name in names:
            devices.born(db, name, boot=1, job=1, version=version, now=fleet.now)


def files_of(path: Path, fleet: str = "t") -> ServerFiles:
    """A state directory with a key, its store made by who calls."""
    from gossamer.fleet.keys import private_pem

    path.mkdir(parents=True, exist_ok=True)
    (path / "server.toml").write_text(f'fleet = "{fleet}"\n')
    (path / "fleet.key").write_text(private_pem(FLEET_KEY))
    return ServerFiles(path)


@contextlib.contextmanager
def running(
    path: Path, *, settings: PageSettings | None = None, kind: type[Fleet] = Fleet, **job: Any
) -> Iterator[Running]:
    """Serve the page of a small fleet on a free port."""
    files = files_of(path)
    fleet = kind.make(files.store, **job)
    desk = Desk(fleet.store, "t")
    desk.meter(ByteAccount({"payload": 100, "tcp": 40}, {"payload": 7}))
    server = PageServer(desk, Actions(files, fleet.store), settings or PageSettings(port=0))
    server.start()
    try:
        yield Running(fleet, files, server, desk, Client(server.url))
    finally:
        server.stop()
        fleet.store.close()
