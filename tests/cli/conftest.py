from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.cli.threads import ONE_THREAD

from .command import Run, here


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command line, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ONE_THREAD:  # the demo sets these: put back what was there
        monkeypatch.setenv(name, "1")
    return here(monkeypatch, capfd)


@pytest.fixture
def fleet(run: Run, tmp_path: Path) -> Path:
    """A state directory with a fleet of one device, without broker accounts."""
    state = tmp_path / "state"
    assert run("fleet", "init", "farm1", "--state", state, "--no-accounts").code == 0
    assert run("fleet", "enroll", "pump-1", "--trainer", "m:f", "--state", state).code == 0
    return state
