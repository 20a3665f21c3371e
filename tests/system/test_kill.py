"""kill -9 of every kind of process, again and again: the fleet ends with the model of an undisturbed run."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from tests.system.demo_runs import children, demo_command, processes, run_demo

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

KILLS = 30
SEED = 7
OPTIONS = ("--seed", str(SEED), "--rounds", "24")


class Killer:
    """Kills a random process of a random kind until the demo ends."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.dice = random.Random(seed)
        self.killed: collections.Counter[str] = collections.Counter()

    def victims(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = collections.defaultdict(list)
        for name, pid in processes(self.directory).items():
            kind = "agent" if name.startswith("agent") else name
            found[kind].append(pid)
            if kind == "agent":
                found["trainer"] += children(pid)
        return {kind: pids for kind, pids in found.items() if pids}

    def __call__(self, demo: subprocess.Popen[str]) -> None:
        while demo.poll() is None:
            time.sleep(self.dice.uniform(0.2, 1.2))
            victims = self.victims()
            # The kinds killed least often come first, so that all of them have their share.
            for kind in sorted(victims, key=lambda k: (self.killed[k], self.dice.random())):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.dice.choice(victims[kind]), signal.SIGKILL)
                    self.killed[kind] += 1
                    break
            if sum(self.killed.values()) >= 4 * KILLS:
                return  # a bounded test: by now it has shown what it can


def test_thirty_kills_change_nothing(tmp_path: Path):
    undisturbed = run_demo(tmp_path / "calm", *OPTIONS)
    assert undisturbed["restarts"] == 0
    killer = Killer(tmp_path / "storm", SEED)
    print(f"seed {SEED}")
    disturbed = run_demo(tmp_path / "storm", *OPTIONS, meanwhile=killer)
    print(dict(killer.killed))
    assert sum(killer.killed.values()) >= KILLS
    assert set(killer.killed) == {"agent", "trainer", "server", "broker"}
    assert disturbed["model_digest"] == undisturbed["model_digest"]
    assert disturbed["updates"] == undisturbed["updates"]
    assert disturbed["accuracy"] == undisturbed["accuracy"]


def test_the_demo_itself_is_killed_and_goes_on_where_it_was(tmp_path: Path):
    options = ("--seed", str(SEED), "--rounds", "10")
    undisturbed = run_demo(tmp_path / "calm", *options)
    directory = tmp_path / "storm"
    directory.mkdir()
    demo = subprocess.Popen(demo_command(directory, *options), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while rounds_sealed(directory / "run" / "server" / "store.db") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    demo.kill()
    demo.wait()
    time.sleep(3)  # its children hear of its death and end
    continued = run_demo(directory, *options)
    assert continued["model_digest"] == undisturbed["model_digest"]
    assert continued["updates"] == undisturbed["updates"]


def rounds_sealed(store: Path) -> int:
    address = f"file:{store}?mode=ro"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(address, uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM rounds WHERE state = 'sealed'").fetchone()[0])
    return 0
