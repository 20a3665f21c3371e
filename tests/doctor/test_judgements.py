"""What cannot be brought about here, a modem without signal, a unit that failed, judged by what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gossamer.doctor import machine
from gossamer.doctor.clock import EARLIEST, Evidence, clock, is_synchronised
from gossamer.doctor.finding import Level, broken
from gossamer.doctor.main import sides
from gossamer.doctor.runtime import AGENT_PACKAGES, packages
from gossamer.errors import ConfigError

NOW = EARLIEST + 1e7


@pytest.mark.parametrize(
    ("now", "synchronised", "evidence", "levels"),
    [
        (NOW, True, [], [Level.OK, Level.OK]),
        (NOW, False, [], [Level.OK, Level.WARN]),
        (NOW, None, [], [Level.OK, Level.SKIP]),
        (3600.0, True, [], [Level.FAIL]),
        (NOW, True, [Evidence("a round", NOW + 200)], [Level.OK, Level.OK]),
        (NOW, True, [Evidence("old", NOW - 9), Evidence("a round", NOW + 4000)], [Level.FAIL]),
    ],
)
def test_clocks(now: float, synchronised: bool | None, evidence: list[Evidence], levels: list[Level]) -> None:
    assert [each.level for each in clock(now, synchronised, evidence)] == levels


def test_the_kernel_says_something_about_its_clock() -> None:
    assert is_synchronised() in (True, False, None)


def modem(state: str, **more: object) -> dict[str, object]:
    generic = {"state": state, "signal-quality": {"value": "67"}, "access-technologies": ["lte"], **more}
    return {"generic": generic, "3gpp": {"operator-name": "Example", "registration-state": "home"}}


@pytest.mark.parametrize(
    ("told", "level", "words"),
    [
        (modem("connected"), Level.OK, "connected, lte, signal 67 %, Example"),
        (modem("connected", **{"signal-quality": {"value": "9"}}), Level.WARN, "signal 9 %"),
        (modem("registered"), Level.FAIL, "registered"),
        (modem("failed", **{"state-failed-reason": "sim-missing"}), Level.FAIL, "sim-missing"),
        ({"generic": {"state": "connected"}, "3gpp": {"registration-state": "roaming"}}, Level.WARN, "roaming"),
    ],
)
def test_modems(told: dict[str, object], level: Level, words: str) -> None:
    answers = {"-L": json.dumps({"modem-list": ["/Modem/0"]}), "-m": json.dumps({"modem": told})}
    found = machine.modem(lambda words: answers[words[1]])
    assert (found.level, words in found.found) == (level, True), found


def test_no_modem_manager_and_nonsense_from_it() -> None:
    assert machine.modem(lambda _words: None).level is Level.SKIP
    assert machine.modem(lambda _words: "nonsense").level is Level.SKIP
    assert machine.modem(lambda _words: "[]").level is Level.SKIP
    assert machine.modem(lambda _words: "{}").level is Level.SKIP


@pytest.mark.parametrize(
    ("told", "level", "words"),
    [
        ("LoadState=loaded\nActiveState=active\nNRestarts=0\nUnitFileState=enabled", Level.OK, "active"),
        ("LoadState=loaded\nActiveState=active\nNRestarts=3\nUnitFileState=enabled", Level.WARN, "restarted 3"),
        ("LoadState=loaded\nActiveState=active\nNRestarts=0\nUnitFileState=disabled", Level.WARN, "at boot"),
        ("LoadState=loaded\nActiveState=failed\nResult=watchdog", Level.FAIL, "watchdog"),
        ("LoadState=loaded\nActiveState=inactive", Level.FAIL, "inactive"),
        ("LoadState=not-found\nActiveState=inactive", Level.SKIP, "no unit"),
    ],
)  # fmt: skip
def test_units(told: str, level: Level, words: str, tmp_path: Path) -> None:
    found = machine.unit("gossamer-agent", lambda _words: told, tmp_path)
    assert (found.level, words in found.found) == (level, True), found


def test_links(tmp_path: Path) -> None:
    assert machine.way_out("127.0.0.1", 1883).level is Level.OK
    (tmp_path / "wwan0").mkdir()
    (tmp_path / "wwan0" / "mtu").write_text("296\n")
    assert machine.interface("wwan0", "10.0.0.2", tmp_path).level is Level.WARN
    assert machine.interface("ppp0", "10.0.0.2", tmp_path).found.endswith("MTU unknown")


def test_packages() -> None:
    assert packages(AGENT_PACKAGES).level is Level.OK
    found = packages({"numpy": "numpy", "not-a-package-of-anybody": "nobodys.module"})
    assert found.level is Level.FAIL
    assert "pip install not-a-package-of-anybody" in found.mend


def test_a_package_without_its_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vendored_by_somebody.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    found = packages({"vendored-by-somebody": "vendored_by_somebody"})
    assert (found.level, "of unknown version" in found.found) == (Level.OK, True)


def test_which_side_is_looked_at(tmp_path: Path) -> None:
    named = tmp_path / "agent.toml"
    assert sides(named, None, {"GOSSAMER_STATE": "x"}, tmp_path) == (named, None)
    assert sides(None, None, {"GOSSAMER_STATE": "x"}, tmp_path) == (None, Path("x"))
    with pytest.raises(ConfigError, match="--config FILE or --state DIR"):
        sides(None, None, {}, tmp_path)
    (tmp_path / "gossamer-state").mkdir()
    (tmp_path / "gossamer-state" / "server.toml").write_text("")
    assert sides(None, None, {}, tmp_path)[1] == tmp_path / "gossamer-state"


def test_warnings_are_no_failure() -> None:
    assert not broken(clock(NOW, False, []))
    assert broken(clock(0.0, False, []))


def test_a_device_needs_no_typer_and_no_server() -> None:
    code = (
        "import sys; import gossamer.doctor.__main__, gossamer.doctor.device; "
        "print(sorted({'typer', 'rich', 'click', 'sqlalchemy', 'numpy'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
