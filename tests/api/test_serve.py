"""``gossamer.serve`` in a script of the user's."""

from __future__ import annotations

import signal
import time
import urllib.request
from pathlib import Path

import pytest

from gossamer import serve
from gossamer.broker import free_port
from gossamer.errors import ConfigError
from gossamer.fleet.enrolment import BrokerAddress, init_fleet
from gossamer.fleet.server_files import ServerFiles
from tests.brokers import HOST, mosquitto

from .scripts import python, write


@pytest.mark.system
def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    port = free_port()
    write(tmp_path, f"import gossamer\ngossamer.serve('state', page='{HOST}:{port}')\nprint('after')\n", "server.py")
    with mosquitto(tmp_path / "broker") as broker:
        init_fleet(
            ServerFiles(tmp_path / "state"), "t1", BrokerAddress(HOST, broker.port, False, False), accounts=False
        )
        process = python("server.py", cwd=tmp_path)
        try:
            page = fetched(f"http://{HOST}:{port}/metrics")
        finally:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "after\n"), err
    assert "gossamer" in page


def fetched(address: str) -> str:
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return str(answer.read(), "utf-8")
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_no_fleet(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gossamer fleet init"):
        serve(tmp_path)
