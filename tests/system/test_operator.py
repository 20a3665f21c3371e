"""An operator's morning: a real fleet in which each device is missing for a reason of its own, and is asked why."""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import apart
from tests.doctor import site as sites
from tests.doctor.site import Site, site, wait

pytestmark = pytest.mark.system

SENDS, NIGHT, DIVERGES, LEAVES, NEVER = DEVICES = ("meter-1", "meter-2", "meter-3", "meter-4", "meter-5")
GATE = ("[broker]", '[gates]\ncommand = ["/bin/sh", "-c", "echo the sun is down; exit 1"]\n\n[broker]')
NAN = ("[trainer_options]", '[trainer_options]\nmode = "nan"')
HOUR = (datetime.datetime.now(datetime.timezone.utc).hour + 12) % 24
WINDOW = ("device_index = 3", f'device_index = 3\navailable = ["{HOUR:02d}:00-{HOUR:02d}:01"]')
"""Half a day from now."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(sites, "DEVICES", DEVICES)
    with site(tmp_path / "site") as made:
        yield made


@contextlib.contextmanager
def agent(here: Site, directory: Path, name: str, *changes: tuple[str, str]) -> Iterator[None]:
    config = here.config(directory / f"{name}.toml", name, *changes)
    process = subprocess.Popen([sys.executable, "-m", "gossamer.agent", "--config", str(config)])
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def reasons(here: Site) -> dict[str, str]:
    told = apart("fleet", "list", "--json", "--state", here.files.directory)
    return {row["device"]: row["reason"] for row in json.loads(told.out)}


def why(here: Site, name: str) -> dict[str, object]:
    told = apart("fleet", "why", name, "--json", "--state", here.files.directory)
    found: dict[str, object] = json.loads(told.out)
    assert told.code == (1 if found["absent"] else 0)
    return found


def test_everybody_is_missing_for_a_reason_that_is_told(here: Site, tmp_path: Path) -> None:
    with agent(here, tmp_path, SENDS), agent(here, tmp_path, NIGHT, GATE), agent(here, tmp_path, DIVERGES, NAN):
        with agent(here, tmp_path, LEAVES, WINDOW):
            seen = {SENDS: "counted", NIGHT: "command", DIVERGES: "training", LEAVES: "window", NEVER: "never-seen"}
            wait(lambda: reasons(here) == seen, "everybody's reason", 60)
        wait(lambda: reasons(here)[LEAVES] == "offline", "the one that left", 30)
        assert "the sun is down" in str(why(here, NIGHT)["why"])
        assert "NaN" in str(why(here, DIVERGES)["why"])
        assert why(here, SENDS)["took_part"] is True
        gone = why(here, LEAVES)
        assert gone["verdict"] == "offline"
        (also,) = gone["also"]  # type: ignore[misc]  # a list in the JSON
        assert "outside the windows" in also["what"]
        # The doctor beside a running agent: it finds the closed gate, and throws nobody out.
        told = apart("doctor", "--json", "--config", tmp_path / f"{NIGHT}.toml")
        levels = {row["check"]: row["level"] for row in json.loads(told.out)}
        assert (told.code, levels["gates"], levels["broker topics"]) == (0, "warn", "ok")
        assert reasons(here)[NIGHT] == "command"
