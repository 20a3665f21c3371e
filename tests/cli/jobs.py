"""State directories with jobs that have run: a fleet in this process, its store put where the command line looks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.aggregator.engine import Progress
from gossamer.compression import codec
from tests.aggregator.fleets import D, Fleet
from tests.aggregator.whole import Whole

from .command import Run

BAD = "d0"
"""Whose updates are too large, if asked for."""


class Spoilt(Fleet):
    """A fleet of which one device sends what no rule takes."""

    def body(self, name: str, round_: int) -> bytes:
        if name != BAD:
            return super().body(name, round_)
        return codec("fp32").encode(np.full(D, 5000.0, dtype=np.float32), seed=0)


def directory(run: Run, path: Path, store: Callable[[Path], object]) -> Path:
    """A state directory of fleet ``t`` whose store ``store`` has made at the path it is given."""
    state = path / "state"
    assert run("fleet", "init", "t", "--state", state, "--no-accounts").code == 0
    (state / "store.db").unlink()
    store(state / "store.db")
    return state


def sealed(run: Run, path: Path, *, kind: type[Fleet] = Fleet, until: int = 4, **changes: Any) -> Path:
    """A job without a network, brought to a round; four rounds are all of it."""

    def make(file: Path) -> None:
        fleet = kind.make(file, **changes)
        while fleet.step() is not Progress.IDLE:
            manifest = fleet.manifest()
            if manifest.round >= until:
                break
            for name in fleet.cohort(manifest.round):
                fleet.put(name, manifest.round)
        fleet.store.close()

    return directory(run, path, make)


def trained(run: Run, path: Path, **changes: Any) -> tuple[Path, Whole]:
    """A job with real sessions of devices, run to its end."""
    whole = Whole(path / "whole", **changes)
    whole.run()
    whole.store.close()
    return directory(run, path, lambda file: (path / "whole" / "s.db").rename(file)), whole
