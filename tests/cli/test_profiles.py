"""``gossamer profiles``: list, show, detect, calibrate, on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .command import Run


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_list(run: Run) -> None:
    told = json.loads(run("profiles", "list", "--json").out)
    assert len(told["devices"]) == 8
    assert {row["link"] for row in told["links"]} >= {"gprs", "satellite"}
    shown = run("profiles", "list")
    assert (shown.code, shown.err) == (0, "")
    assert "Raspberry Pi Zero 2 W" in shown.out


@pytest.mark.parametrize("name", ["pi-zero-2w", "gprs"])
def test_show_has_a_source_for_every_figure(run: Run, name: str) -> None:
    rows = json.loads(run("profiles", "show", name, "--json").out)
    assert len(rows) > 10
    assert all(row["source"] for row in rows if isinstance(row["value"], int))
    assert rows[0]["figure"] in run("profiles", "show", name).out
    run("profiles", "show", "pi-six").refused("no profile 'pi-six'")


def test_detect_finds_this_machine_or_says_why_not(run: Run) -> None:
    answered = run("profiles", "detect", "--json")
    told = json.loads(answered.out)
    assert told["cores"] >= 1
    assert told["memory_mib"] > 100
    assert answered.code == (0 if told["device"] else 1)
    assert told["why"]


def test_calibrate_keeps_what_it_measured_and_the_list_says_so(run: Run, tmp_path: Path) -> None:
    words = ("profiles", "calibrate", "--device", "pi-4", "--seconds", "0.05", "--directory", tmp_path)
    tried = run(*words, "--dry-run")
    assert tried.code == 0, tried
    assert not (tmp_path / "config").exists()
    answered = run(*words, "--json")
    assert [line for line in answered.err.splitlines() if line.startswith("[7/7]")]
    kept = tmp_path / "config/gossamer/profiles/calibration/pi-4.toml"
    assert str(kept) in answered.err
    measured = {row["figure"]: row["measured"] for row in json.loads(answered.out)}
    rows = {row["figure"]: row for row in json.loads(run("profiles", "show", "pi-4", "--json").out)}
    assert rows["train_megaflops"]["value"] == measured["train_megaflops"]
    assert "measured on this device" in rows["train_megaflops"]["source"]
    devices = json.loads(run("profiles", "list", "--json").out)["devices"]
    assert [row["device"] for row in devices if row["calibrated"] != "no"] == ["pi-4"]


def test_calibrate_refuses(run: Run) -> None:
    run("profiles", "calibrate", "--device", "pi-4", "--directory", "/none").refused("no such directory")
    run("profiles", "calibrate", "--device", "pi-44").refused("did you mean pi-4")
