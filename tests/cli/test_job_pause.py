"""``job pause`` and ``resume``: in the store, and in the manifest that devices read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gossamer.aggregator.store import Store, rounds
from gossamer.wire.cose import open_unverified
from gossamer.wire.manifest import Manifest
from gossamer.wire.messages import Round, parse

from .command import Run
from .jobs import sealed


@pytest.fixture
def state(run: Run, tmp_path: Path) -> Path:
    return sealed(run, tmp_path, until=1)


def announced(state: Path) -> str:
    store = Store.open(state / "store.db")
    with store.read() as db:
        latest = rounds.latest(db, 1)
    store.close()
    assert latest is not None
    message = parse(latest.manifest or b"")
    assert isinstance(message, Round)
    return Manifest.parse(open_unverified(message.cose)[0]).state.name


def test_paused_and_resumed(run: Run, state: Path) -> None:
    told = json.loads(run("job", "pause", "test", "--state", state, "--json").out)
    assert told == {"name": "test", "state": "paused"}
    assert announced(state) == "PAUSED"
    assert json.loads(run("job", "list", "--state", state, "--json").out)[0]["state"] == "paused"
    assert "goes on" in run("job", "resume", "test", "--state", state).err
    assert announced(state) == "OPEN"


def test_a_job_that_is_none_or_over(run: Run, tmp_path: Path, state: Path) -> None:
    run("job", "pause", "nothing", "--state", state).refused("no job 'nothing'", "job list")
    done = sealed(run, tmp_path / "done")
    run("job", "resume", "test", "--state", done).refused("is finished")
