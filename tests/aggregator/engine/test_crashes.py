"""A kill between any two statements of the engine changes nothing about the result."""

from pathlib import Path
from typing import Any

import pytest

from gossamer.aggregator.store import Store, inbox, rounds, schema
from gossamer.aggregator.store.rounds import RoundState
from tests.aggregator.fleets import Fleet, closing
from tests.crashes import Crash, FragileStore

SETTINGS: dict[str, Any] = {"size": 3, "rounds": 2, "cohorts": 1, "server_step": "fedavgm:0.5/0.5"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return Fleet.make(tmp_path_factory.mktemp("plain") / "s.db", **SETTINGS).run()


@pytest.mark.parametrize("first", [1, 2, 3])
def test_killed_at_any_statement_and_commit(tmp_path: Path, undisturbed: bytes, first: int) -> None:
    origin = tmp_path / "origin.db"
    plain = Fleet.make(origin, **SETTINGS)
    plain.store.close()
    crashes, at = 0, first
    while True:
        path = tmp_path / f"{at}.db"
        path.write_bytes(origin.read_bytes())
        fleet = Fleet(FragileStore.fragile(path, at), plain.settings, plain.names)
        try:
            assert fleet.run() == undisturbed
            break
        except Crash:
            crashes += 1
        fleet.store.close()
        again = Fleet(Store.open(path), plain.settings, plain.names, fleet.now)
        assert again.run() == undisturbed
        again.store.close()
        at += 6  # the three runs together visit half of all points
    assert crashes > 15


def test_a_round_that_was_being_sealed_is_sealed_by_the_next_process(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path / "s.db", rounds=2, cohorts=1, closing=closing(quorum=2))
    fleet.step()
    fleet.put("d0", 0)
    fleet.put("d1", 0)
    with fleet.store.write() as db:
        rounds.set_state(db, 1, 0, RoundState.SEALING)  # killed right here
    fleet.put("d2", 0, counted_in=1)  # accepted meanwhile, for the round after
    fleet.step()
    with fleet.store.read() as db:
        assert [inbox.receipt(db, 1, 0, name).sealed_in for name in ("d0", "d1", "d2")] == [1, 1, None]  # type: ignore[union-attr]
        assert db.execute(schema.inbox.select().where(schema.inbox.c.counted_in == 1)).all()


def test_two_aggregators_seal_once(tmp_path: Path, undisturbed: bytes) -> None:
    one = Fleet.make(tmp_path / "s.db", **SETTINGS)
    other = Fleet(Store.open(tmp_path / "s.db"), one.settings, one.names)
    for round_ in range(2):
        one.step()
        other.step()
        for name in one.names:
            one.put(name, round_)
        # Both read the same job before either has sealed it.
        with one.store.read() as db:
            from gossamer.aggregator.store import jobs

            job, latest = jobs.get(db, 1), rounds.latest(db, 1)
        assert job is not None
        assert latest is not None
        assert one.engine._close(one.settings, latest, 5.0)
        one.engine._seal(job, one.settings, latest, 5.0)
        other.engine._seal(job, one.settings, latest, 6.0)
    assert one.manifest().digest == undisturbed
