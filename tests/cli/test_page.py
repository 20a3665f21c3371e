"""``gossamer page``, and the page beside ``gossamer serve``: where they listen, and what happens when they cannot."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import embedded

from .command import Run

TOKEN = "sixteen-characters-or-more"


@contextlib.contextmanager
def process(log: Path, *words: str | Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        command = [sys.executable, "-m", "gossamer.cli", *map(str, words)]
        child = subprocess.Popen(command, stderr=output, stdout=output, env={**os.environ, **environment})
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def said(log: Path, child: subprocess.Popen[bytes], pattern: str) -> re.Match[str]:
    """Wait until a line of that form is in the log."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = re.search(pattern, log.read_text())
        if found:
            return found
        assert child.poll() is None, log.read_text()
        time.sleep(0.02)
    raise AssertionError(log.read_text())


def fetched(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return dict(json.load(answer))


def ends(child: subprocess.Popen[bytes]) -> int:
    child.send_signal(signal.SIGTERM)
    return child.wait(10)


def test_the_page_alone(fleet: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with process(log, "page", "--state", fleet, "--page", "127.0.0.1:0") as child:
        url = said(log, child, r"page (http://127\.0\.0\.1:\d+/)")[1]
        assert fetched(url + "api/fleet.json")["fleet"] == "farm1"
        assert ends(child) == 0
    assert "Traceback" not in log.read_text()


def test_the_page_beside_the_server_and_a_server_without_it(fleet: Path, tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = str(taken.getsockname()[1])
    with embedded(tmp_path / "broker") as broker, taken:
        shared = {"GOSSAMER_BROKER_PORT": str(broker.port)}
        log = tmp_path / "log"
        with process(log, "serve", "--state", fleet, **shared, GOSSAMER_PAGE_PORT="0") as child:
            url = said(log, child, r"page (http://127\.0\.0\.1:\d+/)")[1]
            said(log, child, "connected to")
            assert fetched(url + "api/fleet.json")["fleet"] == "farm1"
            assert ends(child) == 0
        log = tmp_path / "log2"
        with process(log, "serve", "--state", fleet, **shared, GOSSAMER_PAGE_PORT=port) as child:
            said(log, child, f"no page: the page cannot listen on 127.0.0.1:{port}")
            said(log, child, "connected to")
            assert ends(child) == 0
        log = tmp_path / "log3"
        with process(log, "serve", "--state", fleet, "--no-page", **shared) as child:
            said(log, child, "connected to")
            assert "page" not in log.read_text()
            assert ends(child) == 0


def test_a_page_that_was_asked_for_by_name_must_be_there(run: Run, fleet: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        run("page", "--state", fleet, "--page", address).refused("cannot listen on", address)
        run("serve", "--state", fleet, "--page", address).refused("cannot listen on", address)
    run("serve", "--state", fleet, "--page", "8787").refused("expected HOST:PORT")


def test_an_open_page_is_never_opened_by_mistake(run: Run, fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("serve", "--state", fleet, "--page", "0.0.0.0:0").refused("then needs a token")
    monkeypatch.setenv("GOSSAMER_PAGE_HOST", "0.0.0.0")
    run("serve", "--state", fleet).refused("then needs a token")
    monkeypatch.setenv("GOSSAMER_PAGE_TOKEN", "short")
    run("page", "--state", fleet).refused("expected 16 or more")
    assert TOKEN not in run("config", "server", "--config", fleet / "server.toml").out


def test_no_fleet_no_page(run: Run, tmp_path: Path) -> None:
    run("page", "--state", tmp_path / "nowhere").refused("gossamer fleet init")


def test_what_it_needs_may_be_missing(run: Run, fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith("gossamer.dashboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sse_starlette.sse", None)
    run("page", "--state", fleet).refused("pip install 'gossamer[server]'")


def test_the_token_is_not_shown(run: Run, fleet: Path) -> None:
    (fleet / "server.toml").write_text((fleet / "server.toml").read_text() + f'\n[page]\ntoken = "{TOKEN}"\n')
    shown = run("config", "server", "--config", fleet / "server.toml").out
    assert "(set)" in shown
    assert TOKEN not in shown
