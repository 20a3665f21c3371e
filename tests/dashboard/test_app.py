"""The page over HTTP: its figures, its stream, its files, its end."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import gossamer
from gossamer.aggregator.store import rejections
from gossamer.dashboard import events, server
from gossamer.dashboard.actions import Actions
from gossamer.dashboard.app import ASSETS, make_app
from gossamer.dashboard.device_rows import MAX_PAGE_SIZE, ORDERS, PAGE_SIZE, STANDINGS
from gossamer.dashboard.events import BEAT_SECONDS, MAX_VIEWERS
from gossamer.dashboard.server import MAX_CONNECTIONS, listen
from gossamer.dashboard.settings import MIN_TOKEN_CHARS, PageSettings
from gossamer.errors import ConfigError, StoreError
from gossamer.fleet.server_files import PageTable
from gossamer.settings import parse_toml

from .pages import Running, advance, born, running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("page"), rounds=8) as found:
        advance(found.fleet, 2)
        born(found.fleet, "d0", "d1")
        yield found


PAGE = Path(__file__).resolve().parents[2] / "docs" / "page.md"


class Stream:
    """The events of a page, read as a browser reads them."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        self.connection.request("GET", "/api/events")
        self.answer = self.connection.getresponse()

    def next(self) -> tuple[str, Any]:
        """The next event; EOFError: the stream has ended."""
        name = data = ""
        while line := self.answer.readline():
            text = line.decode().rstrip("\r\n")
            if text.startswith("event: "):
                name = text[7:]
            elif text.startswith("data: "):
                data = text[6:]
            elif not text and name:
                return name, json.loads(data)
        raise EOFError

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_figures(page: Running) -> None:
    told = page.client.get("/api/fleet.json")
    assert told.headers["cache-control"] == "no-store"
    assert (told.json["fleet"], told.json["version"], told.json["job"]) == ("t", gossamer.__version__, 1)
    assert told.json["devices"]["online"] == 2
    job = page.client.get("/api/jobs/1.json").json
    assert (job["name"], job["round"], job["rounds"], job["state"]) == ("test", 2, 8, "open")
    assert job["bytes"]["server"] == {"up": {"payload": 100, "tcp": 40}, "down": {"payload": 7}}
    rounds = page.client.get("/api/jobs/1/rounds.json").json
    assert rounds["round"] == [0, 1]
    assert rounds["loss"] == [0.5, 0.5]
    assert page.client.get("/api/jobs/1/rounds.json?after=0").json["round"] == [1]
    assert [each["device"] for each in page.client.get("/api/devices.json?state=online").json["devices"]] == [
        "d0",
        "d1",
    ]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/jobs/9.json", 404, "no such job"),
        ("/api/jobs/9/rounds.json", 404, "no such job"),
        ("/api/devices.json?page=x", 400, "expected a whole number"),
        ("/api/devices.json?state=lost", 400, "expected one of"),
        ("/api/jobs/1/rounds.json?after=-2", 400, "expected a whole number"),
    ],
)
def test_what_is_not_there(page: Running, path: str, status: int, words: str) -> None:
    answer = page.client.get(path)
    assert (answer.status, words in answer.json["error"]) == (status, True)
    assert page.client.get("/api/nothing").status == 404


def test_the_stream_says_what_has_changed_and_nothing_else(page: Running) -> None:
    stream = Stream(page.client.url)
    assert stream.answer.headers["content-type"].startswith("text/event-stream")
    assert stream.answer.headers["cache-control"] == "no-store"
    name, first = stream.next()
    assert name == "change"
    assert set(first) == {"jobs", "devices", "rejections"}
    with page.fleet.store.write() as db:
        rejections.add(db, "malformed", "x", "not CBOR", now=3.0, known=False)
    name, second = stream.next()
    assert name == "change"
    assert second == {**first, "rejections": first["rejections"] + 1}
    stream.close()


def test_a_quiet_stream_beats(page: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BEAT_SECONDS", 0.05)
    stream = Stream(page.client.url)
    assert stream.next()[0] == "change"
    name, told = stream.next()
    assert name == "beat"
    assert abs(told["now"] - time.time()) < 60
    stream.close()


def test_a_store_that_cannot_be_read_is_said_and_got_over(page: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(page.client.url)
    stream.next()
    with monkeypatch.context() as broken:

        def fail(_desk: object) -> None:
            raise StoreError("the store could not be used: disk I/O error")

        broken.setattr(type(page.desk), "look", fail)
        assert stream.next() == ("trouble", {"message": "the store could not be used: disk I/O error"})
        assert page.client.get("/metrics").status == 500
    assert stream.next()[0] == "change"
    stream.close()


def test_many_viewers_share_one_reading_and_beyond_a_bound_there_are_none(
    page: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_VIEWERS", 5)
    with contextlib.ExitStack() as many:
        asked = [many.enter_context(contextlib.closing(raw(page))) for _ in range(30)]
        for each in asked:  # all at once: none waits for another's first event
            each.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert Counter(each.recv(12) for each in asked) == {b"HTTP/1.1 200": 5, b"HTTP/1.1 503": 25}
    until_free(page)
    streams = [Stream(page.client.url) for _ in range(5)]
    assert {stream.next()[0] for stream in streams} == {"change"}
    assert page.client.get("/api/events").status == 503
    read = page.desk.read
    for _ in range(20):
        assert page.client.get("/api/fleet.json").status == 200
    assert page.desk.read <= read + 6
    for stream in streams:
        stream.close()


def raw(page: Running) -> socket.socket:
    """A connection that has asked nothing yet."""
    address = urlsplit(page.client.url)
    assert address.hostname
    return socket.create_connection((address.hostname, address.port or 0), timeout=10)


def until_free(page: Running) -> None:
    """Wait until the page has noticed that its viewers are gone."""
    end = time.monotonic() + 10
    while page.server._hub.viewers and time.monotonic() < end:
        time.sleep(0.02)
    assert page.server._hub.viewers == 0


def test_a_crowd_takes_no_more_files_than_are_the_pages(page: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    until_free(page)
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 20)
    with contextlib.ExitStack() as many:
        crowd = [many.enter_context(contextlib.closing(raw(page))) for _ in range(60)]
        late = crowd[-1]
        with contextlib.suppress(ConnectionError):
            late.sendall(b"GET /api/session HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert late.recv(1) == b""  # closed, whatever it asks
        assert len(page.server._server.server_state.connections) <= 20
    end = time.monotonic() + 10
    while page.server._server.server_state.connections and time.monotonic() < end:
        time.sleep(0.02)
    assert page.client.get("/api/session").status == 200


def test_who_asks_nothing_is_sent_away(page: Running) -> None:
    with contextlib.closing(raw(page)) as silent:
        assert silent.recv(1) == b""


def test_the_end_does_not_wait_for_viewers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path) as found:
        stream = Stream(found.client.url)
        stream.next()
        ended: list[str] = []

        def watch() -> None:
            try:
                while True:
                    stream.next()
            except (EOFError, OSError, http.client.HTTPException):
                ended.append("ended")

        watching = threading.Thread(target=watch)
        watching.start()
        found.server.stop()
        watching.join(10)
        assert ended == ["ended"]
        stream.close()
        assert not found.server._thread.is_alive()
    assert "graceful shutdown exceeded" not in caplog.text, "the stream has ended by itself"


def test_a_port_that_is_taken(page: Running) -> None:
    port = urlsplit(page.client.url).port
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}.*--no-page"):
        listen(PageSettings(port=port or 0))


def test_the_page_and_all_it_names_come_from_here(page: Running) -> None:
    html = page.client.get("/").body.decode()
    for path in re.findall(r'(?:src|href)="(/[^"]*)"', html):
        answer = page.client.get(path)
        assert answer.status == 200, path
    for file in sorted(ASSETS.rglob("*")):
        if file.is_file():
            assert page.client.get(f"/assets/{file.relative_to(ASSETS)}").body == file.read_bytes()
    kinds = {
        page.client.get(f"/assets/{name}").headers["content-type"].split(";")[0] for name in ("main.js", "charts.js")
    }
    assert kinds <= {"text/javascript", "application/javascript"}


@pytest.mark.parametrize(
    "file", [f for f in sorted(ASSETS.rglob("*")) if f.suffix in (".js", ".css", ".html", ".svg")], ids=str
)
def test_no_file_names_another_host(file: Path) -> None:
    text = file.read_text()
    found = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"')]*", text))
    allowed = {"http://www.w3.org/2000/svg", "https://github.com/leeoniya/uPlot"}
    assert not {each for each in found if not any(each.startswith(name) for name in allowed)}
    if file.suffix == ".html":
        assert not re.search(r"\son\w+=|style=|<style|javascript:", text), "the policy would refuse it"
    if file.suffix == ".js" and "uplot" not in str(file):
        assert "innerHTML =" not in text
        assert "insertAdjacentHTML" not in text


def test_the_chart_library_keeps_its_licence() -> None:
    assert "Leon Sorokin" in (ASSETS / "uplot" / "LICENSE").read_text()


def test_the_documentation_names_every_route_and_setting(page: Running) -> None:
    text = PAGE.read_text()
    app, _hub = make_app(page.desk, Actions(page.files, page.fleet.store), PageSettings())
    for route in app._app.routes:  # type: ignore[attr-defined]
        said = re.sub(r"\{number:int\}", "NUMBER", route.path).replace("{wanted}", "pause")
        assert f"`GET {said}" in text or f"`POST {said}" in text or said in ("/", "/assets"), said
    for standing in STANDINGS:
        assert standing in text
    for order in ORDERS:
        assert order in text
    for number in (BEAT_SECONDS, MAX_VIEWERS, MAX_CONNECTIONS, MAX_PAGE_SIZE, MIN_TOKEN_CHARS, PAGE_SIZE):
        assert f"{number:g}" in text
    (table,) = re.findall(r"```toml\n(.*?)```", text, re.S)
    given = parse_toml(table)["page"]
    assert set(given) < {each.name for each in fields(PageTable)}
