"""``gossamer config``: commented defaults, or what is in force; secrets stay secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gossamer.agent.config import DEFAULTS_FILE as AGENT_DEFAULTS
from gossamer.fleet.server_files import DEFAULTS_FILE as SERVER_DEFAULTS

from .command import Run


@pytest.fixture
def state(run: Run, tmp_path: Path) -> Path:
    run("fleet", "init", "farm1", "--state", "s")
    run("fleet", "enroll", "pump-1", "--trainer", "m:f", "--option", "data=x", "--state", "s")
    return tmp_path / "s"


def values(text: str) -> dict[str, object]:
    return {row["key"]: row["value"] for row in json.loads(text)}


@pytest.mark.parametrize(("side", "file"), [("agent", AGENT_DEFAULTS), ("server", SERVER_DEFAULTS)])
def test_the_defaults(run: Run, side: str, file: Path) -> None:
    assert run("config", side).out == file.read_text()
    flat = values(run("config", side, "--json").out)
    assert (flat["broker.port"], flat["broker.tls"], flat["topics.shared"]) == (1883, False, "g1/{fleet}/{kind}")


def test_an_agents_settings_in_force(run: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = state / "devices/pump-1.toml"
    file.write_text('trainer_path = ["/opt/gait"]\n' + file.read_text())
    monkeypatch.setenv("GOSSAMER_BROKER_PORT", "1999")
    flat = values(run("config", "agent", "--config", file, "--json").out)
    assert (flat["device_id"], flat["broker.port"]) == ("pump-1", 1999)
    assert (flat["device_key"], flat["broker.password"]) == ("(set)", "(set)")
    assert (flat["trainer_options"], flat["trainer_path"]) == ({"data": "x"}, ["/opt/gait"])
    shown = run("config", "agent", "--config", file)
    assert shown.code == 0
    for secret in ("device_key", "password"):
        (line,) = [line for line in file.read_text().splitlines() if line.startswith(secret)]
        assert line.split('"')[1] not in shown.out
    assert "['/opt/gait']" in shown.out


def test_a_servers_settings_in_force(run: Run, state: Path) -> None:
    file = state / "server.toml"
    flat = values(run("config", "server", "--config", file, "--json").out)
    assert (flat["fleet"], flat["broker.username"], flat["broker.password"]) == ("farm1", "gossamer-server", "(set)")
    assert flat["bridge.chunk_bytes"] == 4000
    (line,) = [line for line in file.read_text().splitlines() if line.startswith("password")]
    table = run("config", "server", "--config", file).out
    assert "gossamer-server" in table
    assert line.split('"')[1] not in table


def test_files_that_cannot_be(run: Run, state: Path) -> None:
    run("config", "agent", "--config", "none.toml").refused("none.toml", "fleet enroll")
    run("config", "server", "--config", "s/devices/pump-1.toml").refused("server.toml", "another name")
    (state / "server.toml").write_text('fleet = "farm1"\n[broker]\nprot = 1\n')
    run("config", "server", "--config", state / "server.toml").refused("unknown key broker.prot", "broker.port")
    assert run("config", "nobody").code == 2
