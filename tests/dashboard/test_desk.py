"""One reading for all who look: what it shows is what the store holds, and nothing is read twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gossamer.aggregator.engine import Progress
from gossamer.aggregator.status import read_status
from gossamer.aggregator.store import Store, absences, accounts, devices, jobs, rejections, rounds, schema
from gossamer.aggregator.store.absences import AbsenceRow
from gossamer.aggregator.store.accounts import AccountRow
from gossamer.broker_bridge import presence
from gossamer.dashboard.desk import DEVICES_SECONDS, LOOK_SECONDS, SHARE, Desk
from gossamer.dashboard.device_rows import Asked
from gossamer.dashboard.follower import BATCH, Follower
from gossamer.wire.accounts import Account
from gossamer.wire.codes import Absence
from gossamer.wire.session_messages import Absent, Birth
from tests.aggregator.fleets import Fleet
from tests.cli.jobs import BAD, Spoilt

from .pages import advance, born


class Hands:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet.make(tmp_path / "s.db", rounds=6)
    yield made
    made.store.close()


def desk_of(fleet: Fleet) -> tuple[Desk, Hands]:
    clock = Hands()
    return Desk(fleet.store, "t", clock=clock), clock


def later(clock: Hands) -> None:
    clock.now += max(LOOK_SECONDS, DEVICES_SECONDS)


def test_the_follower_adds_up_what_status_does(tmp_path: Path) -> None:
    made = Spoilt.make(tmp_path / "s.db", rounds=8, rule="median", codec_up="fp32")
    follower = Follower(1)
    for sealed in range(6):
        advance(made, 1)
        follower.follow(made.store)
        assert len(follower.columns["round"]) == sealed + 1
    with made.store.read() as db:
        job = jobs.get(db, 1)
        assert job is not None
        status = read_status(db, job, last=1)
    assert follower.totals == status.totals
    assert follower.last == status.reports[-1]
    assert follower.columns["round"] == list(range(6))
    assert sum(follower.columns["body_bytes"]) == status.totals.body_bytes
    assert {each["device"] for each in follower.rejected} == {BAD}
    assert {each["reason"] for each in follower.rejected} == {"too-large"}
    assert follower.since(3)["round"] == [4, 5]
    assert follower.since(-1)["round"] == list(range(6))
    assert follower.since(99)["round"] == []
    made.store.close()


def test_a_long_job_is_read_in_pieces(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    advance(fleet, 1)
    with fleet.store.write() as db:
        row = dict(db.execute(sa.select(schema.rounds).where(schema.rounds.c.round == 0)).one()._mapping)
        for number in range(100, 100 + 2 * BATCH):
            report = json.loads(row["report"]) | {"round": number}
            db.execute(sa.insert(schema.rounds).values({**row, "round": number, "report": json.dumps(report)}))
    asked: list[int] = []
    original = rounds.sealed_after
    monkeypatch.setattr(rounds, "sealed_after", lambda *given: asked.append(given[-1]) or original(*given))
    follower = Follower(1)
    follower.follow(fleet.store)
    assert len(follower.columns["round"]) == follower.totals.rounds == 1 + 2 * BATCH
    assert asked == [BATCH] * 3


def test_who_looks_twice_reads_once(fleet: Fleet) -> None:
    advance(fleet, 2)
    desk, clock = desk_of(fleet)
    first = desk.overview(), desk.job(1), desk.devices(Asked()), desk.rejections(), desk.metrics()
    read = desk.read
    later(clock)
    again = desk.overview(), desk.job(1), desk.devices(Asked()), desk.rejections(), desk.metrics()
    assert desk.read == read
    assert first[1:] == again[1:]
    assert first[0]["revisions"] == again[0]["revisions"]


def test_only_what_has_changed_gets_a_revision(fleet: Fleet) -> None:
    advance(fleet, 1)
    desk, clock = desk_of(fleet)
    seen = [desk.look()]

    def moved() -> set[str]:
        later(clock)
        seen.append(desk.look())
        return {part for part, revision in seen[-1].items() if revision != seen[-2][part]}

    assert moved() == set()
    born(fleet, "d0")
    assert moved() == {"devices"}
    with fleet.store.write() as db:
        rejections.add(db, "malformed", "x", "not CBOR", now=3.0, known=False)
    assert moved() == {"rejections"}
    fleet.put(fleet.cohort(1)[0], 1)
    assert moved() == {"jobs"}
    with fleet.store.write() as db:
        devices.revoke(db, "d3")
    assert moved() == {"devices"}
    with fleet.store.write() as db:
        jobs.set_state(db, 1, jobs.JobState.PAUSED)
    assert moved() == {"jobs"}


def test_a_busy_fleet_is_looked_at_in_turns_and_its_last_word_is_not_lost(fleet: Fleet) -> None:
    advance(fleet, 0)
    desk, clock = desk_of(fleet)
    desk.overview()
    born(fleet, "d0")
    clock.now += LOOK_SECONDS
    before = desk.look()["devices"]
    assert desk.overview()["devices"]["online"] == 0, "too early to read the devices again"
    clock.now = DEVICES_SECONDS
    assert desk.look()["devices"] == before + 1
    assert desk.overview()["devices"]["online"] == 1


def test_the_pulse_is_not_taken_oftener_than_it_may(fleet: Fleet) -> None:
    advance(fleet, 0)
    desk, clock = desk_of(fleet)
    before = desk.look()
    fleet.put(fleet.cohort(0)[0], 0)
    clock.now += LOOK_SECONDS / 2
    assert desk.look() == before
    clock.now += LOOK_SECONDS / 2
    assert desk.look() != before


def test_a_fleet_that_takes_long_to_read_is_read_seldom(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    advance(fleet, 0)
    desk, clock = desk_of(fleet)
    every = devices.every

    def slowly(db: Connection) -> list[devices.Device]:
        clock.now += 3.0
        return every(db)

    monkeypatch.setattr(devices, "every", slowly)
    desk.overview()
    before = desk.look()
    born(fleet, "d0")
    fleet.put(fleet.cohort(0)[0], 0)
    clock.now += 3.0 / SHARE - 3.1
    assert desk.look() == before
    clock.now += 0.2
    assert desk.look() == {**before, "jobs": before["jobs"] + 1, "devices": before["devices"] + 1}


def test_the_cohort_and_who_has_arrived(fleet: Fleet) -> None:
    advance(fleet, 1)
    desk, _clock = desk_of(fleet)
    first, second = fleet.cohort(1)
    fleet.put(first, 1)
    born(fleet, second)
    shown = desk.job(1)
    assert shown is not None
    assert shown["cycle"] == {"cycle": 1, "turn": 2, "cohorts": 2}
    standing = {each["device"]: each["standing"] for each in shown["cohort"]["members"]}
    assert standing == {first: "arrived", second: "waiting"}
    rows = {row["device"]: row for row in desk.devices(Asked())["devices"]}
    assert all(rows[name]["standing"] == "offline" for name in rows if name not in standing)
    assert (rows[first]["called"], rows[second]["online"]) == (True, True)
    assert desk.job(7) is None
    assert desk.rounds(7, -1) is None


def test_bytes_beside_fp32(fleet: Fleet) -> None:
    advance(fleet, 3)
    desk, _clock = desk_of(fleet)
    shown = desk.job(1)
    assert shown is not None
    with fleet.store.read() as db:
        job = jobs.get(db, 1)
        assert job is not None
        totals = read_status(db, job).totals
    told = shown["bytes"]
    assert told["updates"] == 6
    assert told["up"] == {"bytes": totals.body_bytes, "fp32_bytes": 6 * 300 * 4,
                          "factor": round(6 * 300 * 4 / totals.body_bytes, 2)}  # fmt: skip
    assert told["down"]["bytes"] == totals.step_bytes * 4
    assert told["both"]["bytes"] == told["up"]["bytes"] + told["down"]["bytes"]
    assert told["both"]["fp32_bytes"] == 2 * told["up"]["fp32_bytes"]
    assert told["server"] is None


def test_a_finished_job_calls_nobody(fleet: Fleet) -> None:
    advance(fleet, 6)
    assert fleet.step() is Progress.IDLE
    desk, _clock = desk_of(fleet)
    shown = desk.job(1)
    assert shown is not None
    assert (shown["state"], shown["cohort"], shown["cycle"]) == ("finished", None, None)
    assert {row["standing"] for row in desk.devices(Asked())["devices"]} == {"offline"}
    assert len(desk.rounds(1, -1)["round"]) == 6  # type: ignore[index]


def test_before_there_is_a_job(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    desk = Desk(store, "t")
    shown = desk.overview()
    assert (shown["job"], shown["jobs"], shown["devices"]["devices"]) == (None, [], 0)
    assert desk.devices(Asked())["devices"] == []
    assert "gossamer_build_info" in desk.metrics()
    store.close()


def test_several_jobs_can_be_looked_at(fleet: Fleet) -> None:
    import numpy as np

    from gossamer.aggregator.jobs import create_job
    from gossamer.compression.lattice import to_lattice
    from tests.aggregator.fleets import LAYOUT, D, job_settings

    advance(fleet, 6)
    fleet.step()
    create_job(fleet.store, job_settings(name="next", job=2), to_lattice(np.zeros(D, np.float32)), LAYOUT, now=2.0)
    fleet.step()
    desk, _clock = desk_of(fleet)
    shown = desk.overview()
    assert [(each["name"], each["state"]) for each in shown["jobs"]] == [("test", "finished"), ("next", "open")]
    assert shown["job"] == 2
    old, new = desk.job(1), desk.job(2)
    assert old is not None
    assert new is not None
    assert (old["cohort"], new["cohort"]["size"]) == (None, 2)


def test_rejections_newest_first(tmp_path: Path) -> None:
    made = Spoilt.make(tmp_path / "s.db", rounds=6, rule="median", codec_up="fp32")
    advance(made, 4)
    with made.store.write() as db:
        rejections.add(db, "malformed", "d1", "not CBOR", now=3.0, known=True)
        rejections.add(db, "unknown-device", "<img src=x>", "nobody", now=9.0, known=False, count=2)
    told = Desk(made.store, "t").rejections()
    assert told["refused"] == {"malformed": 1, "unknown-device": 2}
    assert [each["reason"] for each in told["messages"]] == ["unknown-device", "malformed"]
    assert {(each["device"], each["reason"]) for each in told["updates"]} == {(BAD, "too-large")}
    at = [each["at"] for each in told["updates"]]
    assert at == sorted(at, reverse=True)
    made.store.close()


def test_why_devices_stay_out_and_what_they_have_spent(fleet: Fleet) -> None:
    advance(fleet, 1)
    first, second = fleet.cohort(1)
    others = [name for name in fleet.names if name not in (first, second)]
    with fleet.store.write() as db:
        absences.keep(db, AbsenceRow(first, 1, 1, Absence.BATTERY, "battery 12 %, wanted 30 %", 5.0))
        absences.keep(db, AbsenceRow(others[0], 1, 0, Absence.METERED, "metered", 4.0))
        absences.keep(db, AbsenceRow(others[1], 7, 0, Absence.LOAD, "of another job", 4.0))
        accounts.keep(db, AccountRow(first, "2020-01", 1_930_000, 2_000_000, "pi-4", 5.0))
    desk, clock = desk_of(fleet)
    shown = desk.job(1)
    assert shown is not None
    assert shown["cohort"]["reasons"] == {"battery": 1}
    assert shown["bytes"]["devices"]["spent_bytes"] == 1_930_000
    rows = {row["device"]: row for row in desk.devices(Asked())["devices"]}
    assert (rows[first]["standing"], rows[first]["detail"]) == ("absent", "battery 12 %, wanted 30 %")
    assert (rows[first]["spent_bytes"], rows[first]["budget_bytes"], rows[first]["profile"]) == (
        1930000,
        2000000,
        "pi-4",
    )
    assert (rows[others[0]]["standing"], rows[others[0]]["reason"]) == ("offline", "metered")
    assert rows[others[1]]["reason"] == ""
    assert 'gossamer_devices_absent{reason="battery"} 1' in desk.metrics()
    assert "gossamer_ledger_spent_bytes 1930000" in desk.metrics()
    # It has thought better of it.
    fleet.put(first, 1)
    fleet.put(second, 1)
    later(clock)
    assert desk.job(1)["cohort"]["standing"] == {"arrived": 2}  # type: ignore[index]
    # Its next turn is another round: what it said of the last one is over.
    advance(fleet, 0)
    while first not in fleet.cohort(fleet.manifest().round):
        advance(fleet, 1)
    later(clock)
    rows = {row["device"]: row for row in desk.devices(Asked())["devices"]}
    assert (rows[first]["called"], rows[first]["reason"]) == (True, "")


def test_what_a_device_says_of_itself_is_a_change_of_the_devices(fleet: Fleet) -> None:
    advance(fleet, 0)
    desk, clock = desk_of(fleet)
    before = desk.look()
    account = Account(0, 1, 100, "")
    for number, said in enumerate((Absent(1, 0, int(Absence.BATTERY), "", account), Birth(2, 0, account)), 1):
        with fleet.store.write() as db:
            device = devices.get(db, "d0")
            assert device is not None
            handle = presence.absent if isinstance(said, Absent) else presence.born
            handle(db, device, said, 5.0 + number)  # type: ignore[arg-type]
        later(clock)
        assert desk.look() == {**before, "devices": before["devices"] + number}
