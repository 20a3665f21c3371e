"""The engine with ``hist``: what a job needs of its past is kept, and no more is asked of it than it can give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.aggregator import engine
from gossamer.aggregator.engine import Progress
from gossamer.aggregator.jobs import model_at
from gossamer.aggregator.store import Store, devices, inbox, jobs, models, objects
from gossamer.compression import codec
from gossamer.compression.shared import SharedModel
from gossamer.compression.ways import apply_delta, decode_snapshot
from gossamer.wire.codes import Kind, Section
from tests.aggregator.fleets import D, Fleet, closing
from tests.crashes import Crash, FragileStore

HIST: dict[str, Any] = {"codec_up": "hist:20", "codec_down": "hist:20"}


@dataclass
class HistFleet(Fleet):
    """Devices whose updates are made from the version that a manifest has named."""

    seen: dict[int, SharedModel] = field(default_factory=dict)

    def model(self, version: int) -> SharedModel:
        if version not in self.seen:
            with self.store.read() as db:
                job = jobs.get(db, 1)
                assert job is not None
                self.seen[version] = model_at(db, job, version)
        return self.seen[version]

    def body(self, name: str, round_: int) -> bytes:
        index = self.names.index(name)
        rng = np.random.default_rng([index, round_])
        drift = np.random.default_rng(7).normal(0.0, 0.01, (2, D))  # updates have something in common
        delta = (rng.normal(size=2) @ drift).astype(np.float32)
        return codec(self.settings.codec_up).encode(delta, seed=index, context=self.model(round_).context(upward=True))

    def holds(self, name: str, version: int) -> None:
        with self.store.write() as db:
            devices.holds(db, name, job=1, version=version, now=self.now)

    def ways(self) -> Iterator[tuple[Kind, int, bytes]]:
        for way in self.manifest().ways:
            with self.store.read() as db:
                found = objects.get(db, way.object_id)
            assert found is not None
            yield way.kind, way.from_version, found.data


@pytest.mark.parametrize("cohorts", [1, 3])
def test_every_way_leads_to_the_same_model(tmp_path: Path, cohorts: int) -> None:
    fleet = HistFleet.make(tmp_path / "s.db", size=3, rounds=8, cohorts=cohorts, **HIST)
    fleet.step()
    kinds = set()
    for round_ in range(8):
        manifest = fleet.manifest()
        assert manifest.section(Section.HISTORY) == b""
        model = fleet.model(manifest.version)
        assert model.digest == manifest.digest
        for kind, start, data in fleet.ways():
            kinds.add(kind)
            got = (
                decode_snapshot(data, fleet.model(0))
                if kind is Kind.SNAPSHOT
                else apply_delta(fleet.model(start), data)
            )
            assert got.digest == manifest.digest
        for name in fleet.cohort(round_):
            fleet.put(name, round_)
            fleet.holds(name, manifest.version)
        assert fleet.step() is Progress.SEALED
    assert kinds == {Kind.SNAPSHOT, Kind.DELTA}


def test_a_device_that_never_came_does_not_stop_a_job_of_many_cycles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delta passes through so many cycles and no more; whoever is further behind takes the snapshot."""
    monkeypatch.setattr(engine, "REPLAYED_CYCLES", 5)
    monkeypatch.setattr(models, "LATTICES_KEPT", 4)
    rounds = 14
    fleet = HistFleet.make(tmp_path / "s.db", size=2, rounds=rounds, cohorts=1, closing=closing(quorum=1), **HIST)
    fleet.step()
    for round_ in range(rounds):
        fleet.put("d0", round_)
        fleet.holds("d0", round_)
        assert fleet.step() is Progress.SEALED
        starts = {start for kind, start, _ in fleet.ways() if kind is Kind.DELTA}
        assert starts == ({0, round_} if round_ <= 5 else {round_})  # what the others hold is offered all the same


def test_killed_at_any_statement_and_commit(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"size": 3, "rounds": 3, "cohorts": 1, **HIST}
    undisturbed = HistFleet.make(tmp_path / "plain.db", **settings).run()
    origin = tmp_path / "origin.db"
    plain = HistFleet.make(origin, **settings)
    plain.store.close()
    at = 2
    while True:
        path = tmp_path / f"{at}.db"
        path.write_bytes(origin.read_bytes())
        fleet = HistFleet(FragileStore.fragile(path, at), plain.settings, plain.names)
        try:
            assert fleet.run() == undisturbed
            break
        except Crash:
            fleet.store.close()
        again = HistFleet(Store.open(path), plain.settings, plain.names, fleet.now)
        assert again.run() == undisturbed
        again.store.close()
        at += 11
    assert at > 100


@pytest.mark.parametrize("cohorts", [1, 3])
def test_an_update_that_is_carried_on_is_read_with_the_model_it_was_made_from(tmp_path: Path, cohorts: int) -> None:
    """Too few updates for many rounds: the first of them counts in the end, and its model is still there."""
    few = closing(minimum_updates=2, deadline_seconds=2.0, max_lag=4)
    fleet = HistFleet.make(tmp_path / "s.db", size=2 * cohorts, rounds=40, cohorts=cohorts, closing=few, **HIST)
    while not fleet.step(2.0) or fleet.manifest().round < 2:
        pass
    first = fleet.cohort(2)[0]
    fleet.put(first, 2)
    while fleet.manifest().round < 20:
        fleet.step(2.0)
    manifest = fleet.manifest()
    fleet.put(fleet.cohort(20)[0], 20)
    while fleet.manifest().round == 20:
        fleet.step(2.0)
    with fleet.store.read() as db:
        receipt = inbox.receipt(db, 1, 2, first)
    assert receipt is not None
    assert receipt.sealed_in == 21
    assert fleet.manifest().digest != manifest.digest
