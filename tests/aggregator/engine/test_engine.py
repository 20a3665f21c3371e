"""The round engine over a store: what it seals, when, and that nothing but the updates decides it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.aggregator import cohort
from gossamer.aggregator import engine as engine_module
from gossamer.aggregator.engine import Progress
from gossamer.aggregator.jobs import ClosingSettings
from gossamer.aggregator.pausing import pause_job, resume_job
from gossamer.aggregator.seal import EngineState
from gossamer.aggregator.store import Store, devices, inbox, jobs, models, objects, rounds, states
from gossamer.aggregator.store.rounds import RoundState
from gossamer.compression.lattice import digest
from gossamer.compression.objects import apply_delta, decode_snapshot
from gossamer.compression.shared import SharedModel
from gossamer.errors import ConfigError, StoreError
from gossamer.wire.codes import JobState, Kind
from tests.aggregator.fleets import FLEET_KEY, D, Fleet, closing


def test_a_job_runs_to_its_end_and_stays_retrievable(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path / "s.db")
    final = fleet.run()
    manifest = fleet.manifest()
    assert (manifest.state, manifest.round, manifest.version) == (JobState.FINISHED, 4, 4)
    with fleet.store.read() as db:
        job = jobs.current(db)
        assert job is not None
        assert (job.state, job.version) == (jobs.JobState.FINISHED, 4)
        blob = models.state(db, 1, 4)
        assert blob is not None
        assert digest(models.from_blob(blob)) == final == manifest.digest
        assert [r.state for r in rounds.every(db, 1)] == [RoundState.SEALED] * 5
        report = json.loads(rounds.every(db, 1)[0].report or "")
        for way in manifest.ways:
            found = objects.get(db, way.object_id)
            assert found is not None
            if way.kind is Kind.SNAPSHOT:
                assert digest(decode_snapshot(found.data, D)) == final
    assert fleet.step() is Progress.IDLE
    assert (report["cohort"], report["on_time"], report["late"], report["rejected"]) == (2, 2, 0, 0)
    assert report["loss"] == 0.5
    assert {each["device"] for each in report["devices"]} == set(fleet.cohort(0))


@pytest.mark.parametrize("rule", ["mean", "median", "clipped-differences", "norm-clip"])
def test_the_order_of_arrival_and_restarts_do_not_matter(tmp_path: Path, rule: str) -> None:
    plain = Fleet.make(tmp_path / "a.db", rule=rule, server_step="fedavgm:0.5/0.5")
    expected = plain.run()
    turned = Fleet.make(tmp_path / "b.db", rule=rule, server_step="fedavgm:0.5/0.5")
    while turned.step() is not Progress.IDLE:
        manifest = turned.manifest()
        if manifest.round < 4:
            for name in reversed(turned.cohort(manifest.round)):
                with turned.store.read() as db:
                    if name in inbox.senders(db, 1, manifest.round):
                        continue
                turned.put(name, manifest.round)
        turned.store.close()  # a new process for every step
        turned = Fleet(Store.open(tmp_path / "b.db"), turned.settings, turned.names, turned.now)
    assert turned.manifest().digest == expected


def test_every_way_leads_to_the_same_model(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path / "s.db", rounds=6, codec_down="ternary:0.05")
    held = {}
    with fleet.store.read() as db:
        held[0] = models.from_blob(models.state(db, 1, 0) or b"")
    kinds = set()
    while fleet.step() is not Progress.IDLE:
        manifest = fleet.manifest()
        for way in manifest.ways:
            with fleet.store.read() as db:
                found = objects.get(db, way.object_id)
            assert found is not None
            assert len(found.data) == way.size
            kinds.add(way.kind)
            start = held[way.from_version]
            assert start is not None
            delta = way.kind is Kind.DELTA
            model = apply_delta(start, found.data) if delta else decode_snapshot(found.data, D)
            assert digest(model) == manifest.digest
            held[manifest.version] = model
        if manifest.round >= 6:
            break
        with fleet.store.write() as db:
            for name in fleet.cohort(manifest.round):
                devices.holds(db, name, job=1, version=manifest.version, now=fleet.now)
            present = inbox.senders(db, 1, manifest.round)
        for name in fleet.cohort(manifest.round):
            if name not in present:
                fleet.put(name, manifest.round)
    assert kinds == {Kind.DELTA, Kind.SNAPSHOT}


def test_it_waits_for_devices_enough_for_the_cohorts(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path / "s.db", size=1, cohorts=2)
    assert fleet.step() is Progress.WAITING
    with fleet.store.write() as db:
        devices.enroll(db, "d1", bytes(32))
    assert fleet.step() is Progress.OPENED
    assert fleet.step() is Progress.WAITING


def test_a_fleet_that_grows_is_dealt_anew_at_the_next_cycle_only(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path / "s.db", rounds=4, cohorts=2)
    fleet.step()
    with fleet.store.write() as db:
        devices.enroll(db, "late-comer", bytes(32))
    for round_ in range(3):
        manifest = fleet.manifest()
        assert (manifest.round, manifest.participation.devices) == (round_, 4 if round_ < 2 else 5)
        if round_ < 2:
            for name in fleet.cohort(round_):
                fleet.put(name, round_)
            assert fleet.step() is Progress.SEALED


def test_nothing_to_do_without_a_job(tmp_path: Path) -> None:
    from gossamer.aggregator.engine import Engine

    store = Store.open(tmp_path / "s.db")
    assert Engine(store, FLEET_KEY).step(now=1.0, monotonic=1.0) is Progress.IDLE
    store.close()


def test_a_round_that_moves_nothing_for_all_its_updates_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet.make(tmp_path / "s.db", rule="cache:0.5+median")
    fleet.step()
    for name in fleet.cohort(0):
        fleet.put(name, 0)
    assert fleet.step() is Progress.SEALED
    (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "round 0 of test moved nothing" in warning.getMessage()
    assert "has heard 2" in warning.getMessage()


class TestClosing:
    def test_an_asynchronous_buffer_seals_at_its_first_updates_of_whatever_age(self, tmp_path: Path) -> None:
        """FedBuff, K = 2 of 6 devices that all take part in every round: nobody is waited for, nothing is lost."""
        settings = {"participation": "anytime", "closing": closing(quorum=2, deadline_seconds=30.0)}
        fleet = Fleet.make(tmp_path / "s.db", size=6, **settings)
        assert fleet.step() is Progress.OPENED
        assert fleet.cohort(0) == fleet.cohort(1) == fleet.names
        arrivals = [[("d0", 0), ("d1", 0)], [("d2", 0), ("d3", 1)], [("d4", 0), ("d5", 0)]]  # (device, trained for)
        for round_, pair in enumerate(arrivals):
            for name, for_round in pair:
                assert fleet.step() is Progress.WAITING
                fleet.put(name, for_round, counted_in=round_)
            assert fleet.step() is Progress.SEALED
        with fleet.store.read() as db:
            reports = [json.loads(each.report or "") for each in rounds.every(db, 1)[:3]]
        assert [(each["on_time"], each["late"]) for each in reports] == [(2, 0), (1, 1), (0, 2)]
        # Staleness 1 / sqrt(1 + lag) beside the weight of one that is on time, of 10 examples each.
        late, on_time = sorted(reports[1]["devices"], key=lambda each: each["device"])
        assert (late["lag"], on_time["lag"]) == (1, 0)
        assert late["weight"] / on_time["weight"] == pytest.approx(2**-0.5, rel=1e-3)
        assert fleet.step(seconds=1.0) is Progress.WAITING  # with one, only the deadline seals
        fleet.put("d0", 3, counted_in=3)
        assert fleet.step() is Progress.WAITING
        waited = [fleet.step(seconds=5.0) for _ in range(7)]
        assert Progress.SEALED in waited

    def test_a_quorum_closes_and_what_comes_later_counts_in_the_next_round(self, tmp_path: Path) -> None:
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1, closing=closing(quorum=3))
        fleet.step()
        for name in fleet.names[:2]:
            fleet.put(name, 0)
        assert fleet.step() is Progress.WAITING
        fleet.put("d2", 0)
        assert fleet.step() is Progress.SEALED
        fleet.put("d3", 0, counted_in=1)
        for name in fleet.names[:3]:
            fleet.put(name, 1)
        assert fleet.step() is Progress.SEALED
        with fleet.store.read() as db:
            report = json.loads(rounds.every(db, 1)[1].report or "")
            late = inbox.receipt(db, 1, 0, "d3")
        assert late is not None
        assert late.sealed_in == 2
        assert (report["on_time"], report["late"]) == (3, 1)
        weights = {(each["device"], each["lag"]): each["weight"] for each in report["devices"]}
        assert weights["d3", 1] == pytest.approx(10 / np.sqrt(2))
        assert weights["d0", 0] == 10.0

    def test_the_deadline_seals_with_what_is_there(self, tmp_path: Path) -> None:
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1, closing=closing(deadline_seconds=10.0))
        fleet.step()
        fleet.put("d1", 0)
        assert [fleet.step(3.0) for _ in range(4)] == [Progress.WAITING] * 4
        assert fleet.step(3.0) is Progress.SEALED

    def test_a_silent_cohort_does_not_stall_the_fleet(self, tmp_path: Path) -> None:
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1, closing=closing(deadline_seconds=10.0))
        fleet.step()
        before = fleet.manifest()
        assert [fleet.step(3.0) for _ in range(5)] == [Progress.WAITING] * 4 + [Progress.SEALED]
        after = fleet.manifest()
        assert (after.round, after.version, after.digest) == (1, 1, before.digest)
        with fleet.store.read() as db:
            report = json.loads(rounds.every(db, 1)[0].report or "")
        assert (report["on_time"], report["late"], report["devices"]) == (0, 0, [])
        assert report["shortfall"]

    def test_too_few_at_the_deadline_count_in_the_next_round(self, tmp_path: Path) -> None:
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1, closing=closing(deadline_seconds=10.0, minimum_updates=2))
        fleet.step()
        fleet.put("d1", 0)
        before = fleet.manifest()
        assert [fleet.step(3.0) for _ in range(5)] == [Progress.WAITING] * 4 + [Progress.SEALED]
        assert fleet.manifest().digest == before.digest
        with fleet.store.read() as db:
            carried = inbox.receipt(db, 1, 0, "d1")
        assert carried is not None
        assert (carried.counted_in, carried.sealed_in) == (1, None)
        fleet.put("d1", 1)
        assert [fleet.step(3.0) for _ in range(5)] == [Progress.WAITING] * 4 + [Progress.SEALED]
        with fleet.store.read() as db:
            receipts = [inbox.receipt(db, 1, round_, "d1") for round_ in (0, 1)]
            report = json.loads(rounds.every(db, 1)[1].report or "")
        assert [each.sealed_in for each in receipts if each is not None] == [2, 2]
        assert (report["on_time"], report["late"], report["shortfall"]) == (1, 1, "")

    def test_the_last_round_counts_what_it_has(self, tmp_path: Path) -> None:
        short = closing(deadline_seconds=4.0, minimum_updates=2)
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1, rounds=1, closing=short)
        fleet.step()
        fleet.put("d1", 0)
        assert [fleet.step(3.0) for _ in range(3)] == [Progress.WAITING] * 2 + [Progress.SEALED]
        with fleet.store.read() as db:
            receipt = inbox.receipt(db, 1, 0, "d1")
        assert receipt is not None
        assert receipt.sealed_in == 1
        assert fleet.manifest().state is JobState.FINISHED

    def test_an_update_between_look_and_lock_is_counted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        short = closing(deadline_seconds=4.0)
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1, rounds=1, rule="trimmed-mean:1", closing=short)
        fleet.step()
        assert [fleet.step(3.0) for _ in range(2)] == [Progress.WAITING] * 2
        real = cohort.closes
        looks: list[cohort.Close] = []

        def look(*given: Any) -> cohort.Close:
            looks.append(real(*given))
            if looks[-1] is cohort.Close.EMPTY_HANDED:
                fleet.put("d1", 0)
            return looks[-1]

        monkeypatch.setattr(engine_module, "closes", look)
        assert fleet.step(3.0) is Progress.WAITING
        assert looks == [cohort.Close.EMPTY_HANDED, cohort.Close.NOT_YET]

    @pytest.mark.parametrize("at_deadline", ["seal", "extend"])
    def test_a_wholly_revoked_cohort_closes_at_once(self, tmp_path: Path, at_deadline: str) -> None:
        fleet = Fleet.make(tmp_path / "s.db", closing=closing(at_deadline=at_deadline))
        fleet.step()
        with fleet.store.write() as db:
            for name in fleet.cohort(0):
                devices.revoke(db, name)
        assert fleet.step() is Progress.SEALED
        assert fleet.step() is Progress.WAITING  # for the cohort that is there

    def test_a_fleet_without_devices_waits_for_one(self, tmp_path: Path) -> None:
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1, closing=closing(deadline_seconds=1.0))
        fleet.step()
        with fleet.store.write() as db:
            for name in fleet.names:
                devices.revoke(db, name)
        assert [fleet.step(3.0) for _ in range(5)] == [Progress.WAITING] * 5
        with fleet.store.write() as db:
            devices.enroll(db, "new", bytes(32))
        assert fleet.step() is Progress.SEALED
        assert fleet.manifest().participation.devices == 5
        assert fleet.step() is Progress.WAITING

    def test_extend_waits_for_the_quorum(self, tmp_path: Path) -> None:
        patient = closing(deadline_seconds=10.0, at_deadline="extend")
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1, closing=patient)
        fleet.step()
        for name in fleet.names[:3]:
            fleet.put(name, 0)
        for _ in range(20):
            assert fleet.step(5.0) is Progress.WAITING
        fleet.put("d3", 0)
        assert fleet.step() is Progress.SEALED

    def test_a_clock_that_jumps_seals_nothing(self, tmp_path: Path) -> None:
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1, closing=closing(deadline_seconds=60.0))
        fleet.step()
        fleet.put("d1", 0)
        fleet.step()
        engine, now = fleet.engine, fleet.now
        for wall, monotonic in ((now + 1e9, now + 1), (now - 1e9, now + 2), (now, now + 1e9), (now, now - 1e9)):
            assert engine.step(now=wall, monotonic=monotonic) is Progress.WAITING

    def test_time_in_which_nobody_watched_does_not_count(self, tmp_path: Path) -> None:
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1, closing=closing(deadline_seconds=20.0))
        fleet.step()
        fleet.put("d1", 0)
        for _ in range(5):
            assert fleet.step(3.0) is Progress.WAITING  # 12 s watched, 10 at least written down
        again = Fleet(fleet.store, fleet.settings, fleet.names, fleet.now + 1e6)
        assert again.step() is Progress.WAITING
        waited = 0.0
        while again.step(3.0) is Progress.WAITING:
            waited += 3.0
        assert waited == pytest.approx(20.0 - 12.0, abs=6.0)

    def test_a_revoked_device_is_not_waited_for(self, tmp_path: Path) -> None:
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1)
        fleet.step()
        for name in fleet.names[:3]:
            fleet.put(name, 0)
        assert fleet.step() is Progress.WAITING
        with fleet.store.write() as db:
            devices.revoke(db, "d3")
        assert fleet.step() is Progress.SEALED

    def test_a_rule_that_needs_more_is_given_more(self, tmp_path: Path) -> None:
        """A cohort too small for its rule moves the model every second round, and loses nothing."""
        fleet = Fleet.make(tmp_path / "s.db", cohorts=1, size=2, rule="trimmed-mean:1")
        fleet.step()
        start = fleet.manifest().digest
        digests = []
        for round_ in range(2):
            for name in fleet.names:
                fleet.put(name, round_)
            assert fleet.step() is Progress.SEALED
            digests.append(fleet.manifest().digest)
        assert digests[0] == start != digests[1]
        with fleet.store.read() as db:
            receipts = [inbox.receipt(db, 1, round_, name) for round_ in range(2) for name in fleet.names]
        assert [each.sealed_in for each in receipts if each is not None] == [2] * 4


def test_what_the_rule_rejects_is_named_in_the_report(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path / "s.db", cohorts=1, codec_up="fp32")
    fleet.step()
    for name in fleet.names[:3]:
        fleet.put(name, 0)
    huge = np.full(D, 5000.0, dtype="<f4").tobytes()
    body, header = fleet.body("d3", 0)[:1] + huge, fleet.header("d3", 0, b"")
    bad = inbox.NewUpdate(1, 0, "d3", b"12345678", 0, 0, body, header, 10, 1)
    with fleet.store.write() as db:
        inbox.add(db, bad, now=1.0)
    assert fleet.step() is Progress.SEALED
    with fleet.store.read() as db:
        report = json.loads(rounds.every(db, 1)[0].report or "")
    assert report["rejected"] == 1
    assert (report["devices"][0]["device"], report["devices"][0]["reason"]) == ("d3", "too-large")


def test_a_store_that_lost_its_model_says_so(tmp_path: Path) -> None:
    from gossamer.aggregator.store import schema

    fleet = Fleet.make(tmp_path / "s.db")
    with fleet.store.write() as db:
        db.execute(schema.models.delete())
    with pytest.raises(StoreError, match="model version 0 of job 1 is missing"):
        fleet.step()


def test_a_damaged_state_says_so(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path / "s.db")
    with pytest.raises(StoreError, match="damaged"):
        EngineState.restore(
            fleet.settings, 1, SharedModel.plain(np.zeros(3, np.int32)), np.zeros(3, np.int32), b"\xff\xff"
        )
    with fleet.store.write() as db:
        assert states.get(db, 1) is not None


def test_history_in_the_store_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "LATTICES_KEPT", 3)
    monkeypatch.setattr(models, "STEPS_KEPT", 4)
    fleet = Fleet.make(tmp_path / "s.db", rounds=20, closing=ClosingSettings(max_lag=0))
    fleet.run()
    with fleet.store.read() as db:
        from sqlalchemy import func, select

        from gossamer.aggregator.store import schema

        kept = db.execute(select(func.count(schema.models.c.lattice), func.count(schema.models.c.step))).one()
        assert tuple(kept) == (1 + 3, 4)
        stored = db.execute(select(func.count()).select_from(schema.objects)).scalar_one()
        bodies = db.execute(select(func.count(schema.inbox.c.body))).scalar_one()
    assert stored <= 2 * (objects.ROUNDS_KEPT + 1) * 2
    assert bodies == 0


def test_a_paused_job_counts_but_does_not_seal(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path / "s.db", cohorts=1)
    fleet.step()
    before = fleet.manifest()
    pause_job(fleet.store, FLEET_KEY, "test")
    assert fleet.manifest() == replace(before, state=JobState.PAUSED)
    for name in fleet.names:
        fleet.put(name, 0)
    assert fleet.step() is Progress.IDLE
    resume_job(fleet.store, FLEET_KEY, "test")
    assert fleet.manifest() == before
    assert fleet.step() is Progress.SEALED


@pytest.mark.parametrize("when", ["begin", "close", "seal"])
def test_a_pause_in_the_middle_leaves_no_open_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    fleet = Fleet.make(tmp_path / "s.db", cohorts=1)
    if when != "begin":
        fleet.step()
        for name in fleet.names:
            fleet.put(name, 0)
    name = "closes" if when == "close" else "signed_round"
    real, paused = getattr(engine_module, name), []

    def interrupted(*given: Any) -> Any:
        if not paused:
            paused.append(True)
            pause_job(fleet.store, FLEET_KEY, "test")
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(engine_module, name, interrupted)
        assert fleet.step() is Progress.WAITING
    assert fleet.step() is Progress.IDLE
    with fleet.store.read() as db:
        latest = rounds.latest(db, 1)
    assert (latest is None) == (when == "begin")
    if latest is not None:
        assert (latest.round, latest.state is RoundState.OPEN) == (0, when == "close")
        assert fleet.manifest().state is JobState.PAUSED
    resume_job(fleet.store, FLEET_KEY, "test")
    assert fleet.step() is (Progress.OPENED if when == "begin" else Progress.SEALED)
    assert fleet.manifest().state is JobState.OPEN


def test_what_cannot_be_paused(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path / "s.db")
    with pytest.raises(ConfigError, match="no job 'other'"):
        pause_job(fleet.store, FLEET_KEY, "other")
    fleet.run()
    with pytest.raises(ConfigError, match="finished"):
        resume_job(fleet.store, FLEET_KEY, "test")
